//! The attempts that a worker runs, or keeps for its orchestrator.

use super::{
    held::HeldAttempt,
    idle::give_back_when_idle,
    io::AttemptLink,
    journal::AttemptJournal,
    report::AttemptReport,
    resume::{OrphanedAttempts, RESUME_TIMEOUT},
    route::AttemptRoute,
    run::AttemptRun,
    slots::EngineSlots,
    transfer::SessionHandle,
};
use crate::{
    cache::Cache,
    engine::{AttemptError, ProvingEngine},
};
use sp1d_artifacts::Digest;
use sp1d_protocol::{Assignment, FailureKind, MessageLimits, wire};
use sp1d_scheduler::{AttemptId, KindSet};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The attempts that one orchestrator has assigned, over all its sessions.
pub(crate) struct AssignedAttempts {
    engine: Arc<dyn ProvingEngine>,
    slots: EngineSlots,
    kinds: KindSet,
    cache: Arc<Mutex<Cache>>,
    held: Mutex<BTreeMap<AttemptId, HeldAttempt>>,
    resumable: OrphanedAttempts,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl AssignedAttempts {
    pub(crate) fn new(
        engine: Arc<dyn ProvingEngine>,
        slots: EngineSlots,
        kinds: KindSet,
        cache: Arc<Mutex<Cache>>,
    ) -> Self {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(give_back_when_idle(engine.clone(), slots.clone(), end.clone()));
        let (held, resumable) = (Mutex::default(), OrphanedAttempts::default());
        Self { engine, slots, kinds, cache, held, resumable, tasks, end }
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
        let held = HeldAttempt { journal, cancel: self.end.child_token(), key, first: attempt };
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
        let (engine, slots) = (self.engine.clone(), self.slots.clone());
        let run = AttemptRun { held, link, engine, slots, assignment, is_supported };
        self.tasks.spawn(run.run().instrument(span));
    }

    /// Resumes the attempt that was `first` before the orchestrator restarted. It continues under its number on
    /// `route`. Returns false if the worker no longer has the attempt, cannot resume it, or has it with another key.
    fn resume(&self, first: AttemptId, key: Option<Digest>, route: AttemptRoute) -> bool {
        let Some(found) = self.resumable.take(first, key) else { return false };
        tracing::info!(
            attempt = route.attempt.0,
            first = first.0,
            "attempt continues after a restart of the orchestrator"
        );
        // Rename at once: the session may end before it reports anything, and the next session uses the new number.
        found.journal.rename(route.attempt, route.outputs.clone());
        if let Some(replaced) = self.held().insert(route.attempt, found.clone()) {
            replaced.cancel.cancel();
        }
        self.attach(found, route);
        true
    }

    /// Sends the journal of `held` over `route`, in a separate task: there may be megabytes to upload.
    fn attach(&self, held: HeldAttempt, route: AttemptRoute) {
        self.tasks.spawn(async move {
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

    /// Removes an attempt whose outcome the orchestrator has confirmed.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.held().remove(&attempt);
    }

    /// Returns the attempts that a new session with the same orchestrator can adopt.
    pub(crate) fn offers(&self) -> Vec<AttemptId> {
        self.held().keys().copied().collect()
    }

    /// Returns the attempts that a restarted orchestrator can resume, each with its key.
    pub(crate) fn resumable(&self) -> Vec<(AttemptId, Digest)> {
        self.resumable.offers()
    }

    /// Continues `attempt` of an earlier session in `session`.
    pub(crate) fn adopt(&self, session: &SessionHandle, attempt: AttemptId) {
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
        self.tasks.spawn(self.resumable.clone().drop_expired(self.end.clone()));
    }

    /// Detaches all attempts from the session that has ended. The next session can adopt them.
    pub(crate) fn detach(&self) {
        self.held().values().for_each(|held| held.journal.detach());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty() && self.resumable.is_empty()
    }

    /// Returns true if no task of this value is running and none can start.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.tasks.is_closed() && self.tasks.is_empty()
    }

    /// Cancels all attempts, then waits until the engine has given back the memory that it kept for further attempts.
    /// That takes seconds if there are gigabytes.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.held().clear();
        self.resumable.clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
