//! Garbage collection: removes expired proofs, unused files and old cached results.

use super::service::{ServiceInner, lock};
use crate::state::DatabaseError;
use sp1d_model::Moment;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::sleep;

/// Interval between two collections.
const COLLECTION_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Minimum age of a blob that garbage collection removes. A younger blob may belong to a request that is about to
/// arrive.
const MIN_UNUSED_AGE: Duration = Duration::from_secs(60 * 60);

impl ServiceInner {
    /// Collects garbage at once and then after every interval, until the service stops.
    pub(super) async fn collect_garbage(self: Arc<Self>) {
        loop {
            let inner = self.clone();
            let collected = tokio::task::spawn_blocking(move || inner.collect_once());
            if let Err(error) = collected.await.expect("work on the state does not panic") {
                tracing::warn!(%error, "garbage collection failed");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(COLLECTION_INTERVAL) => {}
            }
        }
    }

    fn collect_once(&self) -> Result<(), DatabaseError> {
        let keep = i64::try_from(self.settings.keep.as_millis()).unwrap_or(i64::MAX);
        let undisturbed = lock(&self.housekeeping);
        let removed = self.database.remove_ended(Moment(Moment::now().0.saturating_sub(keep)))?;
        let needed = self.database.needed_blobs()?;
        let now = SystemTime::now();
        let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age > MIN_UNUSED_AGE);
        let unused = self.blobs.list().into_iter().filter(|(digest, time)| !needed.contains(digest) && is_old(*time));
        let unused: Vec<String> = unused.map(|(digest, _)| digest).collect();
        unused.iter().for_each(|digest| self.blobs.remove(digest));
        drop(undisturbed);
        self.result_cache.clean();
        self.database.shrink()?;
        if removed > 0 || !unused.is_empty() {
            tracing::info!(proofs = removed, files = unused.len(), "expired proofs and unused files removed");
        }
        Ok(())
    }
}
