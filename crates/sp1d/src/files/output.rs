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
        if !folder.exists() {
            let reason = format!("the folder {} does not exist", folder.display());
            let hint = format!("create it with `mkdir -p {}`, or choose a file in another folder", folder.display());
            return Err(cannot(&reason, &hint).into());
        }
        if !folder.is_dir() {
            let reason = format!("{} is not a folder", folder.display());
            return Err(cannot(&reason, "choose a file in a folder").into());
        }
        let file = tempfile::Builder::new().prefix(".sp1d-").suffix(".part").tempfile_in(folder).map_err(|error| {
            // The text of the error names the temporary file, which the user does not know. Its kind does not.
            let reason = format!("cannot create a file in the folder {}: {}", folder.display(), error.kind());
            cannot(&reason, "choose a file in a folder that is writable")
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes `content` and renames the temporary file to its final name.
    pub(crate) fn commit(mut self, content: &[u8]) -> Result<()> {
        // Errors of `self.file` would name the temporary file.
        self.file.as_file_mut().write_all(content).with_context(|| format!("cannot write {}", self.path.display()))?;
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
            assert!(!text.contains(".part"), "the temporary file is named: {text}");
        };
        check(folder.path(), "is a folder");
        let missing = folder.path().join("missing");
        check(&missing.join("proof"), &format!("cannot write {}/proof: the folder", missing.display()));
        check(&missing.join("proof"), &format!("hint: create it with `mkdir -p {}`", missing.display()));
        fs::write(folder.path().join("file"), "").unwrap();
        check(&folder.path().join("file/proof"), "file is not a folder");
        if cfg!(target_os = "linux") {
            check(Path::new("/dev/null"), "not a regular file");
            // No file can be created in this folder, even by root.
            check(Path::new("/proc/self/fd/proof"), "cannot create a file in the folder /proc/self/fd: ");
        }
    }
}
