//! Removing what need not be kept any more.

use super::{Inner, lock};
use crate::database::DatabaseError;
use client::Moment;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::sleep;

/// How often it is looked for what need not be kept any more.
const CLEANING: Duration = Duration::from_secs(10 * 60);

/// A blob that nothing needs goes when it is this old: a request that needs it may be on its way.
const UNUSED: Duration = Duration::from_secs(60 * 60);

impl Inner {
    /// Removes what need not be kept any more, now and then.
    pub(super) async fn clean_up(self: Arc<Self>) {
        loop {
            let inner = self.clone();
            let cleaned = tokio::task::spawn_blocking(move || inner.clean());
            if let Err(error) = cleaned.await.expect("work on the state does not panic") {
                tracing::warn!(%error, "remove what need not be kept any more");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(CLEANING) => {}
            }
        }
    }

    fn clean(&self) -> Result<(), DatabaseError> {
        let keep = i64::try_from(self.settings.keep.as_millis()).unwrap_or(i64::MAX);
        let undisturbed = lock(&self.housekeeping);
        let removed = self.database.remove_ended(Moment(Moment::now().0.saturating_sub(keep)))?;
        let needed = self.database.needed_blobs()?;
        let now = SystemTime::now();
        let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age > UNUSED);
        let unused = self.blobs.list().into_iter().filter(|(digest, time)| !needed.contains(digest) && is_old(*time));
        let unused: Vec<String> = unused.map(|(digest, _)| digest).collect();
        unused.iter().for_each(|digest| self.blobs.remove(digest));
        drop(undisturbed);
        self.memo.clean();
        self.database.shrink()?;
        if removed > 0 || !unused.is_empty() {
            tracing::info!(proofs = removed, files = unused.len(), "removed what need not be kept any more");
        }
        Ok(())
    }
}
