//! State that outlives a worker's sessions.

use crate::{
    attempt::{Attempts, Slots},
    cache::Cache,
    engine::ProvingEngine,
    introduction::MemoryPlan,
    ledger::Ledger,
};
use bytes::Bytes;
use protocol::wire::AttemptMemory;
use scheduler::KindSet;
use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a worker continues attempts after their connection was lost. A live orchestrator reconnects within seconds.
/// After this time, other workers have done the work.
const GRACE: Duration = Duration::from_secs(120);

/// State that outlives a worker's sessions: engine slots, memory reservations, cached artifacts, and the attempts of an
/// orchestrator whose connection was lost.
#[derive(Clone)]
pub(crate) struct Home {
    /// Set once the engine is ready.
    slots: Arc<OnceLock<Slots>>,
    ledger: Ledger,
    cache: Arc<Mutex<Cache>>,
    kept: Arc<Mutex<Option<Kept>>>,
    waiting: TaskTracker,
}

/// The identity that an orchestrator reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orchestrator {
    /// Identifies one run of the orchestrator. It changes with a restart.
    pub(crate) instance: Bytes,
    /// Identifies the orchestrator over restarts. Empty if it does not resume its proofs after a restart.
    pub(crate) lineage: Bytes,
}

/// Attempts that wait for their orchestrator to reconnect.
struct Kept {
    orchestrator: Orchestrator,
    attempts: Arc<Attempts>,
    /// Cancelled when a session takes over the attempts, or when they are dropped.
    taken: CancellationToken,
}

impl Home {
    /// Creates the state of a worker whose provers use the memory in `plan`. The other workers on the machine account
    /// for this memory at once.
    pub(crate) fn new(cache_bytes: u64, plan: MemoryPlan) -> Self {
        Self {
            slots: Arc::default(),
            ledger: Ledger::of_host(plan),
            cache: Arc::new(Mutex::new(Cache::new(cache_bytes))),
            kept: Arc::default(),
            waiting: TaskTracker::new(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how much of the machine's memory attempts can have, or `None` if that is unknown.
    pub(crate) async fn attempt_memory(&self) -> Option<AttemptMemory> {
        let ledger = self.ledger.clone();
        // Measuring processes that hold many gigabytes takes long.
        tokio::task::spawn_blocking(move || ledger.attempt_memory()).await.unwrap_or_default()
    }

    /// Returns the attempts for a session with `orchestrator`. Kept attempts are returned if they belong to the same
    /// run of the orchestrator, or to an earlier run that it can resume. Kept attempts of another orchestrator are
    /// dropped.
    pub(crate) fn attempts(
        &self,
        orchestrator: &Orchestrator,
        engine: &Arc<dyn ProvingEngine>,
        kinds: KindSet,
    ) -> Arc<Attempts> {
        let kept = self.kept().take();
        if let Some(kept) = kept {
            kept.taken.cancel();
            let Orchestrator { instance, lineage } = &kept.orchestrator;
            if *instance == orchestrator.instance && !instance.is_empty() {
                return kept.attempts;
            }
            if *lineage == orchestrator.lineage && !lineage.is_empty() {
                kept.attempts.outlive_orchestrator();
                return kept.attempts;
            }
            self.drop_kept(Some(kept), "another orchestrator connected");
        }
        let slots = self.slots.get_or_init(|| Slots::new(engine, self.ledger.clone())).clone();
        Arc::new(Attempts::new(engine.clone(), slots, kinds, self.cache.clone()))
    }

    /// Keeps `attempts` after their connection was lost, until `orchestrator` reconnects, another orchestrator
    /// connects, or `GRACE` has passed.
    pub(crate) fn keep(&self, orchestrator: Orchestrator, attempts: Arc<Attempts>) {
        attempts.detach();
        if attempts.is_empty() {
            // There is nothing to continue. Ending them also stops the task that gives back the engine's memory.
            return self.let_go(attempts);
        }
        tracing::info!(
            attempts = attempts.offers().len() + attempts.begun().len(),
            seconds = GRACE.as_secs(),
            "connection lost: attempts continue until the orchestrator reconnects"
        );
        let taken = CancellationToken::new();
        *self.kept() = Some(Kept { orchestrator, attempts, taken: taken.clone() });
        let home = self.clone();
        self.waiting.spawn(async move {
            tokio::select! {
                () = taken.cancelled() => {}
                () = tokio::time::sleep(GRACE) => {
                    // A session may have taken these attempts at the same moment, and stored others since.
                    let kept = home.kept().take_if(|_| !taken.is_cancelled());
                    home.drop_kept(kept, "the orchestrator did not reconnect");
                }
            }
        });
    }

    /// Drops `attempts` in the background. Giving gigabytes back to the system takes time, and the next orchestrator
    /// can connect meanwhile.
    pub(crate) fn let_go(&self, attempts: Arc<Attempts>) {
        self.waiting.spawn(async move { attempts.end().await });
    }

    fn drop_kept(&self, kept: Option<Kept>, why: &str) {
        if let Some(Kept { attempts, taken, .. }) = kept {
            tracing::info!(why, "kept attempts dropped");
            taken.cancel();
            self.let_go(attempts);
        }
    }

    /// Drops kept attempts and waits for all background work. Call this when no session is left.
    pub(crate) async fn end(&self) {
        let kept = self.kept().take();
        self.drop_kept(kept, "the worker is stopping");
        self.waiting.close();
        self.waiting.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AttemptError, AttemptIo};
    use async_trait::async_trait;
    use protocol::Assignment;

    struct Idle;

    #[async_trait]
    impl ProvingEngine for Idle {
        fn slots(&self) -> usize {
            1
        }

        async fn run(&self, _: usize, _: Assignment, _: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_session_without_attempts_leaves_no_task_running() {
        let (home, engine) = (Home::new(1, MemoryPlan::default()), Arc::new(Idle) as Arc<dyn ProvingEngine>);
        let one = Orchestrator { instance: Bytes::from_static(b"one"), lineage: Bytes::new() };
        let attempts = home.attempts(&one, &engine, KindSet::all());
        assert!(!attempts.has_ended());
        home.keep(one, attempts.clone());
        home.end().await;
        assert!(attempts.has_ended());
    }
}
