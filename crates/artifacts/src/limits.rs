//! What a store may take of memory and disk.

use machine::Memory;
use std::{
    env,
    path::{Path, PathBuf},
};

/// The least that [`quarter_of_memory`] gives: a small machine still holds the records of the shards that are on their
/// way (5 to 16 MB each), and who has less must say so.
const LEAST_MEMORY_BYTES: u64 = 256 << 20;

/// What a store may take. Bytes are compressed ones, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes in memory; what is beyond them is spilled.
    pub memory_bytes: u64,
    /// Most bytes spilled.
    pub disk_bytes: u64,
    /// Where the store makes a folder of its own when it spills for the first time; with none, nothing is ever spilled.
    /// A folder in memory (tmpfs) defeats the purpose.
    pub spill_folder: Option<PathBuf>,
}

impl Limits {
    /// The defaults: [`quarter_of_memory`], four times as much on disk, in [`default_spill_folder`].
    #[must_use]
    pub fn of_host() -> Self {
        let memory_bytes = quarter_of_memory();
        Self { memory_bytes, disk_bytes: memory_bytes.saturating_mul(4), spill_folder: Some(default_spill_folder()) }
    }

    /// Memory without end, and no disk.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { memory_bytes: u64::MAX, disk_bytes: 0, spill_folder: None }
    }
}

/// Where to spill when nobody says: `TMPDIR` if it is set, else `/var/tmp`, which is on a disk where `/tmp` often is
/// not.
#[must_use]
pub fn default_spill_folder() -> PathBuf {
    let on_disk = Path::new("/var/tmp");
    if env::var_os("TMPDIR").is_none() && on_disk.is_dir() { on_disk.to_owned() } else { env::temp_dir() }
}

/// A quarter of what this process can have: of the machine's memory, or of the lowest limit of its control groups. At
/// least 256 MiB, also where neither can be read.
#[must_use]
pub fn quarter_of_memory() -> u64 {
    let total = Memory::now().map_or(0, |memory| memory.total_bytes);
    (total / 4).max(LEAST_MEMORY_BYTES)
}

/// `bytes` for people.
pub(crate) fn size(bytes: u64) -> String {
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
    fn the_default_is_never_tiny() {
        assert!(quarter_of_memory() >= LEAST_MEMORY_BYTES);
        assert!(Limits::of_host().spill_folder.unwrap().is_absolute());
    }
}
