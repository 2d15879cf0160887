//! Free space of disks.

use std::path::Path;

/// Returns the bytes that this process may still use on the disk with `path`, or `None` if the system call fails.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let described = rustix::fs::statvfs(path).ok()?;
    Some(described.f_bavail.saturating_mul(described.f_frsize))
}

/// Returns true if fewer than `bytes` are free on the disk with `path`, and false if the free space is unknown.
pub(crate) fn has_less_than(path: &Path, bytes: u64) -> bool {
    free_bytes(path).is_some_and(|free| free < bytes)
}
