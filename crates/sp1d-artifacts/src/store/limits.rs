//! Limits on the memory and the disk space that a store uses.

use sp1d_machine::Memory;
use std::{
    env,
    path::{Path, PathBuf},
    sync::LazyLock,
};

sp1d_model::limits! {
    /// Lower bound of the default memory for artifacts, which is a quarter of the machine's memory. Even a small
    /// machine needs room for the records of the shards in progress (5 to 16 MB each). A smaller budget must be set
    /// explicitly.
    const MIN_MEMORY_BYTES: u64 = 256 << 20; Bytes by Worker;
}

/// Memory and disk limits of a store. All sizes are in compressed bytes, the form in which blobs are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLimits {
    /// Maximum number of bytes in memory. Beyond it, the store spills blobs to disk.
    pub memory_bytes: u64,
    /// Maximum number of bytes spilled to disk.
    pub disk_bytes: u64,
    /// Folder in which the store creates a subfolder of its own when it first spills. With `None`, nothing is ever
    /// spilled. A folder in memory (tmpfs) defeats the purpose.
    pub spill_folder: Option<PathBuf>,
}

impl StoreLimits {
    /// Returns the defaults: [`quarter_of_memory`] in memory, four times as much on disk, in [`default_spill_folder`].
    #[must_use]
    pub fn of_host() -> Self {
        let memory_bytes = quarter_of_memory();
        Self { memory_bytes, disk_bytes: memory_bytes.saturating_mul(4), spill_folder: Some(default_spill_folder()) }
    }

    /// Returns limits with unlimited memory and no disk space.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { memory_bytes: u64::MAX, disk_bytes: 0, spill_folder: None }
    }
}

/// A folder for temporary files that is on a disk, while `/tmp` is often in memory.
const DISK_FOLDER: &str = "/var/tmp";

/// Returns the default spill folder: `TMPDIR` if it is set, otherwise `/var/tmp` if this process can write there,
/// otherwise the system's temporary folder. `/var/tmp` is checked once, by the first call.
#[must_use]
pub fn default_spill_folder() -> PathBuf {
    static CAN_USE_DISK: LazyLock<bool> = LazyLock::new(|| is_writable(Path::new(DISK_FOLDER)));
    if env::var_os("TMPDIR").is_none() && *CAN_USE_DISK { DISK_FOLDER.into() } else { env::temp_dir() }
}

/// Returns whether this process can create files in `folder`. In a container with a read-only root file system, the
/// permissions of a folder do not tell.
fn is_writable(folder: &Path) -> bool {
    tempfile::tempfile_in(folder).is_ok()
}

/// Returns a quarter of the memory that this process can use: the machine's memory or the lowest limit of its control
/// groups, whichever is smaller. At least 256 MiB, also if neither can be read.
#[must_use]
pub fn quarter_of_memory() -> u64 {
    let total = Memory::now().map_or(0, |memory| memory.total_bytes);
    (total / 4).max(MIN_MEMORY_BYTES)
}

/// Formats `bytes` for people, in decimal megabytes or gigabytes.
pub(super) fn size(bytes: u64) -> String {
    if bytes >= 1_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.1} MB", bytes as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_limits_have_enough_memory_and_an_absolute_folder() {
        assert!(quarter_of_memory() >= MIN_MEMORY_BYTES);
        assert!(StoreLimits::of_host().spill_folder.unwrap().is_absolute());
    }

    #[test]
    fn only_a_folder_that_takes_files_is_writable() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_writable(folder.path()));
        assert!(!is_writable(&folder.path().join("missing")));
        // Not even root can create files there.
        assert!(!is_writable(Path::new("/proc")));
    }
}
