//! Files that are there whole or not at all.

use crate::exit::Failure;
use anyhow::{Context, Result};
use std::{
    io::Write,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file to be written at the end, whose place is taken at the beginning: what cannot be written is told before hours
/// of work.
pub(crate) struct OutputFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl OutputFile {
    /// Takes a place beside `path`.
    pub(crate) fn reserve(path: &Path) -> Result<Self> {
        let cannot = |reason: String| Failure::usage(format!("cannot write {}: {reason}", path.display()));
        if path.is_dir() {
            return Err(cannot("it is a folder; name a file in it".to_owned()).into());
        }
        if path.exists() && !path.is_file() {
            // Giving the finished file its name would replace the device.
            return Err(cannot("it is no ordinary file; choose another --output".to_owned()).into());
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".sp1d-")
            .suffix(".part")
            .tempfile_in(folder)
            .map_err(|error| cannot(format!("{error}; choose another --output")))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes `content` and gives the file its name.
    pub(crate) fn commit(mut self, content: &[u8]) -> Result<()> {
        self.file.write_all(content).with_context(|| format!("write {}", self.path.display()))?;
        self.file.as_file().sync_all().with_context(|| format!("write {}", self.path.display()))?;
        // As any file this user makes; a temporary file is for its owner alone.
        let mask = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(mask);
        let mode = rustix::fs::Mode::from_raw_mode(0o666) & !mask;
        rustix::fs::fchmod(self.file.as_file(), mode).with_context(|| format!("write {}", self.path.display()))?;
        self.file.persist(&self.path).with_context(|| format!("write {}", self.path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proof");
        drop(OutputFile::reserve(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of what was not committed");
        OutputFile::reserve(&path).unwrap().commit(b"proof").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"proof");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn places_that_cannot_be_written_are_told_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, part: &str| {
            let text = OutputFile::reserve(path).err().unwrap().to_string();
            assert!(text.contains(part), "{text}");
        };
        check(folder.path(), "is a folder");
        check(&folder.path().join("missing/proof"), "No such file");
        check(Path::new("/dev/null"), "no ordinary file");
    }
}
