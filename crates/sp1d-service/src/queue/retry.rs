//! Repeats writes while the database is locked or the disk is full.

use super::service::ServiceInner;
use crate::state::DatabaseError;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Number of tries after the service was asked to stop. They take at most about ten seconds.
const TRIES_AT_STOP: u32 = 10;

impl ServiceInner {
    /// Calls `work` on a thread that may block, and again while it fails for a temporary reason. When the service
    /// stops, tries some times more. `what` says in the log what cannot be done.
    ///
    /// # Errors
    /// Returns the last error.
    pub(super) async fn persistently<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        work: impl Fn(&Self) -> Result<T, DatabaseError> + Clone + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (mut tries_at_stop, mut is_reported) = (0, false);
        loop {
            let (inner, work) = (self.clone(), work.clone());
            let done =
                tokio::task::spawn_blocking(move || work(&inner)).await.expect("work on the state does not panic");
            let error = match done {
                Err(error) if error.is_temporary() => error,
                done => return done,
            };
            if self.stop.is_cancelled() {
                tries_at_stop += 1;
                if tries_at_stop >= TRIES_AT_STOP {
                    return Err(error);
                }
            }
            if !is_reported {
                is_reported = true;
                tracing::warn!(what, %error, "cannot write to the database at the moment; retrying");
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}
