//! Makes SP1 use a temporary folder that only this user can write to.

use anyhow::Result;
use sp1d_engine::private_temporary_folder;
use std::env;

/// Creates the folder and sets `TMPDIR` to it. Must be called while the process has only one thread. The arguments were
/// parsed before, and with them the default of `spill_folder`, which depends on the user's `TMPDIR`.
pub(crate) fn use_private_folder() -> Result<()> {
    let folder = private_temporary_folder(&env::temp_dir())?;
    // SAFETY: the process has only one thread, so no other thread reads the environment at the same time.
    #[expect(unsafe_code, reason = "SP1 reads the folder from the environment alone")]
    unsafe {
        env::set_var("TMPDIR", &folder);
    }
    Ok(())
}
