//! State that outlives a worker's sessions.

use crate::{
    attempt::{AssignedAttempts, AttemptGate, ProvingPlaces},
    cache::Cache,
    engine::ProvingEngine,
    machine_memory::{MemoryPlan, MemoryReservations},
};
use bytes::Bytes;
use sp1d_identity::PeerName;
use sp1d_model::KindSet;
use sp1d_protocol::wire::AttemptMemory;
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};
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

/// Maximum time of measuring memory for the hello. A prover that holds 500 GB takes half a second or more.
const MAX_HELLO_MEASUREMENT: Duration = Duration::from_secs(1);

/// State that outlives a worker's sessions: the places in the engine, memory reservations, cached artifacts, and the
/// attempts of an orchestrator whose connection was lost.
#[derive(Clone)]
pub(super) struct WorkerState {
    /// Set once the engine is ready.
    places: Arc<OnceLock<ProvingPlaces>>,
    reservations: MemoryReservations,
    /// The memory for attempts when it was last measured.
    last_memory: watch::Sender<Option<AttemptMemory>>,
    gate: AttemptGate,
    cache: Arc<Mutex<Cache>>,
    kept: watch::Sender<Option<KeptAttempts>>,
    background: BackgroundTasks,
}

/// The identity that an orchestrator proves or reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrchestratorIdentity {
    /// The name in its certificate; `None` without TLS. An orchestrator with another one never gets its attempts,
    /// whatever it reports.
    pub(super) certificate: Option<PeerName>,
    /// Identifies the orchestrator until it restarts.
    pub(super) instance: Bytes,
    /// Identifies the orchestrator over restarts. Empty if it does not resume its proofs after a restart.
    pub(super) lineage: Bytes,
}

impl OrchestratorIdentity {
    /// Returns true if `other` is this orchestrator, and it has not restarted.
    fn is_same_instance(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.instance == other.instance && !self.instance.is_empty()
    }

    /// Returns true if `other` is this orchestrator, or this orchestrator after a restart, and can resume its proofs.
    fn can_continue_as(&self, other: &Self) -> bool {
        let is_restarted =
            self.certificate == other.certificate && self.lineage == other.lineage && !self.lineage.is_empty();
        self.is_same_instance(other) || is_restarted
    }
}

/// Attempts that wait for their orchestrator to reconnect.
struct KeptAttempts {
    orchestrator: OrchestratorIdentity,
    attempts: Arc<AssignedAttempts>,
    /// Cancelled when a session continues the attempts, or when they are dropped.
    taken: CancellationToken,
}

impl WorkerState {
    /// Creates the state of a worker whose provers use the memory in `plan`. The other workers on the machine account
    /// for this memory at once.
    pub(super) fn new(plan: MemoryPlan) -> Self {
        Self {
            places: Arc::default(),
            reservations: MemoryReservations::of_machine(plan),
            last_memory: watch::Sender::new(None),
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
        let worker = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            leave.cancelled().await;
            worker.gate.close().await;
            worker.drop_kept_unstarted();
        }))
    }

    /// Drops the kept attempts that have not started. Call this when the gate is closed: they cannot start any more,
    /// and hold their places and memory.
    fn drop_kept_unstarted(&self) {
        if let Some(kept) = &*self.kept.borrow() {
            kept.attempts.cancel_unstarted();
        }
        let kept = self.take_kept(|kept| kept.attempts.is_empty());
        self.drop_kept(kept, "the worker is leaving, and none of them has started");
    }

    /// Keeps further attempts from starting. Resolves when the reports of all attempts that have started are sent.
    pub(super) async fn close_gate(&self) {
        self.gate.close().await;
    }

    /// Returns how much of the machine's memory attempts can have, or `None` if that is unknown.
    pub(super) async fn attempt_memory(&self) -> Option<AttemptMemory> {
        let (reservations, last) = (self.reservations.clone(), self.last_memory.clone());
        // Measuring processes that hold many gigabytes takes long.
        let measure = move || {
            let measured = reservations.attempt_memory();
            last.send_replace(measured);
            measured
        };
        tokio::task::spawn_blocking(measure).await.unwrap_or_default()
    }

    /// Returns the same value for the hello. The orchestrator waits only three seconds for the hello. So this returns
    /// the last measured value if measuring takes long.
    pub(super) async fn attempt_memory_for_hello(&self) -> Option<AttemptMemory> {
        measured_or_last(self.attempt_memory(), &self.last_memory).await
    }

    /// Returns the attempts for a session with `orchestrator`. Kept attempts are returned if the orchestrator has not
    /// restarted since, or if it can resume them. Kept attempts of another orchestrator are dropped, unless the worker
    /// leaves: it then starts nothing for `orchestrator`, and the other one may still return.
    pub(super) fn attempts(
        &self,
        orchestrator: &OrchestratorIdentity,
        engine: &Arc<dyn ProvingEngine>,
        kinds: KindSet,
    ) -> Arc<AssignedAttempts> {
        let is_leaving = self.gate.is_closed();
        let may_take = |kept: &KeptAttempts| !is_leaving || kept.orchestrator.can_continue_as(orchestrator);
        if let Some(kept) = self.take_kept(may_take) {
            kept.taken.cancel();
            if kept.orchestrator.can_continue_as(orchestrator) {
                if !kept.orchestrator.is_same_instance(orchestrator) {
                    kept.attempts.outlive_orchestrator();
                }
                return kept.attempts;
            }
            self.drop_kept(Some(kept), "another orchestrator connected");
        }
        let new_places = || ProvingPlaces::new(engine, self.reservations.clone(), self.gate.clone());
        let places = self.places.get_or_init(new_places).clone();
        Arc::new(AssignedAttempts::new(engine.clone(), places, kinds, self.cache.clone()))
    }

    /// Keeps `attempts` after their connection was lost, until `orchestrator` reconnects, another orchestrator
    /// connects while the worker does not leave, or `RECONNECT_TIMEOUT` has passed.
    pub(super) fn keep(&self, orchestrator: OrchestratorIdentity, attempts: Arc<AssignedAttempts>) {
        attempts.detach();
        if self.gate.is_closed() {
            // They cannot start any more, and must not replace the kept attempts of another orchestrator.
            attempts.cancel_unstarted();
        }
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
        // If the gate closes later, `close_gate_on` does this.
        if self.gate.is_closed() {
            self.drop_kept_unstarted();
        }
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

/// Returns what `measuring` returns, or `last` if it takes too long for a hello.
async fn measured_or_last(
    measuring: impl Future<Output = Option<AttemptMemory>>,
    last: &watch::Sender<Option<AttemptMemory>>,
) -> Option<AttemptMemory> {
    timeout(MAX_HELLO_MEASUREMENT, measuring).await.unwrap_or_else(|_| *last.borrow())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attempt::SessionHandle,
        engine::{AttemptError, AttemptIo, EngineRoom},
    };
    use async_trait::async_trait;
    use sp1d_model::AttemptId;
    use sp1d_protocol::{Assignment, ReduceTask, TaskPayload};

    struct IdleEngine {
        /// Whether attempts can start.
        is_ready: bool,
    }

    #[async_trait]
    impl ProvingEngine for IdleEngine {
        fn places(&self) -> usize {
            1
        }

        async fn ready(&self) -> EngineRoom {
            if !self.is_ready {
                std::future::pending::<()>().await;
            }
            EngineRoom::default()
        }

        async fn run(&self, _: usize, _: Assignment, _: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
            Ok(())
        }
    }

    /// Returns an orchestrator and its attempts.
    fn attempts_of(worker: &WorkerState, is_ready: bool) -> (OrchestratorIdentity, Arc<AssignedAttempts>) {
        let engine = Arc::new(IdleEngine { is_ready }) as Arc<dyn ProvingEngine>;
        let orchestrator =
            OrchestratorIdentity { certificate: None, instance: Bytes::from_static(b"one"), lineage: Bytes::new() };
        let attempts = worker.attempts(&orchestrator, &engine, KindSet::all());
        (orchestrator, attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hello_does_not_wait_for_a_slow_measurement() {
        let last = watch::Sender::new(Some(AttemptMemory::default()));
        assert_eq!(measured_or_last(std::future::pending(), &last).await, Some(AttemptMemory::default()));
        assert_eq!(measured_or_last(std::future::ready(None), &last).await, None);
    }

    /// Returns a task without inputs.
    fn assignment() -> Assignment {
        let (range, result) = ("0..0".to_owned(), "result".to_owned());
        Assignment {
            attempt: AttemptId(1),
            proof: "proof".to_owned(),
            payload: TaskPayload::RecursionReduce(ReduceTask { is_last: true, range, parts: Vec::new(), result }),
            options: String::new(),
            memory_bytes: 0,
            key: None,
            resumes: None,
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
        let (orchestrator, attempts) = attempts_of(&worker, true);
        assert!(!attempts.has_ended());
        worker.keep(orchestrator, attempts.clone());
        worker.end().await;
        assert!(attempts.has_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_whose_orchestrator_does_not_return_are_dropped() {
        let worker = WorkerState::new(MemoryPlan::default());
        let (orchestrator, attempts) = attempts_of(&worker, true);
        attempts.start(&SessionHandle::unconnected(), assignment());
        while attempts.started().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        worker.keep(orchestrator, attempts.clone());
        tokio::time::sleep(RECONNECT_TIMEOUT - Duration::from_secs(1)).await;
        assert!(worker.keeps_attempts() && !attempts.has_ended());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!worker.keeps_attempts());
        worker.end().await;
        assert!(attempts.has_ended());
    }

    /// Checks whether a leaving worker without a connection keeps its only attempt, which starts if the engine
    /// `is_ready`. The worker leaves before it loses its connection if `leaves_first` is true.
    async fn check_leaving(is_ready: bool, leaves_first: bool) {
        let (worker, leave) = (WorkerState::new(MemoryPlan::default()), CancellationToken::new());
        let closing = worker.close_gate_on(leave.clone());
        let (orchestrator, attempts) = attempts_of(&worker, is_ready);
        attempts.start(&SessionHandle::unconnected(), assignment());
        while is_ready && attempts.started().is_empty() {
            tokio::task::yield_now().await;
        }
        if leaves_first {
            leave.cancel();
            closing.await.unwrap();
            worker.keep(orchestrator, attempts.clone());
        } else {
            worker.keep(orchestrator, attempts.clone());
            assert!(worker.keeps_attempts());
            leave.cancel();
            closing.await.unwrap();
        }
        assert_eq!(worker.keeps_attempts(), is_ready, "{leaves_first}");
        worker.end().await;
        assert!(attempts.has_ended());
    }

    /// A worker keeps a started attempt while another orchestrator connects, is assigned an attempt, and loses its
    /// connection. Checks whether the first orchestrator can then continue its attempt.
    async fn check_other_orchestrator(is_leaving: bool) {
        let worker = WorkerState::new(MemoryPlan::default());
        let (orchestrator, attempts) = attempts_of(&worker, true);
        attempts.start(&SessionHandle::unconnected(), assignment());
        while attempts.started().is_empty() {
            tokio::task::yield_now().await;
        }
        if is_leaving {
            worker.close_gate().await;
        }
        worker.keep(orchestrator.clone(), attempts.clone());
        let engine = Arc::new(IdleEngine { is_ready: true }) as Arc<dyn ProvingEngine>;
        let other = OrchestratorIdentity { instance: Bytes::from_static(b"two"), ..orchestrator.clone() };
        let of_other = worker.attempts(&other, &engine, KindSet::all());
        if is_leaving {
            of_other.start(&SessionHandle::unconnected(), assignment());
        }
        worker.keep(other, of_other);
        assert_eq!(worker.keeps_attempts(), is_leaving);
        let continued = worker.attempts(&orchestrator, &engine, KindSet::all());
        assert_eq!(Arc::ptr_eq(&continued, &attempts), is_leaving);
        worker.end_attempts(continued);
        worker.end().await;
        assert!(attempts.has_ended());
    }

    #[tokio::test]
    async fn another_orchestrator_ends_the_kept_attempts_unless_the_worker_leaves() {
        check_other_orchestrator(false).await;
        check_other_orchestrator(true).await;
    }

    #[tokio::test]
    async fn a_leaving_worker_without_a_connection_keeps_only_started_attempts() {
        for leaves_first in [true, false] {
            check_leaving(false, leaves_first).await;
            check_leaving(true, leaves_first).await;
        }
    }
}
