//! The orchestrator's state of one session.

use super::introduction::WorkerIntroduction;
use crate::{
    dispatch::input::{DispatcherInput, ForwardedEvent},
    lock::lock,
    published::RegisteredAttempt,
    shared_state::SharedState,
    workers::{close_reason::CloseReason, disconnected::is_same, worker_address::WorkerAddress},
};
use sp1d_identity::PeerIdentity;
use sp1d_model::ProofEvent;
use sp1d_protocol::{
    Closer, Mismatch,
    wire::{self, ToWorker, to_worker},
};
use sp1d_scheduler::{AttemptId, SessionId};
use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};
use tonic::Status;

/// What a session has reported to the scheduler about the provers of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportedProvers {
    /// None was loaded in this session, so the scheduler does not know the worker.
    NeverLoaded,
    /// At least one is loaded.
    Loaded,
    /// The last loaded one ended.
    AllLost,
}

impl ReportedProvers {
    /// Returns what the session reports next. `is_loaded` is true if a prover is loaded now.
    pub(super) const fn after(self, is_loaded: bool) -> Self {
        match (self, is_loaded) {
            (_, true) => Self::Loaded,
            (Self::NeverLoaded, false) => Self::NeverLoaded,
            (Self::Loaded | Self::AllLost, false) => Self::AllLost,
        }
    }
}

/// The orchestrator's state of one session.
pub(super) struct WorkerSession {
    pub(super) id: SessionId,
    pub(super) address: WorkerAddress,
    /// Who the worker is, according to its certificate; `None` without TLS.
    pub(super) peer: Option<PeerIdentity>,
    pub(super) closer: Closer,
    pub(super) introduction: OnceLock<WorkerIntroduction>,
    /// Gets the outcome of the handshake. `None` once it is sent.
    handshake: Mutex<Option<oneshot::Sender<Result<String, Mismatch>>>>,
    /// True once the worker has opened the control stream. A session has only one.
    pub(super) has_control_stream: AtomicBool,
    /// What the scheduler knows about the worker's provers.
    pub(super) reported_provers: Mutex<ReportedProvers>,
    /// How many other orchestrators wait for the worker.
    pub(super) waiting_orchestrators: watch::Sender<u32>,
    /// Cancelled when the worker reports that it leaves.
    pub(super) leaving: CancellationToken,
    pub(super) close_reason: Arc<CloseReason>,
    pub(super) tasks: BackgroundTasks,
    pub(super) shared: Arc<SharedState>,
}

impl WorkerSession {
    pub(super) fn new(
        address: WorkerAddress,
        peer: Option<PeerIdentity>,
        closer: Closer,
        shared: Arc<SharedState>,
        handshake: oneshot::Sender<Result<String, Mismatch>>,
    ) -> Self {
        Self {
            id: SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed)),
            address,
            peer,
            closer,
            introduction: OnceLock::new(),
            handshake: Mutex::new(Some(handshake)),
            has_control_stream: AtomicBool::new(false),
            reported_provers: Mutex::new(ReportedProvers::NeverLoaded),
            waiting_orchestrators: watch::Sender::new(0),
            leaving: CancellationToken::new(),
            close_reason: Arc::default(),
            tasks: BackgroundTasks::new(),
            shared,
        }
    }

    /// Reports the outcome of the handshake: the worker's name, or why it is refused. Only the first outcome counts.
    pub(super) fn report_handshake(&self, outcome: Result<String, Mismatch>) {
        if let Some(handshake) = lock(&self.handshake).take() {
            let _ = handshake.send(outcome);
        }
    }

    /// Tells the worker why this orchestrator ends the session, and whether an orchestrator will continue its attempts.
    pub(super) async fn say_goodbye(&self, reason: &str) {
        /// Time for the goodbye to be sent, after cancellations that are also waiting to be sent.
        const SEND_TIMEOUT: Duration = Duration::from_millis(100);
        let Some(entry) = self.shared.worker(self.id) else { return };
        let settings = &self.shared.settings;
        let returns = settings.lineage.is_some() && self.shared.is_ending.load(Ordering::Relaxed);
        let goodbye = wire::Goodbye { reason: reason.to_owned(), returns };
        let goodbye = ToWorker { message: Some(to_worker::Message::Goodbye(goodbye)) };
        if entry.outbox.try_send(Ok(goodbye)).is_ok() {
            // The worker closes the connection when it receives the goodbye.
            let _ = timeout(SEND_TIMEOUT, self.closer.ended()).await;
        }
    }

    /// Sends `event` to the dispatcher. Returns false if the dispatcher has ended. Then every session ends.
    pub(super) async fn send_event(&self, event: ForwardedEvent) -> bool {
        self.shared.inbox.send(DispatcherInput::Event(event)).await.is_ok()
    }

    /// Removes the worker from the shared state, because the session has ended. `should_return` is true if the worker
    /// should be connected again. It is then listed as disconnected, unless it left on purpose. It should not return if
    /// the orchestrator is stopping, if the worker was forgotten, or if the list or the name server no longer has it.
    pub(super) async fn remove_worker(&self, reason: &str, should_return: bool) {
        let Some(worker) = self.shared.workers().remove(&self.id) else { return };
        if should_return && !worker.left_on_purpose.load(Ordering::Relaxed) {
            let mut disconnected = self.shared.disconnected();
            // A worker that joins may be connected again before the end of its old session is noticed.
            let is_back = self.shared.workers().values().any(|other| is_same(other, &worker));
            if !is_back {
                let certificate = worker.certificate.as_ref();
                disconnected.add(&worker.address, &worker.name, certificate, reason, SystemTime::now());
            }
        }
        *self.shared.last_departure() = format!("{} ({}), {reason}", worker.name, worker.address);
        let lost = ProofEvent::WorkerLost { worker: worker.name.to_string(), reason: reason.to_owned() };
        self.shared.publish_to_tries(worker.origin, &lost);
        self.send_event(ForwardedEvent::SessionEnded { session: self.id }).await;
    }

    /// Returns the attempt if the worker holds it.
    pub(super) fn attempt(&self, attempt: u64) -> Result<Arc<RegisteredAttempt>, Status> {
        let unknown = || Status::not_found("this worker does not hold the attempt");
        self.shared.attempt_of(self.id, AttemptId(attempt)).ok_or_else(unknown)
    }
}
