//! What outlives a worker's sessions.

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

/// How long a worker goes on with what an orchestrator gave it, after the connection was lost. An orchestrator that
/// lives connects again within seconds; longer than this, others have done the work.
const GRACE: Duration = Duration::from_secs(120);

/// What outlives a worker's sessions: places in its engine, artifacts, and the attempts of an orchestrator whose
/// connection was lost.
#[derive(Clone)]
pub(crate) struct Home {
    /// Made with the engine.
    slots: Arc<OnceLock<Slots>>,
    ledger: Ledger,
    cache: Arc<Mutex<Cache>>,
    kept: Arc<Mutex<Option<Kept>>>,
    waiting: TaskTracker,
}

/// An orchestrator, as it tells itself from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orchestrator {
    /// Until it is restarted.
    pub(crate) instance: Bytes,
    /// Over restarts; empty for one that does not go on where it was.
    pub(crate) lineage: Bytes,
}

/// Attempts that wait for their orchestrator to come back.
struct Kept {
    orchestrator: Orchestrator,
    attempts: Arc<Attempts>,
    /// Cancelled when somebody has taken them.
    taken: CancellationToken,
}

impl Home {
    /// For a worker whose provers take what `plan` says. From now on the other workers of the machine count with it.
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

    /// What attempts can have of the machine's memory; `None` if that is unknown.
    pub(crate) async fn attempt_memory(&self) -> Option<AttemptMemory> {
        let ledger = self.ledger.clone();
        // Looking at processes with many gigabytes takes long.
        tokio::task::spawn_blocking(move || ledger.attempt_memory()).await.unwrap_or_default()
    }

    /// The attempts for a session with `orchestrator`: those of its last one, if the worker still has them, or those
    /// that it may ask for again after a restart. Those of any other are dropped.
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
            self.drop_kept(Some(kept), "another orchestrator has come");
        }
        let slots = self.slots.get_or_init(|| Slots::new(engine, self.ledger.clone())).clone();
        Arc::new(Attempts::new(engine.clone(), slots, kinds, self.cache.clone()))
    }

    /// Keeps `attempts`, whose connection was lost, until `orchestrator` comes back, another comes, or the grace is
    /// over.
    pub(crate) fn keep(&self, orchestrator: Orchestrator, attempts: Arc<Attempts>) {
        attempts.detach();
        if attempts.is_empty() {
            // Nothing to go on with, but what looks after the engine's memory ends with them.
            return self.let_go(attempts);
        }
        tracing::info!(
            attempts = attempts.offers().len() + attempts.begun().len(),
            seconds = GRACE.as_secs(),
            "the connection was lost: going on, in case the orchestrator comes back"
        );
        let taken = CancellationToken::new();
        *self.kept() = Some(Kept { orchestrator, attempts, taken: taken.clone() });
        let home = self.clone();
        self.waiting.spawn(async move {
            tokio::select! {
                () = taken.cancelled() => {}
                () = tokio::time::sleep(GRACE) => {
                    // In the same moment somebody may have taken them, and others be kept by now.
                    let kept = home.kept().take_if(|_| !taken.is_cancelled());
                    home.drop_kept(kept, "the orchestrator did not come back");
                }
            }
        });
    }

    /// Drops `attempts`. Nobody waits for it: giving gigabytes back to the system takes its time, in which the next
    /// orchestrator may come in.
    pub(crate) fn let_go(&self, attempts: Arc<Attempts>) {
        self.waiting.spawn(async move { attempts.end().await });
    }

    fn drop_kept(&self, kept: Option<Kept>, why: &str) {
        if let Some(Kept { attempts, taken, .. }) = kept {
            tracing::info!(why, "kept attempts are dropped");
            taken.cancel();
            self.let_go(attempts);
        }
    }

    /// To be called when no session is left.
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
    async fn a_session_that_held_nothing_leaves_nothing_running() {
        let (home, engine) = (Home::new(1, MemoryPlan::default()), Arc::new(Idle) as Arc<dyn ProvingEngine>);
        let one = Orchestrator { instance: Bytes::from_static(b"one"), lineage: Bytes::new() };
        let attempts = home.attempts(&one, &engine, KindSet::all());
        assert!(!attempts.has_ended());
        home.keep(one, attempts.clone());
        home.end().await;
        assert!(attempts.has_ended());
    }
}
