//! Folders and files that only their owner can read, and files that survive a power failure.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};
use tempfile::NamedTempFile;

/// Permissions of folders: all for the owner, none for others.
const FOLDER_MODE: u32 = 0o700;

/// Permissions of files.
const FILE_MODE: u32 = 0o600;

/// Creates the folder `path` and its missing parents, readable only for their owner.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Creates the file `path`, readable only for its owner, unless it exists.
pub(super) fn create_private_file(path: &Path) -> io::Result<()> {
    File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(path).map(drop)
}

/// Makes an existing file or folder readable only for its owner. A missing one is not an error. Only warns if the
/// permissions cannot be changed: the folder may belong to another user who gave this one access.
pub(super) fn make_private(path: &Path) {
    let Ok(found) = fs::metadata(path) else { return };
    let mode = if found.is_dir() { FOLDER_MODE } else { FILE_MODE };
    if found.permissions().mode() & 0o777 != mode
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode))
    {
        tracing::warn!(path = %path.display(), %error, "cannot make a part of the state folder private: other users may read it");
    }
}

/// Waits until the entries of the folder `path` are on disk.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces the file `name` in `folder` by `content`. The file has either its old or its new content at any time, also
/// on a full disk and after a power failure. When this returns, the new content is on disk.
pub(crate) fn replace_durably(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    // The files of `tempfile` are readable only for their owner.
    let mut file = NamedTempFile::with_prefix_in(".part-", folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn replaced_file_is_private_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        for content in [&b"first"[..], b"second, longer", b""] {
            replace_durably(folder.path(), "file", content).unwrap();
            assert_eq!(fs::read(folder.path().join("file")).unwrap(), content);
            assert_eq!(mode(&folder.path().join("file")), FILE_MODE);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn file_that_cannot_be_replaced_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        replace_durably(folder.path(), "file", b"content").unwrap();
        // No file can be written at this place, as on a full disk.
        assert!(replace_durably(&folder.path().join("file"), "file", b"new").is_err());
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"content");
    }

    #[test]
    fn open_files_and_folders_become_private() {
        let folder = tempfile::tempdir().unwrap();
        let (file, deep) = (folder.path().join("file"), folder.path().join("one/two"));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        create_private_folder(&deep).unwrap();
        assert_eq!((mode(&deep), mode(deep.parent().unwrap())), (FOLDER_MODE, FOLDER_MODE));
        fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
        make_private(&file);
        make_private(&deep);
        make_private(&folder.path().join("missing"));
        assert_eq!((mode(&file), mode(&deep)), (FILE_MODE, FOLDER_MODE));
    }
}
