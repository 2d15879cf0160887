//! The timeout for the next part of a transfer, which sets the minimum rate of transfers.

use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum time between two parts of a transfer. A part is a chunk of 1 MiB before compression, so this also sets
    /// the minimum rate: a worker behind a link of 1 Mbit/s with 15 transfers at a time needs half of this time.
    /// Otherwise a worker could keep transfers open forever, with the memory that they hold.
    pub(super) const MAX_PART_TIME: Duration = Duration::from_secs(60); Time by Worker;
}

/// Sends or receives the next part of a transfer, within [`MAX_PART_TIME`].
///
/// # Errors
/// Fails if the part takes longer.
pub(super) async fn with_part_timeout<T>(part: impl Future<Output = T>) -> Result<T, Status> {
    let late = |_| {
        let seconds = MAX_PART_TIME.as_secs();
        Status::deadline_exceeded(format!("the transfer made no progress for {seconds} s"))
    };
    timeout(MAX_PART_TIME, part).await.map_err(late)
}
