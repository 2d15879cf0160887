//! How much room a disk has.

use std::path::Path;

/// Free bytes of the disk with `path`; `None` when the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let described = rustix::fs::statvfs(path).ok()?;
    Some(described.f_bavail.saturating_mul(described.f_frsize))
}

/// True when fewer than `bytes` are free on the disk with `path`.
pub(crate) fn has_less_than(path: &Path, bytes: u64) -> bool {
    free_bytes(path).is_some_and(|free| free < bytes)
}
