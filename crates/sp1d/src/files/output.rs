//! Output files that are written completely or not at all.

use crate::exit::CliError;
use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file whose content is written at the end of a command. It is reserved at the start, so that an unwritable path
/// fails before hours of work.
pub(crate) struct OutputFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl OutputFile {
    /// Creates a temporary file beside `path`.
    pub(crate) fn reserve(path: &Path) -> Result<Self> {
        let cannot = |reason: &str, hint: &str| {
            CliError::usage(format!("cannot write {}: {reason}\nhint: {hint}", path.display()))
        };
        if path.is_dir() {
            return Err(cannot("it is a folder", "name a file in this folder").into());
        }
        if path.exists() && !path.is_file() {
            // Renaming the finished file to this name would replace the device.
            return Err(cannot("it is not a regular file", "choose another output file").into());
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".sp1d-")
            .suffix(".part")
            .tempfile_in(folder)
            .map_err(|error| cannot(&error.to_string(), "choose a file in a folder that exists and is writable"))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes `content` and renames the temporary file to its final name.
    pub(crate) fn commit(mut self, content: &[u8]) -> Result<()> {
        self.file.write_all(content).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.file.as_file().sync_all().with_context(|| format!("cannot write {}", self.path.display()))?;
        apply_umask(self.file.as_file()).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.file.persist(&self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }
}

/// Applies the user's umask, as for any other file: a temporary file is only readable by its owner.
#[cfg(unix)]
fn apply_umask(file: &File) -> io::Result<()> {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(0o666) & !mask)?;
    Ok(())
}

/// Other systems have no umask: a file has the permissions of its folder.
#[cfg(not(unix))]
fn apply_umask(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_file_is_written_completely_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proof");
        drop(OutputFile::reserve(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "an uncommitted file was left behind");
        OutputFile::reserve(&path).unwrap().commit(b"proof").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"proof");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn reserving_an_unwritable_path_fails() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, part: &str| {
            let text = OutputFile::reserve(path).err().unwrap().to_string();
            assert!(text.contains(part), "{text}");
        };
        check(folder.path(), "is a folder");
        check(&folder.path().join("missing/proof"), "No such file");
        check(Path::new("/dev/null"), "not a regular file");
    }
}
