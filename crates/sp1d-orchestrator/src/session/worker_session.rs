//! The orchestrator's state of one session.

use super::introduction::WorkerIntroduction;
use crate::{
    lock::lock,
    state::{
        dispatcher_input::{DispatcherInput, ForwardedEvent},
        published::RegisteredAttempt,
        shared_state::SharedState,
    },
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
    sync::{mpsc::error::TrySendError, oneshot, watch},
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
    pub(super) session_id: SessionId,
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
    pub(super) reported_provers: watch::Sender<ReportedProvers>,
    /// How many other orchestrators wait for the worker.
    pub(super) waiting_orchestrators: watch::Sender<u32>,
    /// Cancelled when the worker reports that it leaves.
    pub(super) leaving: CancellationToken,
    pub(super) close_reason: Arc<CloseReason>,
    pub(super) background: BackgroundTasks,
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
            session_id: SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed)),
            address,
            peer,
            closer,
            introduction: OnceLock::new(),
            handshake: Mutex::new(Some(handshake)),
            has_control_stream: AtomicBool::new(false),
            reported_provers: watch::Sender::new(ReportedProvers::NeverLoaded),
            waiting_orchestrators: watch::Sender::new(0),
            leaving: CancellationToken::new(),
            close_reason: Arc::default(),
            background: BackgroundTasks::new(),
            shared,
        }
    }

    /// Reports that the worker is refused, as the outcome of the handshake. Only the first outcome counts.
    pub(super) fn refuse(&self, mismatch: Mismatch) {
        if let Some(handshake) = lock(&self.handshake).take() {
            let _ = handshake.send(Err(mismatch));
        }
    }

    /// Calls `register`, which adds the worker to the shared state, and reports the worker's name as the outcome of the
    /// handshake. Returns false if the session may not start: it has an outcome already, or the caller no longer waits
    /// for one.
    pub(super) fn start(&self, name: String, register: impl FnOnce()) -> bool {
        // Locked until the worker is registered, so that a session that ends meanwhile does not miss it.
        let mut handshake = lock(&self.handshake);
        let Some(sender) = handshake.take().filter(|sender| !sender.is_closed()) else { return false };
        // The worker is registered first, because the caller may ask at once which tasks it supports.
        register();
        let is_awaited = sender.send(Ok(name)).is_ok();
        if !is_awaited {
            self.shared.workers().remove(&self.session_id);
        }
        is_awaited
    }

    /// Tells the worker why this orchestrator ends the session, and whether an orchestrator will continue its attempts.
    pub(super) async fn say_goodbye(&self, reason: &str) {
        /// Time for the goodbye to be sent, after cancellations that are also waiting to be sent.
        const SEND_TIMEOUT: Duration = Duration::from_millis(100);
        let Some(worker) = self.shared.worker(self.session_id) else { return };
        let settings = &self.shared.settings;
        let returns = settings.lineage.is_some() && self.shared.is_ending.load(Ordering::Relaxed);
        let goodbye = wire::Goodbye { reason: reason.to_owned(), returns };
        let goodbye = ToWorker { message: Some(to_worker::Message::Goodbye(goodbye)) };
        if worker.outbox.try_send(Ok(goodbye)).is_ok() {
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
        if self.shared.worker(self.session_id).is_none() {
            return;
        }
        // The worker stays until the dispatcher has room for the event. If this future is dropped before,
        // `WorkerRemoval` removes the worker.
        let room = self.shared.inbox.reserve().await;
        if let (Some(ended), Ok(room)) = (self.unregister(reason, should_return), room) {
            room.send(ended);
        }
    }

    /// Removes the worker from the shared state, and lets no worker start the session any more. Returns the event for
    /// the dispatcher; `None` if the worker is not registered.
    fn unregister(&self, reason: &str, should_return: bool) -> Option<DispatcherInput> {
        *lock(&self.handshake) = None;
        let worker = self.shared.workers().remove(&self.session_id)?;
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
        Some(DispatcherInput::Event(ForwardedEvent::SessionEnded { session: self.session_id }))
    }

    /// Returns the attempt if the worker holds it.
    pub(super) fn attempt(&self, attempt: u64) -> Result<Arc<RegisteredAttempt>, Status> {
        let unknown = || Status::not_found("this worker does not hold the attempt");
        self.shared.attempt_of(self.session_id, AttemptId(attempt)).ok_or_else(unknown)
    }
}

/// Removes the worker of a session whose future is dropped before the session has ended.
pub(super) struct WorkerRemoval(pub(super) Arc<WorkerSession>);

impl Drop for WorkerRemoval {
    fn drop(&mut self) {
        let Some(ended) = self.0.unregister("the session was dropped", true) else { return };
        if let Err(TrySendError::Full(ended)) = self.0.shared.inbox.try_send(ended) {
            // The inbox of the dispatcher is full. Wait for room in the background, on the runtime of the dispatcher,
            // because this value may be dropped outside a runtime.
            let shared = self.0.shared.clone();
            let runtime = shared.runtime.clone();
            runtime.spawn(async move { shared.inbox.send(ended).await });
        }
    }
}
