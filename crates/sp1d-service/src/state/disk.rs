//! Free space of the disk with the state folder, and who may use it.
//!
//! New programs, inputs and proof requests must leave a configured number of bytes free. An upload reserves its length
//! before its first byte is accepted, and again what it writes beyond that. The result cache uses only space that
//! nothing else needs, and gives it back when a request needs it. Finished proofs and the database reserve nothing:
//! they may use the disk to its end.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};
use tokio::sync::Notify;

/// Bytes that an upload of unknown length reserves at a time. After this many bytes, each upload compares the free
/// space again, because other programs use the disk too.
const RESERVATION_STEP: u64 = 16 << 20;

/// Returns the bytes that this process may still use on the disk with `path`, or `None` if the system call fails.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let described = rustix::fs::statvfs(path).ok()?;
    Some(described.f_bavail.saturating_mul(described.f_frsize))
}

/// Returns true if `error` means that the disk is full, or that the user's disk quota is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns how many bytes are missing so that `wanted` further bytes leave `min_free` bytes, when `reserved` of the
/// `free` bytes are promised to others.
fn missing(free: u64, reserved: u64, wanted: u64, min_free: u64) -> u64 {
    min_free.saturating_add(reserved).saturating_add(wanted).saturating_sub(free)
}

/// Something that gives space back when requests need it.
pub(super) trait ReclaimableSpace: Send + Sync {
    /// Frees at least `bytes` bytes of the disk if it can. Blocks.
    fn give_back(&self, bytes: u64);
}

/// The space on the disk with the state folder.
pub(crate) struct DiskSpace {
    folder: PathBuf,
    min_free: u64,
    reserved: Mutex<u64>,
    reclaimable: OnceLock<Weak<dyn ReclaimableSpace>>,
    short: Notify,
}

impl DiskSpace {
    /// Watches the disk with `folder`, on which requests must leave `min_free` bytes free.
    pub(crate) fn new(folder: PathBuf, min_free: u64) -> Arc<Self> {
        let (reserved, reclaimable, short) = (Mutex::default(), OnceLock::new(), Notify::new());
        Arc::new(Self { folder, min_free, reserved, reclaimable, short })
    }

    /// Sets what gives space back. Only the first call counts.
    pub(super) fn set_reclaimable(&self, reclaimable: Weak<dyn ReclaimableSpace>) {
        let _ = self.reclaimable.set(reclaimable);
    }

    /// Returns how many bytes are missing for `wanted` further bytes; 0 if the free space is unknown.
    pub(super) fn missing(&self, wanted: u64) -> u64 {
        let reserved = *self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        free_bytes(&self.folder).map_or(0, |free| missing(free, reserved, wanted, self.min_free))
    }

    /// Returns true if requests are refused because too little space is free.
    pub(crate) fn is_short(&self) -> bool {
        self.missing(0) > 0
    }

    /// Resolves when a reservation was refused.
    pub(crate) async fn refused(&self) {
        self.short.notified().await;
    }

    /// Reserves `wanted` bytes. `None` if the disk has too little room, even after the reclaimable space is given back.
    /// Blocks.
    pub(crate) fn reserve(self: &Arc<Self>, wanted: u64) -> Option<DiskReservation> {
        if !self.add(wanted) {
            let reclaimable = self.reclaimable.get().and_then(Weak::upgrade);
            // Without a lock: the reclaimable space asks for the free space itself.
            if let Some(reclaimable) = reclaimable {
                reclaimable.give_back(self.missing(wanted));
            }
            if !self.add(wanted) {
                self.short.notify_one();
                return None;
            }
        }
        Some(DiskReservation { space: self.clone(), left: wanted, unchecked: 0 })
    }

    /// Adds `wanted` bytes to the reserved ones if the disk has room for them.
    fn add(&self, wanted: u64) -> bool {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let free = free_bytes(&self.folder);
        if free.is_some_and(|free| missing(free, *reserved, wanted, self.min_free) > 0) {
            return false;
        }
        *reserved = reserved.saturating_add(wanted);
        true
    }

    fn release(&self, bytes: u64) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        *reserved = reserved.saturating_sub(bytes);
    }
}

/// Bytes of the disk that are reserved for one file. Dropping it releases the rest.
pub(crate) struct DiskReservation {
    space: Arc<DiskSpace>,
    left: u64,
    /// Bytes written since the free space was last compared.
    unchecked: u64,
}

impl DiskReservation {
    /// Turns `bytes` reserved bytes into written ones, and reserves further ones if too few are left. Returns false if
    /// the disk has no room for them. Blocks.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        if self.left < bytes {
            let lacking = bytes - self.left;
            let step = lacking.max(RESERVATION_STEP);
            // Near the limit, less than a step may still fit.
            let more = self.space.reserve(step).or_else(|| self.space.reserve(lacking));
            let Some(mut more) = more else { return false };
            self.left += std::mem::take(&mut more.left);
            self.unchecked = 0;
        }
        self.left -= bytes;
        self.space.release(bytes);
        self.unchecked += bytes;
        if self.unchecked >= RESERVATION_STEP {
            self.unchecked = 0;
            // The written bytes are no longer free, so the disk must still have room for the rest.
            return self.space.reserve(0).is_some();
        }
        true
    }
}

impl Drop for DiskReservation {
    fn drop(&mut self) {
        self.space.release(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_bytes_count_reservations_and_the_free_minimum() {
        // Free bytes, reserved bytes, wanted bytes, minimum free bytes, and the missing bytes.
        let cases = [
            (100, 0, 0, 100, 0),
            (100, 0, 1, 100, 1),
            (100, 50, 0, 50, 0),
            (100, 50, 10, 50, 10),
            (100, 0, 0, u64::MAX, u64::MAX - 100),
            (u64::MAX, u64::MAX, u64::MAX, u64::MAX, 0),
        ];
        for (free, reserved, wanted, min_free, expected) in cases {
            assert_eq!(missing(free, reserved, wanted, min_free), expected, "{free} {reserved} {wanted} {min_free}");
        }
    }

    #[test]
    fn reserved_bytes_are_refused_to_others_until_they_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_bytes(folder.path()).unwrap();
        // Half of the free bytes may be used. Other programs use the disk during the test, so the amounts are large.
        let space = DiskSpace::new(folder.path().to_owned(), free / 2);
        let first = space.reserve(free / 3).unwrap();
        assert!(space.reserve(free / 3).is_none());
        assert!(space.reserve(0).is_some() && !space.is_short());
        drop(first);
        let mut second = space.reserve(free / 3).unwrap();
        assert!(second.take(free / 3), "written bytes are reserved before");
        assert!(!second.take(free), "more than the disk has");
        assert_eq!(*space.reserved.lock().unwrap(), second.left);
        drop(second);
        assert_eq!(*space.reserved.lock().unwrap(), 0);
    }

    /// Counts the bytes that it is asked for.
    struct Asked(Mutex<Vec<u64>>);

    impl ReclaimableSpace for Asked {
        fn give_back(&self, bytes: u64) {
            self.0.lock().unwrap().push(bytes);
        }
    }

    #[test]
    fn reclaimable_space_is_asked_before_a_request_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let space = DiskSpace::new(folder.path().to_owned(), u64::MAX);
        let asked = Arc::new(Asked(Mutex::default()));
        let reclaimable: Weak<Asked> = Arc::downgrade(&asked);
        space.set_reclaimable(reclaimable);
        assert!(space.reserve(1).is_none() && space.is_short());
        let asked = asked.0.lock().unwrap();
        assert!(asked.len() == 1 && asked[0] > 0, "{asked:?}");
    }
}
