//! The size of the shared memory at `/dev/shm`.

use rustix::fs::statvfs;

/// Returns the size of the file system at `/dev/shm` in bytes, whether free or in use. Returns `None` if it cannot be
/// read.
#[must_use]
pub fn shared_memory_bytes() -> Option<u64> {
    let mount = statvfs("/dev/shm").ok()?;
    Some(mount.f_blocks.saturating_mul(mount.f_frsize))
}
