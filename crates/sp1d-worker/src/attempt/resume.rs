//! Attempts whose orchestrator has restarted, kept so that it can resume them.

use super::held::HeldAttempt;
use sp1d_artifacts::Digest;
use sp1d_model::AttemptId;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long attempts are kept for a restarted orchestrator. The orchestrator executes the program again before it asks
/// for them, which takes time.
pub(super) const RESUME_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Attempts from before the orchestrator restarted, by their first numbers. Each is kept until the given time, so that
/// a later run can resume it. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OrphanedAttempts(Arc<Mutex<BTreeMap<AttemptId, (HeldAttempt, Instant)>>>);

impl OrphanedAttempts {
    fn attempts(&self) -> MutexGuard<'_, BTreeMap<AttemptId, (HeldAttempt, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `kept` for `RESUME_TIMEOUT`. The caller must run [`Self::drop_expired`] afterwards.
    pub(super) fn keep(&self, kept: impl IntoIterator<Item = HeldAttempt>) {
        let until = Instant::now() + RESUME_TIMEOUT;
        self.attempts().extend(kept.into_iter().map(|held| (held.first_number, (held, until))));
    }

    /// Cancels the attempts that have been kept for `RESUME_TIMEOUT`. Resolves after this time, or at `end`.
    pub(super) async fn drop_expired(self, end: CancellationToken) {
        if timeout(RESUME_TIMEOUT, end.cancelled()).await.is_err() {
            let is_expired = |_: &AttemptId, (_, until): &mut (HeldAttempt, Instant)| *until <= Instant::now();
            self.attempts().extract_if(.., is_expired).for_each(|(_, (held, _))| held.cancel.cancel());
        }
    }

    /// Returns the attempt that started under the number `first_number`, and no longer keeps it. Returns `None` if
    /// it keeps no attempt with this number, or if the attempt has another key.
    pub(super) fn take(&self, first_number: AttemptId, key: Option<Digest>) -> Option<HeldAttempt> {
        match self.attempts().entry(first_number) {
            Entry::Occupied(entry) if entry.get().0.key == key => Some(entry.remove().0),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        }
    }

    /// Returns the attempts that can be resumed, each with its key.
    pub(super) fn offers(&self) -> Vec<(AttemptId, Digest)> {
        self.attempts().iter().filter_map(|(number, (held, _))| Some((*number, held.key?))).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts().is_empty()
    }

    /// Drops all attempts, without cancelling them.
    pub(super) fn clear(&self) {
        self.attempts().clear();
    }
}
