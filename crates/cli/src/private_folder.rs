//! A temporary folder that nobody else can write to.
//!
//! SP1 unpacks the executor's helper into the temporary folder and runs whatever file of its name it finds there. In a
//! folder that everybody can write to, that may be somebody else's.

use crate::exit::{self, Failure};
use anyhow::{Result, bail};
use engine::HostError;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, mkdir, statat},
    io::Errno,
    process::geteuid,
};
use std::env;

/// Makes the folder and points `TMPDIR` to it. To be called while the process has one thread.
pub(crate) fn use_private_folder() -> Result<()> {
    let parent = env::temp_dir();
    let folder = parent.join(format!("sp1d-{}", geteuid().as_raw()));
    let failed = |reason: Errno| HostError::Unwritable { path: parent.clone(), reason: reason.to_string() };
    match mkdir(&folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(reason) => return Err(failed(reason).into()),
    }
    check_owned(&folder).map_err(|error| {
        let text = format!(
            "the temporary folder {} cannot be trusted: {error}; remove it or set TMPDIR to another folder",
            folder.display()
        );
        Failure::new(exit::HOST, text)
    })?;
    // SAFETY: there is one thread, so nobody reads the environment at the same moment.
    #[expect(unsafe_code, reason = "SP1 reads the folder from the environment alone")]
    unsafe {
        env::set_var("TMPDIR", &folder);
    }
    engine::check_temporary_folder(&folder)?;
    Ok(())
}

fn check_owned(folder: &std::path::Path) -> Result<()> {
    let found = statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        bail!("it is no folder");
    }
    if found.st_uid != geteuid().as_raw() {
        bail!("it belongs to another user");
    }
    if found.st_mode & 0o022 != 0 {
        bail!("others can write to it");
    }
    Ok(())
}
