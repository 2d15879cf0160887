//! How long the service waits for an archive.

use std::time::Duration;

/// Time for the first byte of a connection, of a response, and of each further part. In a folder, time for a short read
/// and for the lock.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Time for an upload besides its bytes.
const BASE_UPLOAD: Duration = Duration::from_secs(60);

/// Slowest upload that is accepted, in bytes per second. A slower store could never keep up with the proofs.
const MIN_UPLOAD_RATE: u64 = 256 << 10;

/// Returns the time that an upload of `bytes` bytes, or another change, may take.
pub(super) const fn upload_time(bytes: u64) -> Duration {
    Duration::from_secs(BASE_UPLOAD.as_secs() + bytes / MIN_UPLOAD_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_uploads_get_more_time() {
        assert_eq!(upload_time(0), Duration::from_secs(60));
        assert_eq!(upload_time(1 << 30), Duration::from_secs(60 + 4096));
    }
}
