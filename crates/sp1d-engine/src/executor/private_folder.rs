//! A temporary folder that only this user can write to.
//!
//! SP1 unpacks the executor's helper program into the temporary folder, and runs any existing file with the helper's
//! name. In a world-writable folder, another user could have placed that file.

use super::machine_check::{MachineError, check_temporary_folder};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, mkdir, statat},
    io::Errno,
    process::geteuid,
};
use std::path::{Path, PathBuf};

/// Creates a folder in `parent` that only this user can read and write, or finds the one that an earlier call created.
/// SP1 uses it if the environment variable `TMPDIR` names it. A program sets that variable at its start, while it has
/// only one thread.
///
/// # Errors
/// Fails if the folder cannot be created, if other users can write to it, or if no program can be started from it.
pub fn private_temporary_folder(parent: &Path) -> Result<PathBuf, MachineError> {
    let folder = parent.join(format!("sp1d-{}", geteuid().as_raw()));
    match mkdir(&folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(reason) => {
            return Err(MachineError::Unwritable { path: parent.to_owned(), reason: reason.to_string() });
        }
    }
    check_owned(&folder)?;
    check_temporary_folder(&folder)?;
    Ok(folder)
}

fn check_owned(folder: &Path) -> Result<(), MachineError> {
    let untrusted = |reason: String| Err(MachineError::Untrusted { path: folder.to_owned(), reason });
    let found = match statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(reason) => return untrusted(reason.to_string()),
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return untrusted("it is not a folder".to_owned());
    }
    if found.st_uid != geteuid().as_raw() {
        return untrusted("it belongs to another user".to_owned());
    }
    if found.st_mode & 0o022 != 0 {
        return untrusted("other users can write to it".to_owned());
    }
    Ok(())
}
