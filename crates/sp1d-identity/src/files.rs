//! Files with keys: private, written at once, and never overwritten.

use crate::error::KeysError;
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Maximum size of a file with keys, certificates or revoked peers. A revocation list of this size has 15,000 entries.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Tells versions of a file apart: its inode, its size, and when its content and its permissions were changed. `None`
/// if the file is missing, or if its folder cannot be read.
pub(crate) type FileStamp = Option<(u64, u64, (i64, i64), (i64, i64))>;

/// Returns the stamp of the present version of a file.
pub(crate) fn stamp(path: &Path) -> FileStamp {
    let data = fs::metadata(path).ok()?;
    Some((data.ino(), data.len(), (data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec())))
}

/// Converts an error of the operating system about `path`.
fn at(path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |reason| KeysError::File { path, reason }
}

/// Creates `folder`, readable only by its owner, unless it exists.
pub(crate) fn create_folder(folder: &Path) -> Result<(), KeysError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))
}

/// Returns true if all users of the machine can read or change a file.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.mode() & 0o006 != 0)
}

/// Reads a whole file.
///
/// # Errors
/// If the file cannot be read, or is larger than 1 MiB.
pub(crate) fn read(path: &Path) -> Result<String, KeysError> {
    let file = File::open(path).map_err(at(path))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(at(path))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(KeysError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(text)
}

/// A new file with mode 0600 that appears under its name once its content is complete.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl NewFile {
    /// Creates the temporary file.
    ///
    /// # Errors
    /// If the file `path` exists, or its folder cannot be written to.
    pub(crate) fn create(path: &Path) -> Result<Self, KeysError> {
        if path.exists() {
            return Err(KeysError::Exists(path.to_owned()));
        }
        let file = temporary_beside(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the content. A reader sees the whole file or none.
    ///
    /// # Errors
    /// If the file exists meanwhile, or cannot be written.
    pub(crate) fn finish(self, text: &str) -> Result<(), KeysError> {
        let Self { path, mut file } = self;
        fill(&mut file, &path, text)?;
        file.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => KeysError::Exists(path.clone()),
            _ => KeysError::File { path: path.clone(), reason: error.error },
        })?;
        sync_folder(&path)
    }
}

/// Writes a new file with mode 0600.
///
/// # Errors
/// As for [`NewFile`].
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), KeysError> {
    NewFile::create(path)?.finish(text)
}

/// Replaces a key at once. The new file has the owner and the permissions of the old one, so that a service can read
/// it. Other users of the machine cannot.
pub(crate) fn replace_key(path: &Path, text: &str) -> Result<(), KeysError> {
    let (file, old) = (written(path, text)?, fs::metadata(path).map_err(at(path))?);
    let new = file.as_file().metadata().map_err(at(path))?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file.as_file(), Some(old.uid()), Some(old.gid())).map_err(at(path))?;
    }
    let mode = old.mode() & 0o770 | 0o600;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(at(path))?;
    file.persist(path).map_err(|error| KeysError::File { path: path.to_owned(), reason: error.error })?;
    sync_folder(path)
}

/// Replaces a list at once. It is not secret, and the user of a service must be able to read what root has written.
pub(crate) fn replace_list(path: &Path, text: &str) -> Result<(), KeysError> {
    let file = written(path, text)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(at(path))?;
    file.persist(path).map_err(|error| KeysError::File { path: path.to_owned(), reason: error.error })?;
    sync_folder(path)
}

/// Returns a temporary file beside `path` with the whole content. Its mode is 0600.
fn written(path: &Path, text: &str) -> Result<NamedTempFile, KeysError> {
    let mut file = temporary_beside(path)?;
    fill(&mut file, path, text)?;
    Ok(file)
}

/// Creates a temporary file in the folder of `path`. Its error names the folder, and not the temporary file.
fn temporary_beside(path: &Path) -> Result<NamedTempFile, KeysError> {
    let folder = folder_of(path);
    let reason = |error: io::Error| match folder.try_exists() {
        Ok(false) => io::Error::new(error.kind(), format!("the folder {} does not exist", folder.display())),
        _ => error.kind().into(),
    };
    NamedTempFile::new_in(folder).map_err(reason).map_err(at(path))
}

/// Writes the whole content of the temporary file beside `path`.
fn fill(file: &mut NamedTempFile, path: &Path, text: &str) -> Result<(), KeysError> {
    // Errors of `file` itself would name the temporary file.
    file.as_file_mut().write_all(text.as_bytes()).map_err(at(path))?;
    file.as_file().sync_all().map_err(at(path))
}

/// Locks a folder against other processes that change it, until the returned file is dropped. Does nothing on
/// a file system without locks, because a revocation must not fail for that.
pub(crate) fn lock_folder(folder: &Path) -> Result<File, KeysError> {
    let file = File::open(folder).map_err(at(folder))?;
    if let Err(error) = file.lock() {
        tracing::debug!(folder = %folder.display(), %error, "cannot lock the folder");
    }
    Ok(file)
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> Result<(), KeysError> {
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(at(path))
}

/// Returns the folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_at(path: &Path) -> (i64, i64) {
        let data = fs::metadata(path).unwrap();
        (data.ctime(), data.ctime_nsec())
    }

    #[test]
    fn changed_permissions_change_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        fs::write(&path, "w\n").unwrap();
        let (before, created_at) = (stamp(&path), changed_at(&path));
        // The clock of the file system has steps of a few milliseconds.
        while changed_at(&path) == created_at {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        assert_ne!(stamp(&path), before);
    }

    #[test]
    fn a_missing_folder_is_named_and_the_temporary_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let path = missing.join("w.pem");
        let text = write_new(&path, "key").unwrap_err().to_string();
        let expected = format!("cannot use {}: the folder {} does not exist", path.display(), missing.display());
        assert_eq!(text, expected);
    }

    #[test]
    fn a_replaced_list_can_be_read_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        for text in ["a\n", "a\nb\n"] {
            replace_list(&path, text).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
            assert_eq!(read(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_key_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, "first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(write_new(&path, "second"), Err(KeysError::Exists(_))));
        assert_eq!(read(&path).unwrap(), "first");
        // No temporary file is left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_key_stays_readable_for_its_group_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, "first").unwrap();
        for (old, new) in [(0o640, 0o640), (0o644, 0o640), (0o600, 0o600)] {
            fs::set_permissions(&path, Permissions::from_mode(old)).unwrap();
            replace_key(&path, "second").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, new, "{old:o}");
        }
    }

    #[test]
    fn a_key_that_all_users_can_read_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, "key").unwrap();
        for (mode, expected) in [(0o600, false), (0o440, false), (0o644, true), (0o602, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_all(&path), expected, "{mode:o}");
        }
    }

    #[test]
    fn a_large_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::write(&path, "a".repeat(1 << 20)).unwrap();
        assert!(read(&path).is_ok());
        fs::write(&path, "a".repeat((1 << 20) + 1)).unwrap();
        assert!(matches!(read(&path), Err(KeysError::TooLarge { .. })));
    }
}
