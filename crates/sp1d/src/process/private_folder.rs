//! A temporary folder that only this user can write to.
//!
//! SP1 unpacks the executor's helper program into the temporary folder, and runs any existing file with the helper's
//! name. In a world-writable folder, another user could have placed that file.

use crate::exit::{self, CliError};
use anyhow::{Result, bail};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, mkdir, statat},
    io::Errno,
    process::geteuid,
};
use sp1d_engine::MachineError;
use std::env;

/// Creates the folder and sets `TMPDIR` to it. Must be called while the process has only one thread.
pub(crate) fn use_private_folder() -> Result<()> {
    let parent = env::temp_dir();
    let folder = parent.join(format!("sp1d-{}", geteuid().as_raw()));
    let failed = |reason: Errno| MachineError::Unwritable { path: parent.clone(), reason: reason.to_string() };
    match mkdir(&folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(reason) => return Err(failed(reason).into()),
    }
    check_owned(&folder).map_err(|error| {
        let text = format!(
            "cannot trust the temporary folder {}: {error}\nhint: remove this folder, or set `TMPDIR` to another one",
            folder.display()
        );
        CliError::new(exit::HOST, text)
    })?;
    // SAFETY: the process has only one thread, so no other thread reads the environment at the same time.
    #[expect(unsafe_code, reason = "SP1 reads the folder from the environment alone")]
    unsafe {
        env::set_var("TMPDIR", &folder);
    }
    sp1d_engine::check_temporary_folder(&folder)?;
    Ok(())
}

fn check_owned(folder: &std::path::Path) -> Result<()> {
    let found = statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        bail!("it is not a folder");
    }
    if found.st_uid != geteuid().as_raw() {
        bail!("it belongs to another user");
    }
    if found.st_mode & 0o022 != 0 {
        bail!("other users can write to it");
    }
    Ok(())
}
