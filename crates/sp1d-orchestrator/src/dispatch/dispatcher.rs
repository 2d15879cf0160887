//! The dispatcher's loop and its commands.
//!
//! All inputs arrive through one bounded channel. The dispatcher carries out every command of the dispatch state
//! machine before it takes the next input. It never waits for the network. Slow work runs in other tokio tasks, and
//! their outcome arrives as another input.

use super::{background::BackgroundWork, claims::deferred_claim, drain_callers::DrainCallers, open_tasks::open_tasks};
use crate::{
    runner::{
        failure::{FailedAttempt, ProofFailure, dispatcher_panicked, failure_of_try},
        task::TaskSpec,
    },
    scope::{attempt_scope, try_scope},
    state::{
        dispatcher_input::DispatcherInput,
        published::{DispatchWriter, RegisteredAttempt},
        shared_state::SharedState,
    },
    tries::{
        cache_entry::cached_result,
        running::RunningTry,
        submitted_task::{DeferredEventUploads, SubmittedTask},
        task_outcomes::TaskOutcome,
        unverified::UnverifiedResult,
    },
    workers::connected_worker::ConnectedWorker,
};
use sp1d_artifacts::{ArtifactDescription, Digest};
use sp1d_model::{AttemptInfo, ProofEvent};
use sp1d_protocol::{
    ArtifactRef, Assignment,
    wire::{self, ToWorker, to_worker},
};
use sp1d_scheduler::{
    AttemptId, AttemptStep, DispatchCommand, DispatchEvent, DispatchState, FailureKind, PastAttempt, ResultKey,
    SchedulerConfig, SessionId, TaskId, Timestamp,
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    pin::pin,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    sync::mpsc,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Maximum number of inputs that the dispatcher takes from its inbox at once. A larger batch saves little.
const MAX_INPUT_BATCH: usize = 64;

/// Owns the dispatch state machine and carries out its commands.
pub(crate) struct Dispatcher {
    state: DispatchState,
    /// The time that the dispatch state machine sees as zero.
    clock_start: Instant,
    shared: Arc<SharedState>,
    writer: DispatchWriter,
    /// The tasks without an accepted result.
    tasks: HashMap<TaskId, SubmittedTask>,
    /// The names of the artifacts with deferred events, of each attempt whose events passed their check.
    checked_event_names: HashMap<AttemptId, Vec<String>>,
    drain_callers: DrainCallers,
    background: BackgroundWork,
}

impl Dispatcher {
    /// `writer` writes what the others read through `shared`.
    pub(crate) fn new(shared: Arc<SharedState>, writer: DispatchWriter, config: SchedulerConfig) -> Self {
        Self {
            state: DispatchState::new(config),
            clock_start: Instant::now(),
            background: BackgroundWork::new(shared.clone()),
            shared,
            writer,
            tasks: HashMap::new(),
            checked_event_names: HashMap::new(),
            drain_callers: DrainCallers::default(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<DispatcherInput>, stop: CancellationToken) {
        let _end = StopOnEnd { shared: self.shared.clone(), stop: stop.clone() };
        let mut stopped = pin!(stop.cancelled());
        let mut inputs = Vec::with_capacity(MAX_INPUT_BATCH);
        'run: loop {
            let deadline = self.state.next_deadline();
            let tick = async {
                match deadline {
                    Some(at) => sleep_until(self.clock_start + at.since_start()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Check `stop` first, and again before each input. When the orchestrator stops, its proofs end.
                // Handling these ends would cancel attempts that the workers may resume for the next orchestrator.
                biased;
                () = stopped.as_mut() => break 'run,
                received = inbox.recv_many(&mut inputs, MAX_INPUT_BATCH) => {
                    // It would return 0 if the inbox were closed.
                    assert!(received > 0, "the inbox is open, because `self.shared` holds a sender");
                }
                () = tick => inputs.push(DispatcherInput::Tick),
            }
            for input in inputs.drain(..) {
                // For the runtime, a batch is one receive. Without this, the other tokio tasks of this thread would
                // wait for many more inputs.
                consume_budget().await;
                // See above.
                if stop.is_cancelled() {
                    break 'run;
                }
                self.on_input(input);
            }
        }
        // Without this, checks that have an outcome would wait forever for room in the inbox.
        drop(inbox);
        self.background.end().await;
    }

    fn now(&self) -> Timestamp {
        Timestamp::new(self.clock_start.elapsed())
    }

    fn on_input(&mut self, input: DispatcherInput) {
        match input {
            DispatcherInput::Event(event) => self.handle(event.into()),
            DispatcherInput::DeferredEventsUploaded { session, attempt } => {
                let has_list = self.has_event_list(attempt);
                self.handle(DispatchEvent::DeferredEventsUploaded { session, attempt, has_list });
            }
            DispatcherInput::DeferredEventsChecked { task, attempt, outcome } => {
                self.on_deferred_events_checked(task, attempt, outcome);
            }
            // Detached tokio tasks of SP1 may submit after the try has stopped. What they submit after `EndTry` would
            // never be removed.
            DispatcherInput::Submit { submitted, .. } if submitted.running_try.stopped.is_cancelled() => {}
            DispatcherInput::Submit { task, submitted } => {
                let SubmittedTask { running_try, spec, key, .. } = &submitted;
                let kind = spec.kind();
                if kind.is_shard() {
                    running_try.shards.fetch_add(1, Ordering::Relaxed);
                }
                running_try.add_open_task(kind);
                let event = DispatchEvent::TaskSubmitted {
                    try_id: running_try.id,
                    task,
                    kind,
                    marker: spec.payload.marker().map(|marker| marker.task),
                    key: key.map(|key| ResultKey(*key.as_bytes())),
                };
                self.tasks.insert(task, submitted);
                self.handle(event);
            }
            DispatcherInput::Drain { session, wait_ended } => {
                self.publish_drain(session);
                self.drain_callers.add(session, wait_ended);
                // A session removes its worker before it reports its end. So if the worker is still in the shared
                // state, the report of its end will follow, and the drain is forgotten then.
                let is_connected = self.shared.worker(session).is_some();
                self.handle(DispatchEvent::DrainRequested { session, is_connected });
            }
            DispatcherInput::OpenTasks { try_id, after, limit, reply } => {
                let described = open_tasks(&self.state, &self.shared, self.now(), try_id, after, limit);
                // The caller may have stopped waiting.
                let _ = reply.send(described);
            }
            DispatcherInput::Claims { try_id, reply } => {
                if let Some(claims) = self.state.claims(try_id) {
                    // The caller may have stopped waiting.
                    let _ = reply.send(claims.clone());
                }
            }
            DispatcherInput::EndTry(running_try) => {
                self.handle(DispatchEvent::TryEnded { try_id: running_try.id });
                self.tasks.retain(|_, submitted| submitted.running_try.id != running_try.id);
                // The try has removed its artifacts when it ended. This removes those that were added since then.
                self.shared.store.remove_scope(try_scope(running_try.id));
            }
            DispatcherInput::Tick => self.handle(DispatchEvent::Tick),
        }
    }

    /// Passes on the outcome of the check of the deferred events of `attempt`. If they passed, the outcome has the
    /// claim of the attempt.
    fn on_deferred_events_checked(&mut self, task: TaskId, attempt: AttemptId, outcome: Result<Vec<String>, String>) {
        // If the task is not open any more, or the attempt is discarded, the outcome does not count.
        let Some(submitted) = self.tasks.get(&task) else { return };
        if !self.shared.attempts().contains_key(&attempt) {
            return;
        }
        let outcome = match outcome {
            Ok(names) => match deferred_claim(&self.shared, task, submitted, attempt, &names) {
                Ok(claim) => {
                    self.checked_event_names.insert(attempt, names);
                    Ok(claim)
                }
                Err(text) => return submitted.running_try.fail(ProofFailure::Internal(text)),
            },
            Err(reason) => Err(reason),
        };
        self.handle(DispatchEvent::DeferredEventsChecked { attempt, outcome });
    }

    /// Passes `event` to the dispatch state machine and carries out the commands.
    fn handle(&mut self, event: DispatchEvent) {
        let mut commands = VecDeque::from(self.dispatch_event(event));
        while let Some(command) = commands.pop_front() {
            // Carrying out a command can lead to a further event, for example if it shows that a worker is gone.
            if let Some(follow_up) = self.carry_out(command) {
                commands.extend(self.dispatch_event(follow_up));
            }
        }
    }

    /// Passes `event` to the dispatch state machine, and publishes what it changed about the workers. That happens
    /// before the commands are carried out, so that a caller whom a command notifies finds the change.
    fn dispatch_event(&mut self, event: DispatchEvent) -> Vec<DispatchCommand> {
        tracing::trace!(%event, "event");
        let commands = self.state.handle(self.now(), event);
        self.writer.publish_workers(self.state.take_worker_changes());
        commands
    }

    fn carry_out(&mut self, command: DispatchCommand) -> Option<DispatchEvent> {
        tracing::trace!(%command, "command");
        match command {
            DispatchCommand::Assign { session, attempt, try_id: _, task, resumes } => {
                return self.assign(session, attempt, task, resumes);
            }
            DispatchCommand::Cancel { session, attempt } => {
                return self.send_to_session(session, to_worker::Message::Cancel(wire::Cancel { attempt: attempt.0 }));
            }
            DispatchCommand::Continue { session, attempt } => return self.continue_attempt(session, attempt),
            DispatchCommand::CheckDeferredEvents { attempt, task } => {
                if let Some(SubmittedTask { running_try, spec, .. }) = self.tasks.get(&task) {
                    self.background.spawn_events_check(running_try.clone(), spec.clone(), task, attempt);
                }
            }
            DispatchCommand::CompleteMarker { try_id: _, marker, task, attempt } => {
                self.complete_marker(marker, task, attempt);
            }
            DispatchCommand::CheckResult { attempt, task } => {
                if let Some(SubmittedTask { running_try, spec, .. }) = self.tasks.get(&task) {
                    self.background.spawn_result_check(running_try.clone(), spec.clone(), attempt);
                }
            }
            DispatchCommand::AcceptResult { try_id: _, task, attempt, session } => self.accept(task, attempt, session),
            DispatchCommand::Discard { attempt } => _ = self.discard(attempt),
            DispatchCommand::FailTry { try_id, task, kind, history, cause, are_claims_suspect } => {
                let history = self.with_worker_names(history);
                if let Some(running_try) = self.shared.tries().get(&try_id) {
                    if are_claims_suspect {
                        running_try.findings.mark_claims_suspect();
                    }
                    running_try.fail(failure_of_try(cause, task, kind, history));
                }
            }
            DispatchCommand::LogRefutedClaim { worker: worker_id } => {
                let reason = "workers of two origins claimed other deferred events";
                // The worker may have disconnected after its claim.
                let worker = self.shared.workers().values().find(|worker| worker.worker_id == worker_id).cloned();
                if let Some(worker) = worker {
                    tracing::warn!(worker = %worker.name, reason, "worker made a wrong claim");
                } else {
                    tracing::warn!(
                        worker_id = worker_id.0,
                        reason,
                        "worker made a wrong claim and is not connected now"
                    );
                }
            }
            DispatchCommand::LogQuarantine { session, kinds, duration, reason } => {
                if let Some(worker) = self.shared.worker(session)
                    && let Some(suppressed) = self.shared.may_log_about(worker.origin)
                {
                    let seconds = duration.as_secs();
                    tracing::warn!(worker = %worker.name, %kinds, seconds, %reason, suppressed, "worker quarantined");
                }
            }
            DispatchCommand::LogProbation { session, kinds } => {
                if let Some(worker) = self.shared.worker(session)
                    && let Some(suppressed) = self.shared.may_log_about(worker.origin)
                {
                    tracing::info!(worker = %worker.name, %kinds, suppressed, "worker on probation: it gets one task of each of these kinds at a time");
                }
            }
            DispatchCommand::EndDrainWait { session } => self.drain_callers.end_wait(session),
            DispatchCommand::EndSession { session } => self.shared.end_session(session),
            DispatchCommand::PublishStep { task, attempt, session, step } => {
                self.publish_step(task, attempt, session, step)
            }
        }
        None
    }

    /// Forgets `attempt` and deletes its uploads, except those that already belong to the try. Returns what was
    /// registered; `None` if the attempt was never given to its worker.
    fn discard(&mut self, attempt: AttemptId) -> Option<Arc<RegisteredAttempt>> {
        // The attempt is removed before its uploads. An upload that is stored in between finds no attempt, and removes
        // itself.
        let registered = self.writer.remove_attempt(attempt)?;
        self.checked_event_names.remove(&attempt);
        self.shared.store.remove_scope(attempt_scope(attempt));
        Some(registered)
    }

    /// Adds the names of the workers to `history`, the attempts of a task that failed for good. The name comes from the
    /// registered attempt. An attempt whose result was rejected is not registered any more. Its name comes from the
    /// connected worker, and is `None` if the worker has disconnected.
    fn with_worker_names(&self, history: Vec<PastAttempt>) -> Vec<FailedAttempt> {
        let (attempts, workers) = (self.shared.attempts(), self.shared.workers());
        let name_of = |past: &PastAttempt| match attempts.get(&past.attempt) {
            Some(registered) => Some(registered.worker_name.to_string()),
            None => {
                workers.values().find(|worker| worker.worker_id == past.worker).map(|worker| worker.name.to_string())
            }
        };
        history.into_iter().map(|past| FailedAttempt { worker: name_of(&past), past }).collect()
    }

    /// Hands `message` to the session. If the session accepts no more messages, it is closed and counts as ended.
    fn send_to_session(&self, session: SessionId, message: to_worker::Message) -> Option<DispatchEvent> {
        let worker = self.shared.worker(session)?;
        send_to_worker(&worker, session, message)
    }

    fn assign(
        &self,
        session: SessionId,
        attempt: AttemptId,
        task: TaskId,
        resumes: Option<AttemptId>,
    ) -> Option<DispatchEvent> {
        let SubmittedTask { running_try, spec, rights, key, .. } =
            self.tasks.get(&task).expect("the dispatch state machine only assigns tasks that were submitted");
        let Some(worker) = self.shared.worker(session) else { return Some(DispatchEvent::SessionEnded { session }) };
        let reference = |name: &String| match self.shared.store.describe(try_scope(running_try.id), name) {
            Some(ArtifactDescription { digest, len }) => Ok(ArtifactRef { name: name.clone(), digest, length: len }),
            None => Err(format!("artifact {name}, an input of task {}, no longer exists", task.0)),
        };
        let payload = match spec.payload.try_map(reference) {
            Ok(payload) => payload,
            Err(text) => {
                running_try.fail(ProofFailure::Internal(text));
                // The try has failed, but has not ended: its artifacts and claims stay until `DispatcherInput::EndTry`,
                // because an audit and a restart need them.
                return Some(DispatchEvent::AssignmentFailed { attempt });
            }
        };
        let assignment = Assignment {
            attempt,
            proof: running_try.label.clone(),
            payload,
            options: running_try.options().to_owned(),
            memory_bytes: spec.needed_bytes,
            key: *key,
            resumes,
        };
        let registered = RegisteredAttempt {
            session,
            worker_id: worker.worker_id,
            worker_name: worker.name.clone(),
            worker_address: worker.address_text.clone(),
            running_try: running_try.clone(),
            outputs: spec.payload.outputs(),
            rights: rights.clone(),
            resumes,
        };
        self.writer.add_attempt(attempt, registered);
        send_to_worker(&worker, session, to_worker::Message::Assign(assignment.into()))
    }

    /// Continues the attempt in the new session of its worker. What it uploaded in the old session stays.
    fn continue_attempt(&self, session: SessionId, attempt: AttemptId) -> Option<DispatchEvent> {
        if !self.writer.continue_attempt(attempt, session) {
            // The session of the assignment ended before the worker could get it. So the worker says that it holds an
            // attempt of which it knows nothing.
            let text = "the worker never got the attempt that it says it holds".to_owned();
            return Some(DispatchEvent::AttemptFailed { session, attempt, kind: FailureKind::Engine, text });
        }
        if let Some(worker) = self.shared.worker(session)
            && let Some(suppressed) = self.shared.may_log_about(worker.origin)
        {
            let attempt = attempt.0;
            tracing::info!(worker = %worker.name, attempt, suppressed, "worker reconnected and continues an attempt");
        }
        self.send_to_session(session, to_worker::Message::Continue(wire::Continue { attempt: attempt.0 }))
    }

    /// Returns true if the list of deferred events of `attempt` has arrived, or if its task has no marker. The check of
    /// the events finds out whether the artifacts that the list names are there.
    fn has_event_list(&self, attempt: AttemptId) -> bool {
        let Some(registered) = self.shared.attempts().get(&attempt).cloned() else { return false };
        let has_arrived = |name: &String| self.shared.store.describe(attempt_scope(attempt), name).is_some();
        registered.outputs.event_list.as_ref().is_none_or(has_arrived)
    }

    /// Moves what the attempt has uploaded for its marker to the try, and completes the marker. Other uploads of the
    /// attempt, except its result, never belong to the try. Fails the try if an artifact cannot be moved. The check of
    /// the events and the verdict on the claim exclude this, so the worker is not at fault.
    fn complete_marker(&mut self, marker: TaskId, task: TaskId, attempt: AttemptId) {
        let Some(submitted) = self.tasks.get_mut(&task) else { return };
        let (from, to) = (attempt_scope(attempt), try_scope(submitted.running_try.id));
        let event_list_name = submitted.spec.payload.marker().map(|marker| marker.event_list.clone());
        let event_names = self.checked_event_names.get(&attempt).cloned().unwrap_or_default();
        // A set, because a worker may upload a list that names itself. Each artifact can be moved only once.
        let names: BTreeSet<String> = event_list_name.into_iter().chain(event_names).collect();
        for name in names {
            let stored = self.shared.store.get(from, &name);
            if !self.shared.store.promote(from, to, &name) {
                let text = format!("cannot store the deferred events of task {} as artifact {name}", task.0);
                submitted.running_try.fail(ProofFailure::Internal(text));
                // Without these events, the proof would be partial.
                return submitted.running_try.task_outcomes.end(marker, TaskOutcome::Failed);
            }
            if submitted.key.is_some()
                && let Some(stored) = stored
            {
                submitted.event_uploads.push((name, stored));
            }
        }
        submitted.running_try.task_outcomes.end(marker, TaskOutcome::Succeeded);
    }

    fn accept(&mut self, task: TaskId, attempt: AttemptId, session: SessionId) {
        let Some(SubmittedTask { running_try, spec, key, event_uploads, .. }) = self.tasks.remove(&task) else {
            return;
        };
        let scope = try_scope(running_try.id);
        // The other outputs belong to the marker.
        let name = spec.payload.result();
        if !self.shared.store.promote(attempt_scope(attempt), scope, name) {
            let text = format!("cannot store the result of task {} as artifact {name}", task.0);
            running_try.fail(ProofFailure::Internal(text));
            self.discard(attempt);
            running_try.remove_open_task(spec.kind());
            // The task has no result, so nothing may be counted or audited for it.
            return running_try.task_outcomes.end(task, TaskOutcome::Failed);
        }
        self.cache_result(&running_try, &spec, key, event_uploads);
        let registered = self.discard(attempt);
        if let Some(RegisteredAttempt { worker_id, worker_name, .. }) = registered.as_deref() {
            running_try.add_unverified(|| {
                let worker_name = worker_name.clone();
                UnverifiedResult { spec: spec.clone(), worker_id: *worker_id, worker: worker_name }
            });
        }
        spec.payload.unshared_inputs().for_each(|name| running_try.remove_artifact(&self.shared.store, name));
        running_try.remove_open_task(spec.kind());
        if let Some(worker) = self.shared.worker(session) {
            running_try.count_result(&worker.name, &worker.address_text);
            worker.cut_of_last_result[spec.kind().index()].store(running_try.cut(), Ordering::Relaxed);
        } else if let Some(RegisteredAttempt { worker_name, worker_address, .. }) = registered.as_deref() {
            running_try.count_result(worker_name, worker_address);
        }
        running_try.task_outcomes.end(task, TaskOutcome::Succeeded);
    }

    /// Stores the result of a task in the result cache, on another thread.
    fn cache_result(
        &self,
        running_try: &Arc<RunningTry>,
        spec: &TaskSpec,
        key: Option<Digest>,
        uploads: DeferredEventUploads,
    ) {
        let (Some(result_cache), Some(key), Some(input_digest)) =
            (self.shared.result_cache.clone(), key, running_try.input_digest)
        else {
            return;
        };
        let scope = try_scope(running_try.id);
        let Some(output) = self.shared.store.get(scope, spec.payload.result()) else { return };
        running_try.note_cached_key(key);
        let spec = spec.clone();
        self.background.run_blocking(move || {
            if let Some(result) = cached_result(&spec, input_digest, output, uploads) {
                result_cache.keep(key, result);
            }
        });
    }

    /// Tells the watchers of all proofs that a ready worker starts to drain.
    fn publish_drain(&self, session: SessionId) {
        let Some(worker) = self.shared.worker(session) else { return };
        let starts = {
            let pool = self.shared.snapshot();
            pool.has_loaded_prover(session) && !pool.is_draining(session)
        };
        if starts {
            let event = ProofEvent::WorkerDraining { worker: worker.name.to_string() };
            self.shared.publish_to_tries(worker.origin, &event);
        }
    }

    /// Tells the watchers of the proof about a step of an attempt, and counts the step for the worker.
    fn publish_step(&self, task: TaskId, attempt: AttemptId, session: SessionId, step: AttemptStep) {
        // The attempt may never have been given to its worker.
        let Some(registered) = self.shared.attempts().get(&attempt).cloned() else { return };
        let Some(SubmittedTask { running_try, spec, .. }) = self.tasks.get(&task) else { return };
        let worker = self.shared.worker(session);
        if let Some(worker) = &worker {
            match &step {
                AttemptStep::Done => _ = worker.done.fetch_add(1, Ordering::Relaxed),
                AttemptStep::Failed(_) => _ = worker.failed_attempts.fetch_add(1, Ordering::Relaxed),
                AttemptStep::Assigned
                | AttemptStep::Started
                | AttemptStep::Interrupted
                | AttemptStep::TakenBack
                | AttemptStep::Continued
                | AttemptStep::Dropped => {}
            }
        }
        let name: &Arc<str> = worker.as_ref().map_or(&registered.worker_name, |worker| &worker.name);
        let worker_name = String::from(&**name);
        let info = AttemptInfo { task, attempt, kind: spec.kind(), cycles: spec.cycles, worker: worker_name };
        // The names of proof events are public and stored. `ProofEvent::Started` is the start of a proof, so the start
        // of an attempt is `Proving`. `AttemptFailed` is not the failure of a proof.
        running_try.publish(match step {
            AttemptStep::Assigned => ProofEvent::Assigned(info),
            AttemptStep::Started => ProofEvent::Proving(info),
            AttemptStep::Interrupted => ProofEvent::Interrupted(info),
            AttemptStep::TakenBack => ProofEvent::TakenBack(info),
            AttemptStep::Continued => ProofEvent::Continued(info),
            AttemptStep::Done => ProofEvent::Done(info),
            AttemptStep::Failed(reason) => ProofEvent::AttemptFailed { attempt: info, reason },
            AttemptStep::Dropped => ProofEvent::Dropped(info),
        });
    }
}

/// Hands `message` to `worker`, which is connected in `session`. See [`Dispatcher::send_to_session`].
fn send_to_worker(worker: &ConnectedWorker, session: SessionId, message: to_worker::Message) -> Option<DispatchEvent> {
    if worker.outbox.try_send(Ok(ToWorker { message: Some(message) })).is_ok() {
        return None;
    }
    worker.closer.close();
    Some(DispatchEvent::SessionEnded { session })
}

/// Stops the orchestrator when the dispatcher ends. If the dispatcher panicked, marks the orchestrator as broken and
/// fails all tries, so that no caller waits forever.
struct StopOnEnd {
    shared: Arc<SharedState>,
    stop: CancellationToken,
}

impl Drop for StopOnEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // First, so that a caller whose proof fails can already see that the proof is not at fault.
            self.shared.broken.cancel();
            for running_try in self.shared.tries().values() {
                running_try.fail(dispatcher_panicked());
            }
        }
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dispatch::scheduler_config,
        state::dispatcher_input::ForwardedEvent,
        test_state::{TestState, shard},
        tries::attempt_rights::AttemptRights,
    };
    use sp1d_artifacts::Blob;
    use sp1d_scheduler::{ClaimHistory, KindSet, OriginId, ReadyWorker, ShardRoom, ShareGroup, TryId, WorkerId};

    /// `worker` is ready in `session`, and says that it holds these attempts.
    fn ready(session: u64, worker: u64, holds: Vec<AttemptId>) -> DispatcherInput {
        let ready = ReadyWorker {
            worker: WorkerId(worker),
            origin: OriginId(worker.into()),
            trusted: false,
            comparable_bytes: u64::MAX,
            shard_room: ShardRoom::Unknown,
            slots: 1,
            supported_kinds: KindSet::all(),
            holds,
        };
        let session = SessionId(session);
        DispatcherInput::Event(ForwardedEvent::WorkerReady { session, ready, resumable_attempts: Vec::new() })
    }

    /// Worker 7 is assigned a task when its session has just ended. It returns in session 2.
    #[tokio::test]
    async fn a_worker_cannot_keep_a_task_that_it_never_got() {
        let state = TestState::new();
        let (shared, running_try) = (state.shared.clone(), state.running_try.clone());
        for name in ["program", "common", "record"] {
            shared.store.put(try_scope(TryId(1)), name, Blob::encode(name.as_bytes())).unwrap();
        }
        let mut messages = state.connect(2, 7, KindSet::all());
        let mut dispatcher = Dispatcher::new(shared.clone(), state.writer, scheduler_config(&shared.settings));
        let (try_id, group, claims) = (TryId(1), ShareGroup(0), ClaimHistory::default());
        let started = ForwardedEvent::TryStarted { try_id, group, claims, trusted_only: false };
        dispatcher.on_input(DispatcherInput::Event(started));
        dispatcher.on_input(ready(1, 7, Vec::new()));
        let spec = shard();
        let rights = Arc::new(AttemptRights::new(&spec, Vec::new(), 0));
        let submitted = SubmittedTask { running_try, spec, rights, key: None, event_uploads: Vec::new() };
        dispatcher.on_input(DispatcherInput::Submit { task: TaskId(1), submitted });
        assert!(shared.attempts().is_empty(), "session 1 is not registered, so worker 7 gets nothing");
        dispatcher.on_input(ready(2, 7, (0..4).map(AttemptId).collect()));
        let sent: Vec<_> = std::iter::from_fn(|| messages.try_recv().ok()).flatten().map(|sent| sent.message).collect();
        let is_assigned = sent.iter().any(|message| matches!(message, Some(to_worker::Message::Assign(_))));
        assert!(is_assigned, "the task is assigned again: {sent:?}");
    }
}
