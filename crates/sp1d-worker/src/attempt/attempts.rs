//! The attempts that a worker runs, or keeps for its orchestrator, and how one runs.

use super::{
    held::HeldAttempt,
    idle::release_memory_when_idle,
    io::{AttemptLink, SessionIo},
    journal::{AttemptJournal, AttemptReport, AttemptRoute},
    places::ProvingPlaces,
    resume::{OrphanedAttempts, RESUME_TIMEOUT},
    transfer::SessionHandle,
};
use crate::{
    cache::Cache,
    engine::{AttemptError, MemoryUse, ProvingEngine},
};
use futures::FutureExt;
use sp1d_artifacts::Digest;
use sp1d_model::{AttemptId, KindSet};
use sp1d_protocol::{Assignment, FailureKind, MessageLimits, wire};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};
use tracing::Instrument;

/// The attempts that one orchestrator has assigned, over all its sessions.
pub(crate) struct AssignedAttempts {
    engine: Arc<dyn ProvingEngine>,
    places: ProvingPlaces,
    kinds: KindSet,
    cache: Arc<Mutex<Cache>>,
    held: Mutex<BTreeMap<AttemptId, HeldAttempt>>,
    resumable: OrphanedAttempts,
    background: BackgroundTasks,
    end: CancellationToken,
}

impl AssignedAttempts {
    pub(crate) fn new(
        engine: Arc<dyn ProvingEngine>,
        places: ProvingPlaces,
        kinds: KindSet,
        cache: Arc<Mutex<Cache>>,
    ) -> Self {
        let (background, end) = (BackgroundTasks::new(), CancellationToken::new());
        background.spawn(release_memory_when_idle(engine.clone(), places.clone(), end.clone()));
        let (held, resumable) = (Mutex::default(), OrphanedAttempts::default());
        Self { engine, places, kinds, cache, held, resumable, background, end }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<AttemptId, HeldAttempt>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an attempt that `session` has assigned, or resumes the earlier attempt that the assignment names.
    pub(crate) fn start(&self, session: &SessionHandle, assignment: Assignment) {
        let attempt = assignment.attempt;
        let outputs = Arc::new(assignment.payload.outputs());
        let route = AttemptRoute { session: session.clone(), attempt, outputs };
        if let Some(resumes) = assignment.resumes
            && self.resume(resumes, assignment.key, route.clone())
        {
            return;
        }
        let key = assignment.key;
        let journal = Arc::new(AttemptJournal::new(route, key.is_some()));
        let held = HeldAttempt { journal, cancel: self.end.child_token(), key, first_number: attempt };
        {
            let mut all = self.held();
            if all.len() >= MessageLimits::HELD_ATTEMPTS || all.contains_key(&attempt) {
                let text = match all.len() {
                    _ if all.contains_key(&attempt) => format!("the worker already has attempt {}", attempt.0),
                    held => format!("the worker already has the maximum of {held} attempts"),
                };
                let error = AttemptError { kind: FailureKind::Unsupported, text };
                let message = AttemptReport::Failed(error).message(attempt);
                // If the outbox is full, the orchestrator reads nothing. The session then ends because of its silence.
                let _ = session.outbox.try_send(wire::FromWorker { message: Some(message) });
                return;
            }
            all.insert(attempt, held.clone());
        }
        let kind = assignment.payload.kind();
        let span = tracing::info_span!("attempt", attempt = attempt.0, proof_id = %assignment.proof, %kind);
        let link = AttemptLink {
            routes: held.journal.routes(),
            cache: self.cache.clone(),
            runtime: Handle::current(),
            end: held.cancel.clone(),
        };
        let is_supported = self.kinds.contains(kind);
        let (engine, places) = (self.engine.clone(), self.places.clone());
        self.background.spawn(run_attempt(held, link, engine, places, assignment, is_supported).instrument(span));
    }

    /// Resumes the attempt that started under the number `first_number`. It continues on `route`, under the number
    /// there. Returns false if the worker no longer has the attempt, cannot resume it, or has it with another key.
    fn resume(&self, first_number: AttemptId, key: Option<Digest>, route: AttemptRoute) -> bool {
        let Some(found) = self.resumable.take(first_number, key) else { return false };
        // Change the number at once: the session may end before it reports anything, and the next session uses the new
        // number.
        if !found.journal.renumber(route.attempt, route.outputs.clone()) {
            found.cancel.cancel();
            return false;
        }
        tracing::info!(
            attempt = route.attempt.0,
            first_number = first_number.0,
            "attempt continues after a restart of the orchestrator"
        );
        if let Some(replaced) = self.held().insert(route.attempt, found.clone()) {
            replaced.cancel.cancel();
        }
        self.attach(found, route);
        true
    }

    /// Sends the journal of `held` over `route`, in a separate task: there may be megabytes to upload.
    fn attach(&self, held: HeldAttempt, route: AttemptRoute) {
        self.background.spawn(async move {
            let attached = tokio::select! {
                () = held.cancel.cancelled() => return,
                attached = held.journal.attach(route) => attached,
            };
            if let Err(error) = attached {
                tracing::warn!(%error, "attempt failed");
                held.cancel.cancel();
                held.journal.report(AttemptReport::Failed(error)).await;
            }
        });
    }

    /// Cancels an attempt, if the worker still has it.
    pub(crate) fn cancel(&self, attempt: AttemptId) {
        let held = self.held().remove(&attempt);
        if let Some(held) = held {
            held.cancel.cancel();
        }
    }

    /// Cancels the attempts that have not started.
    pub(crate) fn cancel_unstarted(&self) {
        let is_unstarted = |_: &AttemptId, held: &mut HeldAttempt| !held.journal.has_started();
        self.held().extract_if(.., is_unstarted).for_each(|(_, held)| held.cancel.cancel());
    }

    /// Removes an attempt whose outcome the orchestrator has confirmed.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.held().remove(&attempt);
    }

    /// Returns the attempts that a new session with the same orchestrator can continue.
    pub(crate) fn offers(&self) -> Vec<AttemptId> {
        self.held().keys().copied().collect()
    }

    /// Returns the attempts that have started and whose outcome the orchestrator has not confirmed.
    pub(crate) fn started(&self) -> Vec<AttemptId> {
        self.held().iter().filter(|(_, held)| held.journal.has_started()).map(|(attempt, _)| *attempt).collect()
    }

    /// Returns the attempts that a restarted orchestrator can resume, each with its key.
    pub(crate) fn resumable(&self) -> Vec<(AttemptId, Digest)> {
        self.resumable.offers()
    }

    /// Continues `attempt` of an earlier session in `session`.
    pub(crate) fn continue_attempt(&self, session: &SessionHandle, attempt: AttemptId) {
        let Some(held) = self.held().get(&attempt).cloned() else { return };
        tracing::info!(attempt = attempt.0, "attempt continues in a new session");
        let route = held.journal.route_over(session);
        self.attach(held, route);
    }

    /// Handles a restart of the orchestrator, after which its attempt numbers are invalid. Attempts that it can resume
    /// are kept for `RESUME_TIMEOUT`. The others are cancelled.
    pub(crate) fn outlive_orchestrator(&self) {
        let held = std::mem::take(&mut *self.held()).into_values();
        let (kept, dropped): (Vec<HeldAttempt>, Vec<HeldAttempt>) =
            held.partition(|held| held.key.is_some() && held.journal.is_resumable());
        dropped.into_iter().for_each(|held| held.cancel.cancel());
        if kept.is_empty() {
            return;
        }
        tracing::info!(
            attempts = kept.len(),
            seconds = RESUME_TIMEOUT.as_secs(),
            "attempts continue for the restarted orchestrator"
        );
        self.resumable.keep(kept);
        self.background.spawn(self.resumable.clone().drop_expired(self.end.clone()));
    }

    /// Detaches all attempts from the session that has ended. The next session can continue them.
    pub(crate) fn detach(&self) {
        self.held().values().for_each(|held| held.journal.detach());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty() && self.resumable.is_empty()
    }

    /// Returns true if no task of this value is running and none can start.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.background.is_closed() && self.background.is_empty()
    }

    /// Cancels all attempts, then waits until the engine has given back the memory that it kept for further attempts.
    /// That takes seconds if there are gigabytes.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.held().clear();
        self.resumable.clear();
        self.background.close();
        self.background.wait().await;
    }
}

/// The time and memory that a successful attempt took.
struct AttemptCost {
    proving_ms: u64,
    /// `None` if the memory was not measured.
    memory: Option<MemoryUse>,
}

/// Runs the attempt until it ends or is cancelled, and reports its outcome.
async fn run_attempt(
    held: HeldAttempt,
    link: AttemptLink,
    engine: Arc<dyn ProvingEngine>,
    places: ProvingPlaces,
    assignment: Assignment,
    is_supported: bool,
) {
    let started = Instant::now();
    let proved = AssertUnwindSafe(prove(link, &held.journal, engine, places, assignment, is_supported)).catch_unwind();
    let outcome = tokio::select! {
        // Check cancellation first. It also fails the requests that the attempt waits for, and those failures must
        // not be reported as failures of this worker.
        biased;
        () = held.cancel.cancelled() => None,
        outcome = proved => Some(outcome.unwrap_or_else(|_| {
            let text = "the worker's log has the panic message".to_owned();
            Err(AttemptError { kind: FailureKind::Panic, text })
        })),
    };
    match outcome {
        Some(Ok(AttemptCost { proving_ms, memory })) => {
            let proving_seconds = proving_ms as f64 / 1000.0;
            let seconds = started.elapsed().as_secs_f32();
            let gigabytes = |bytes: u64| (bytes / 10_000_000) as f64 / 100.0;
            let used_gb = memory.map(|memory| gigabytes(memory.used_bytes));
            let estimated_gb = memory.map(|memory| gigabytes(memory.estimated_bytes));
            tracing::info!(seconds, proving_seconds, used_gb, estimated_gb, "attempt proven");
            held.journal.report(AttemptReport::Done(proving_ms)).await;
        }
        Some(Err(error)) => {
            tracing::warn!(%error, "attempt failed");
            held.journal.report(AttemptReport::Failed(error)).await;
        }
        None => tracing::info!("attempt cancelled"),
    }
}

async fn prove(
    link: AttemptLink,
    journal: &Arc<AttemptJournal>,
    engine: Arc<dyn ProvingEngine>,
    places: ProvingPlaces,
    assignment: Assignment,
    is_supported: bool,
) -> Result<AttemptCost, AttemptError> {
    let kind = assignment.payload.kind();
    if !is_supported {
        let text = format!("this worker does not support {kind} tasks");
        return Err(AttemptError { kind: FailureKind::Unsupported, text });
    }
    let io = SessionIo::prefetch(link, journal.clone(), &assignment).await;
    let io = io.map_err(|error| AttemptError { kind: FailureKind::Input, text: error.to_string() })?;
    let place = places.take().await;
    // Kept until the attempt has ended. An attempt that another one keeps out of the engine has not started.
    let _room = engine.ready().await;
    let _reservation = match assignment.memory_bytes {
        0 => None,
        bytes => places.reservations.reserve(kind, bytes).await,
    };
    places.gate.pass(journal.report(AttemptReport::Started)).await;
    let (started, io) = (Instant::now(), Arc::new(io));
    let outcome = engine.run(place.number, assignment, io.clone()).await;
    let memory = io.memory();
    if let Some(memory) = memory {
        // Record failed attempts too: memory may be the reason for the failure.
        places.reservations.observe(kind, memory);
    }
    outcome?;
    let proving_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(AttemptCost { proving_ms, memory })
}
