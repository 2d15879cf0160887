//! State that outlives a worker's sessions.

use crate::{
    attempt::{AssignedAttempts, AttemptGate, ProvingPlaces},
    cache::Cache,
    engine::ProvingEngine,
    machine_memory::{MemoryPlan, MemoryReservations},
};
use bytes::Bytes;
use sp1d_model::KindSet;
use sp1d_protocol::wire::AttemptMemory;
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker as BackgroundTasks},
};

sp1d_model::limits! {
    /// Maximum number of compressed bytes of programs and common inputs that a worker keeps in memory.
    const MAX_CACHE_BYTES: u64 = 256 << 20; Bytes by Orchestrator;
    /// How long a worker continues attempts after their connection was lost. A live orchestrator reconnects within
    /// seconds. After this time, other workers have done the work.
    const RECONNECT_TIMEOUT: Duration = Duration::from_secs(120); Time by Orchestrator;
}

/// State that outlives a worker's sessions: the places in the engine, memory reservations, cached artifacts, and the
/// attempts of an orchestrator whose connection was lost.
#[derive(Clone)]
pub(super) struct WorkerState {
    /// Set once the engine is ready.
    places: Arc<OnceLock<ProvingPlaces>>,
    reservations: MemoryReservations,
    gate: AttemptGate,
    cache: Arc<Mutex<Cache>>,
    kept: watch::Sender<Option<KeptAttempts>>,
    background: BackgroundTasks,
}

/// The identity that an orchestrator reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrchestratorIdentity {
    /// Identifies the orchestrator until it restarts.
    pub(super) instance: Bytes,
    /// Identifies the orchestrator over restarts. Empty if it does not resume its proofs after a restart.
    pub(super) lineage: Bytes,
}

/// Attempts that wait for their orchestrator to reconnect.
struct KeptAttempts {
    orchestrator: OrchestratorIdentity,
    attempts: Arc<AssignedAttempts>,
    /// Cancelled when a session takes over the attempts, or when they are dropped.
    taken: CancellationToken,
}

impl WorkerState {
    /// Creates the state of a worker whose provers use the memory in `plan`. The other workers on the machine account
    /// for this memory at once.
    pub(super) fn new(plan: MemoryPlan) -> Self {
        Self {
            places: Arc::default(),
            reservations: MemoryReservations::of_machine(plan),
            gate: AttemptGate::default(),
            cache: Arc::new(Mutex::new(Cache::new(MAX_CACHE_BYTES))),
            kept: watch::Sender::new(None),
            background: BackgroundTasks::new(),
        }
    }

    /// Returns the kept attempts if `is_it` selects them, and no longer keeps them.
    fn take_kept(&self, is_it: impl FnOnce(&KeptAttempts) -> bool) -> Option<KeptAttempts> {
        let mut taken = None;
        self.kept.send_if_modified(|kept| {
            taken = kept.take_if(|kept| is_it(kept));
            taken.is_some()
        });
        taken
    }

    /// Returns true if attempts wait for their orchestrator to reconnect.
    pub(super) fn keeps_attempts(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// Resolves when no attempt waits for its orchestrator to reconnect.
    pub(super) async fn nothing_kept(&self) {
        let mut kept = self.kept.subscribe();
        // This fails only if all senders are dropped, and `self` holds one.
        let _ = kept.wait_for(Option::is_none).await;
    }

    /// Keeps further attempts from starting once `leave` is cancelled, also while no session exists. Dropping the
    /// returned value ends this.
    pub(super) fn close_gate_on(&self, leave: CancellationToken) -> AbortOnDropHandle<()> {
        let gate = self.gate.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            leave.cancelled().await;
            gate.close().await;
        }))
    }

    /// Keeps further attempts from starting. Resolves when the reports of all attempts that have started are sent.
    pub(super) async fn close_gate(&self) {
        self.gate.close().await;
    }

    /// Returns how much of the machine's memory attempts can have, or `None` if that is unknown.
    pub(super) async fn attempt_memory(&self) -> Option<AttemptMemory> {
        let reservations = self.reservations.clone();
        // Measuring processes that hold many gigabytes takes long.
        tokio::task::spawn_blocking(move || reservations.attempt_memory()).await.unwrap_or_default()
    }

    /// Returns the attempts for a session with `orchestrator`. Kept attempts are returned if the orchestrator has not
    /// restarted since, or if it can resume them. Kept attempts of another orchestrator are dropped.
    pub(super) fn attempts(
        &self,
        orchestrator: &OrchestratorIdentity,
        engine: &Arc<dyn ProvingEngine>,
        kinds: KindSet,
    ) -> Arc<AssignedAttempts> {
        if let Some(kept) = self.take_kept(|_| true) {
            kept.taken.cancel();
            let OrchestratorIdentity { instance, lineage } = &kept.orchestrator;
            if *instance == orchestrator.instance && !instance.is_empty() {
                return kept.attempts;
            }
            if *lineage == orchestrator.lineage && !lineage.is_empty() {
                kept.attempts.outlive_orchestrator();
                return kept.attempts;
            }
            self.drop_kept(Some(kept), "another orchestrator connected");
        }
        let new_places = || ProvingPlaces::new(engine, self.reservations.clone(), self.gate.clone());
        let places = self.places.get_or_init(new_places).clone();
        Arc::new(AssignedAttempts::new(engine.clone(), places, kinds, self.cache.clone()))
    }

    /// Keeps `attempts` after their connection was lost, until `orchestrator` reconnects, another orchestrator
    /// connects, or `RECONNECT_TIMEOUT` has passed.
    pub(super) fn keep(&self, orchestrator: OrchestratorIdentity, attempts: Arc<AssignedAttempts>) {
        attempts.detach();
        if attempts.is_empty() {
            // There is nothing to continue. Ending them also stops the task that gives back the engine's memory.
            return self.end_attempts(attempts);
        }
        tracing::info!(
            attempts = attempts.offers().len() + attempts.resumable().len(),
            seconds = RECONNECT_TIMEOUT.as_secs(),
            "connection lost: attempts continue until the orchestrator reconnects"
        );
        let taken = CancellationToken::new();
        self.kept.send_replace(Some(KeptAttempts { orchestrator, attempts, taken: taken.clone() }));
        let worker = self.clone();
        self.background.spawn(async move {
            tokio::select! {
                () = taken.cancelled() => {}
                () = tokio::time::sleep(RECONNECT_TIMEOUT) => {
                    // A session may have taken these attempts at the same moment, and stored others since.
                    let kept = worker.take_kept(|_| !taken.is_cancelled());
                    worker.drop_kept(kept, "the orchestrator did not reconnect");
                }
            }
        });
    }

    /// Ends `attempts` in the background. Giving gigabytes back to the system takes time, and the next orchestrator can
    /// connect meanwhile.
    pub(super) fn end_attempts(&self, attempts: Arc<AssignedAttempts>) {
        self.background.spawn(async move { attempts.end().await });
    }

    fn drop_kept(&self, kept: Option<KeptAttempts>, why: &str) {
        if let Some(KeptAttempts { attempts, taken, .. }) = kept {
            tracing::info!(why, "kept attempts dropped");
            taken.cancel();
            self.end_attempts(attempts);
        }
    }

    /// Drops kept attempts and waits for all background work. Call this when no session is left.
    pub(super) async fn end(&self) {
        self.drop_kept(self.take_kept(|_| true), "the worker is stopping");
        self.background.close();
        self.background.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AttemptError, AttemptIo};
    use async_trait::async_trait;
    use sp1d_protocol::Assignment;

    struct IdleEngine;

    #[async_trait]
    impl ProvingEngine for IdleEngine {
        fn places(&self) -> usize {
            1
        }

        async fn run(&self, _: usize, _: Assignment, _: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_gate_closes_when_a_worker_without_a_session_leaves() {
        let (worker, leave) = (WorkerState::new(MemoryPlan::default()), CancellationToken::new());
        let closing = worker.close_gate_on(leave.clone());
        assert!(!worker.gate.is_closed());
        leave.cancel();
        closing.await.unwrap();
        assert!(worker.gate.is_closed());
    }

    #[tokio::test]
    async fn a_session_without_attempts_leaves_no_task_running() {
        let worker = WorkerState::new(MemoryPlan::default());
        let engine = Arc::new(IdleEngine) as Arc<dyn ProvingEngine>;
        let orchestrator = OrchestratorIdentity { instance: Bytes::from_static(b"one"), lineage: Bytes::new() };
        let attempts = worker.attempts(&orchestrator, &engine, KindSet::all());
        assert!(!attempts.has_ended());
        worker.keep(orchestrator, attempts.clone());
        worker.end().await;
        assert!(attempts.has_ended());
    }
}
