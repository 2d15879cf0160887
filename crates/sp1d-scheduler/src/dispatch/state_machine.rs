//! The dispatch machine: its state, and what it does with each event.

use super::{
    AttemptStep, ClaimsVerdict, DispatchCommand, DispatchEvent, ResultKey,
    attempt::{DispatchAttempt, DispatchTask, MarkerCheck, ResultReport},
    early_drains::EarlyDrains,
    resumable::ResumableAttempts,
};
use crate::{
    AttemptFailure, AttemptId, Command, Deadline, Event, ProofId, Scheduler, SchedulerConfig, SessionId, TaskId,
    TaskKind, Timestamp, WorkerChanges, WorkerStatus,
};
use std::collections::{BTreeMap, BTreeSet};

/// The fault of a worker whose claims were refuted after other tasks had used them.
const CLAIMS_REFUTED: &str = "two other workers refuted the deferred events that it claimed for a shard";

/// Why claims are rejected that two other workers contradict.
const CONTRADICTED: &str = "two other workers claimed other deferred events for the same shard";

/// Owns the scheduler, and filters the workers' reports.
///
/// Report each event with [`handle`](Self::handle) and carry out the returned commands before reporting the next event
/// from outside. Call `handle` with [`DispatchEvent::Tick`] at [`next_deadline`](Self::next_deadline).
///
/// - Of the reports of an attempt's result, the first one counts. Of the reports of its marker, the first one whose
///   uploads are complete counts, if it comes before the result. Both count only if they come from the session that
///   holds the attempt. A session that continues an attempt reports again.
/// - Reports of a start or a failure go to the scheduler unfiltered. It ignores those about attempts that the session
///   does not hold. So an attempt can still fail after its result, while the result waits for the check of the marker.
/// - The scheduler knows each marker from its submission. It learns that a marker is complete only after its checks:
///   the uploaded deferred events are checked, and then the claims are judged. The claims are accepted at once, unless
///   the proof restarted to compare claims. Then a second worker must make the same claims, if another worker is
///   available or has made other claims.
/// - A delivered result goes to the scheduler at once, unless a check of the attempt's marker is running. Then the
///   result waits, and it is dropped if the marker is rejected. A result becomes final only after its own check.
/// - A task that a worker started before the orchestrator restarted goes to that worker. If several workers started it,
///   the first that reports this gets it.
/// - The wait for a drain ends when the worker holds nothing, may get tasks again, or is disconnected.
#[derive(Debug)]
pub struct DispatchMachine {
    pub(super) scheduler: Scheduler,
    pub(super) tasks: BTreeMap<TaskId, DispatchTask>,
    pub(super) attempts: BTreeMap<AttemptId, DispatchAttempt>,
    pub(super) resumable: ResumableAttempts,
    /// The sessions for whose drain a caller waits.
    pub(super) drains: BTreeSet<SessionId>,
    early_drains: EarlyDrains,
}

/// Sees the scheduler after an event, the event, and the commands that the scheduler returned for it.
type SchedulerObserver<'a> = dyn FnMut(&Scheduler, &Event, &[Command]) + 'a;

/// The handling of one event.
struct DispatchTurn<'a> {
    now: Timestamp,
    /// Sees each event that the scheduler handles. `None` in production, where the event is then not copied.
    observe: Option<&'a mut SchedulerObserver<'a>>,
    commands: Vec<DispatchCommand>,
}

impl DispatchMachine {
    /// Creates a dispatch machine without workers and proofs.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            tasks: BTreeMap::new(),
            attempts: BTreeMap::new(),
            resumable: ResumableAttempts::default(),
            drains: BTreeSet::new(),
            early_drains: EarlyDrains::default(),
        }
    }

    /// Processes `event`, which happened at `now`. Returns the commands to carry out, in order, before the next event
    /// from outside.
    #[must_use = "the dispatch machine assumes that its commands are carried out"]
    pub fn handle(&mut self, now: Timestamp, event: DispatchEvent) -> Vec<DispatchCommand> {
        self.handle_turn(DispatchTurn { now, observe: None, commands: Vec::new() }, event)
    }

    /// Does the same as [`handle`](Self::handle). Also shows each event that the scheduler handles to `observe`: the
    /// scheduler after the event, the event, and the commands that the scheduler returned for it.
    #[must_use = "the dispatch machine assumes that its commands are carried out"]
    pub fn handle_observed(
        &mut self,
        now: Timestamp,
        event: DispatchEvent,
        observe: &mut dyn FnMut(&Scheduler, &Event, &[Command]),
    ) -> Vec<DispatchCommand> {
        self.handle_turn(DispatchTurn { now, observe: Some(observe), commands: Vec::new() }, event)
    }

    fn handle_turn(&mut self, mut turn: DispatchTurn<'_>, event: DispatchEvent) -> Vec<DispatchCommand> {
        self.apply(event, &mut turn);
        turn.commands
    }

    /// Returns when [`handle`](Self::handle) must be called next: see [`Scheduler::next_deadline`].
    #[must_use]
    pub fn next_deadline(&self) -> Deadline {
        self.scheduler.next_deadline()
    }

    /// Returns the scheduler, for queries.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Returns the tasks of `proof` without an accepted result, with their kinds, in the order of their numbers.
    pub fn open_tasks(&self, proof: ProofId) -> impl Iterator<Item = (TaskId, TaskKind)> {
        let of_proof = self.tasks.iter().filter(move |(_, entry)| entry.proof == proof);
        of_proof.map(|(task, entry)| (*task, entry.kind))
    }

    /// Returns what changed about the workers since the last call: see [`Scheduler::take_worker_changes`]. The changes
    /// also contain the drains of workers that are not ready yet.
    #[must_use = "the changes are forgotten"]
    pub fn take_worker_changes(&mut self) -> WorkerChanges {
        let mut changes = self.scheduler.take_worker_changes();
        for (session, is_early) in self.early_drains.take_changes() {
            // If the worker has become ready meanwhile, the scheduler's report already tells whether it is draining.
            changes.sessions.entry(session).or_insert_with(|| is_early.then(WorkerStatus::draining_before_ready));
        }
        changes
    }

    fn apply(&mut self, event: DispatchEvent, turn: &mut DispatchTurn<'_>) {
        match event {
            DispatchEvent::ProofStarted { proof } => self.pass_to_scheduler(Event::ProofStarted { proof }, turn),
            DispatchEvent::TaskSubmitted { proof, task, kind, marker, key } => {
                let entry = DispatchTask { proof, kind, has_marker: marker.is_some(), key };
                self.on_task_submitted(task, entry, marker, turn);
            }
            DispatchEvent::MarkerSubmitted { proof, marker } => {
                self.pass_to_scheduler(Event::MarkerSubmitted { proof, marker }, turn);
            }
            DispatchEvent::ProofEnded { proof } => self.on_proof_ended(proof, turn),
            DispatchEvent::WorkerJoined { session, worker, memory_bytes, slots, kinds, holds, resumable_attempts } => {
                self.resumable.report(session, worker, resumable_attempts);
                let resumable_tasks = self.resumable_tasks_on(session);
                let draining = self.early_drains.remove(session);
                let joined = Event::WorkerJoined {
                    session,
                    worker,
                    memory_bytes,
                    slots,
                    kinds,
                    holds,
                    resumable_tasks,
                    draining,
                };
                self.pass_to_scheduler(joined, turn);
            }
            DispatchEvent::DrainRequested { session } => self.on_drain_requested(session, turn),
            DispatchEvent::DrainCancelled { session } => {
                self.end_drain_wait(session, turn);
                self.early_drains.remove(session);
                self.pass_to_scheduler(Event::DrainCancelled { session }, turn);
            }
            DispatchEvent::LastProverLost { session } => {
                self.pass_to_scheduler(Event::LastProverLost { session }, turn);
            }
            DispatchEvent::FirstProverReady { session } => {
                self.pass_to_scheduler(Event::FirstProverReady { session }, turn);
            }
            DispatchEvent::SessionEnded { session } => {
                self.forget_session(session, turn);
                self.pass_to_scheduler(Event::SessionEnded { session }, turn);
            }
            DispatchEvent::LeaseRenewed { session } => self.pass_to_scheduler(Event::LeaseRenewed { session }, turn),
            DispatchEvent::AttemptStarted { session, attempt } => {
                if self.is_held_by(attempt, session) {
                    self.publish(attempt, AttemptStep::Started, turn);
                }
                self.pass_to_scheduler(Event::AttemptStarted { session, attempt }, turn);
            }
            DispatchEvent::MarkerReported { session, attempt, has_all_uploads } => {
                if has_all_uploads {
                    self.on_marker_reported(session, attempt, turn);
                }
            }
            DispatchEvent::MarkerChecked { attempt, outcome } => self.on_marker_checked(attempt, outcome, turn),
            DispatchEvent::ClaimsJudged { attempt, verdict } => self.on_claims_judged(attempt, verdict, turn),
            DispatchEvent::ResultDelivered { session, attempt } => self.on_result_delivered(session, attempt, turn),
            DispatchEvent::ResultChecked { attempt, outcome: Ok(()) } => {
                self.pass_to_scheduler(Event::ResultPassed { attempt }, turn);
            }
            DispatchEvent::ResultChecked { attempt, outcome: Err(reason) } => {
                self.publish(attempt, AttemptStep::Failed(reason.clone()), turn);
                self.pass_to_scheduler(Event::ResultRejected { attempt, reason }, turn);
            }
            DispatchEvent::AttemptFailed { session, attempt, failure } => {
                if self.is_held_by(attempt, session) {
                    self.publish(attempt, AttemptStep::Failed(failure.to_string()), turn);
                }
                self.pass_to_scheduler(Event::AttemptFailed { session, attempt, failure }, turn);
            }
            DispatchEvent::ProvenWrong { worker, reason } => {
                self.pass_to_scheduler(Event::ProvenWrong { worker, reason }, turn);
            }
            DispatchEvent::Tick => self.pass_to_scheduler(Event::Tick, turn),
        }
    }

    /// Passes `event` to the scheduler and translates its commands.
    fn pass_to_scheduler(&mut self, event: Event, turn: &mut DispatchTurn<'_>) {
        let observed = turn.observe.is_some().then(|| event.clone());
        let commands = self.scheduler.handle(turn.now, event);
        if let (Some(observe), Some(event)) = (turn.observe.as_deref_mut(), observed) {
            observe(&self.scheduler, &event, &commands);
        }
        let discarded_by = |command: &Command| match *command {
            Command::Discard { attempt } => Some(attempt),
            _ => None,
        };
        let discarded: Vec<AttemptId> = commands.iter().filter_map(discarded_by).collect();
        for command in commands {
            self.translate(command, &discarded, turn);
        }
    }

    /// Translates `command`, one of the commands that the scheduler returned for an event. Together they discard the
    /// attempts in `discarded`.
    fn translate(&mut self, command: Command, discarded: &[AttemptId], turn: &mut DispatchTurn<'_>) {
        match command {
            Command::Assign { session, attempt, proof, task, kind: _ } => {
                let known = self.tasks.get(&task).expect("the scheduler assigns only tasks that were submitted");
                let resumes = known.key.and_then(|key| self.resumable.take(session, key));
                self.attempts.insert(attempt, DispatchAttempt::new(task, session));
                turn.commands.push(DispatchCommand::Assign { session, attempt, proof, task, resumes });
                self.publish(attempt, AttemptStep::Assigned, turn);
            }
            Command::Cancel { session, attempt } => turn.commands.push(DispatchCommand::Cancel { session, attempt }),
            Command::Adopt { session, attempt } => {
                self.attempt_mut(attempt).continue_in(session);
                turn.commands.push(DispatchCommand::Adopt { session, attempt });
            }
            Command::CompleteMarker { proof, marker, attempt } => {
                let task = self.attempt_mut(attempt).task;
                turn.commands.push(DispatchCommand::CompleteMarker { proof, marker, task, attempt });
            }
            Command::AcceptResult { proof, task, attempt, session } => {
                // The published steps come first, because the driver forgets the task when it accepts the result.
                self.publish(attempt, AttemptStep::Done, turn);
                for loser in discarded {
                    if self.attempts.get(loser).is_some_and(|entry| entry.task == task) {
                        self.publish(*loser, AttemptStep::Dropped, turn);
                    }
                }
                self.tasks.remove(&task);
                self.attempts.remove(&attempt);
                turn.commands.push(DispatchCommand::AcceptResult { proof, task, attempt, session });
            }
            Command::Discard { attempt } => {
                self.publish(attempt, AttemptStep::Dropped, turn);
                if self.attempts.remove(&attempt).is_some() {
                    turn.commands.push(DispatchCommand::Discard { attempt });
                }
            }
            Command::FailProof { proof, task, kind, history, has_no_larger_worker } => {
                // Only shards become smaller with a smaller cut. One attempt that ran out of memory is reason enough to
                // try: on other workers, the kernel may have killed provers for the same cause.
                let ran_out = || history.iter().any(|past| past.failure.is_out_of_memory());
                let is_out_of_memory = kind.is_shard() && (has_no_larger_worker || ran_out());
                // A shard without a marker is a memory shard or a precompile shard. Only a precompile shard is made
                // from claims, but the dispatch machine cannot tell them apart.
                let are_claims_suspect = kind.is_shard() && self.tasks.get(&task).is_some_and(|task| !task.has_marker);
                turn.commands.push(DispatchCommand::FailProof {
                    proof,
                    task,
                    kind,
                    history,
                    is_out_of_memory,
                    are_claims_suspect,
                });
            }
            Command::Quarantine { session, duration, reason } => {
                turn.commands.push(DispatchCommand::LogQuarantine { session, duration, reason });
            }
            Command::Probation { session } => turn.commands.push(DispatchCommand::LogProbation { session }),
            Command::WorkerDrained { session } => self.end_drain_wait(session, turn),
            Command::EndSession { session } => {
                self.forget_session(session, turn);
                turn.commands.push(DispatchCommand::EndSession { session });
            }
        }
    }

    fn on_task_submitted(
        &mut self,
        task: TaskId,
        entry: DispatchTask,
        marker: Option<TaskId>,
        turn: &mut DispatchTurn<'_>,
    ) {
        let DispatchTask { proof, kind, key, .. } = entry;
        let is_new = self.scheduler.task_status(task).is_none();
        if is_new {
            self.tasks.insert(task, entry);
        }
        let resumable_on = key.and_then(|key| self.resumable.session_for(key));
        self.pass_to_scheduler(Event::TaskSubmitted { proof, task, kind, marker, resumable_on }, turn);
        // The scheduler ignores, for example, a task of a proof that has failed or ended.
        if is_new && self.scheduler.task_status(task).is_none() {
            self.tasks.remove(&task);
        }
    }

    fn on_proof_ended(&mut self, proof: ProofId, turn: &mut DispatchTurn<'_>) {
        self.pass_to_scheduler(Event::ProofEnded { proof }, turn);
        self.tasks.retain(|_, task| task.proof != proof);
    }

    fn on_drain_requested(&mut self, session: SessionId, turn: &mut DispatchTurn<'_>) {
        self.drains.insert(session);
        self.pass_to_scheduler(Event::DrainRequested { session }, turn);
        if self.scheduler.worker_status(session).is_none() {
            // The worker is not ready or is disconnected, so it holds no attempt.
            self.end_drain_wait(session, turn);
            self.early_drains.insert(session);
        }
    }

    /// Ends the wait of the callers that wait for the drain of `session`.
    fn end_drain_wait(&mut self, session: SessionId, turn: &mut DispatchTurn<'_>) {
        if self.drains.remove(&session) {
            turn.commands.push(DispatchCommand::EndDrainWait { session });
        }
    }

    /// Forgets what belongs to a session that has ended.
    fn forget_session(&mut self, session: SessionId, turn: &mut DispatchTurn<'_>) {
        self.end_drain_wait(session, turn);
        self.early_drains.remove(session);
        self.resumable.forget(session);
    }

    /// Returns the tasks that `session` can resume, one for each attempt.
    fn resumable_tasks_on(&self, session: SessionId) -> Vec<TaskId> {
        let is_its = |key: &ResultKey| self.resumable.session_for(*key) == Some(session);
        let mut first = BTreeMap::new();
        // The tasks are visited in order, so the first task of each key is kept.
        for (task, entry) in &self.tasks {
            if let Some(key) = entry.key.filter(is_its) {
                first.entry(key).or_insert(*task);
            }
        }
        first.into_values().collect()
    }

    fn on_result_delivered(&mut self, session: SessionId, attempt: AttemptId, turn: &mut DispatchTurn<'_>) {
        let Some(entry) = self.attempts.get_mut(&attempt).filter(|entry| entry.awaits_report_of(session)) else {
            return;
        };
        entry.report = ResultReport::Received;
        // The scheduler ignores the marker of an attempt that has delivered its result. So the result waits until the
        // marker is accepted or rejected.
        if !entry.is_marker_check_running() {
            self.pass_result_on(session, attempt, turn);
        }
    }

    /// Passes the delivered result of `attempt` to the scheduler, and lets it be checked if it is still needed.
    fn pass_result_on(&mut self, session: SessionId, attempt: AttemptId, turn: &mut DispatchTurn<'_>) {
        self.pass_to_scheduler(Event::ResultDelivered { session, attempt }, turn);
        if let Some(entry) = self.attempts.get(&attempt) {
            turn.commands.push(DispatchCommand::CheckResult { attempt, task: entry.task });
        }
    }

    /// Starts the check of the deferred events that `attempt` uploaded for its marker. SP1 makes precompile shards from
    /// them without checking them.
    fn on_marker_reported(&mut self, session: SessionId, attempt: AttemptId, turn: &mut DispatchTurn<'_>) {
        let Some(entry) = self.attempts.get_mut(&attempt).filter(|entry| entry.awaits_report_of(session)) else {
            return;
        };
        let task = entry.task;
        if entry.marker == MarkerCheck::Unreported && self.tasks.get(&task).is_some_and(|task| task.has_marker) {
            entry.marker = MarkerCheck::Checking;
            turn.commands.push(DispatchCommand::CheckMarker { attempt, task });
        }
    }

    fn on_marker_checked(&mut self, attempt: AttemptId, outcome: Result<(), String>, turn: &mut DispatchTurn<'_>) {
        // The attempt may have been discarded while its uploads were checked.
        let Some(entry) = self.attempts.get_mut(&attempt).filter(|entry| entry.marker == MarkerCheck::Checking) else {
            return;
        };
        if let Err(reason) = outcome {
            return self.reject_marker(attempt, AttemptFailure::Rejected(reason), turn);
        }
        entry.marker = MarkerCheck::Judging;
        let DispatchAttempt { task, session, .. } = *entry;
        let kind = self.tasks.get(&task).expect("the task of an attempt is open").kind;
        let is_alone = !self.scheduler.has_other_worker_for(kind, session);
        turn.commands.push(DispatchCommand::JudgeClaims { attempt, task, is_alone });
    }

    fn on_claims_judged(&mut self, attempt: AttemptId, verdict: ClaimsVerdict, turn: &mut DispatchTurn<'_>) {
        let is_judged = |entry: &&mut DispatchAttempt| entry.marker == MarkerCheck::Judging;
        let Some(entry) = self.attempts.get_mut(&attempt).filter(is_judged) else { return };
        let refuted = match verdict {
            ClaimsVerdict::Accepted { refuted } => refuted,
            ClaimsVerdict::Contradicted => {
                return self.reject_marker(attempt, AttemptFailure::Rejected(CONTRADICTED.to_owned()), turn);
            }
            ClaimsVerdict::Unconfirmed => return self.reject_marker(attempt, AttemptFailure::Unconfirmed, turn),
            ClaimsVerdict::NamesTaken => return self.reject_marker(attempt, AttemptFailure::NamesTaken, turn),
        };
        entry.marker = MarkerCheck::Ended;
        let DispatchAttempt { session, report, .. } = *entry;
        for worker in refuted {
            self.pass_to_scheduler(Event::ProvenWrong { worker, reason: CLAIMS_REFUTED.to_owned() }, turn);
        }
        self.pass_to_scheduler(Event::MarkerAccepted { session, attempt }, turn);
        if report == ResultReport::Received {
            self.pass_result_on(session, attempt, turn);
        }
    }

    /// Fails `attempt`, because its marker was rejected.
    fn reject_marker(&mut self, attempt: AttemptId, failure: AttemptFailure, turn: &mut DispatchTurn<'_>) {
        let entry = self.attempt_mut(attempt);
        let session = entry.session;
        let is_proving = entry.report == ResultReport::Awaited;
        (entry.marker, entry.report) = (MarkerCheck::Ended, ResultReport::Unwanted);
        if is_proving {
            // Cancel first, so that the cancellation arrives before the task that replaces the attempt.
            turn.commands.push(DispatchCommand::Cancel { session, attempt });
        }
        self.publish(attempt, AttemptStep::Failed(failure.to_string()), turn);
        self.pass_to_scheduler(Event::AttemptFailed { session, attempt, failure }, turn);
    }

    fn is_held_by(&self, attempt: AttemptId, session: SessionId) -> bool {
        self.attempts.get(&attempt).is_some_and(|entry| entry.session == session)
    }

    fn attempt_mut(&mut self, attempt: AttemptId) -> &mut DispatchAttempt {
        self.attempts.get_mut(&attempt).expect("the scheduler names only attempts that it assigned and did not discard")
    }

    /// Publishes a step of `attempt`, unless its task is done or a published step has ended the attempt. `Done` is
    /// published nevertheless, because the watchers must see which attempt did the task.
    fn publish(&mut self, attempt: AttemptId, step: AttemptStep, turn: &mut DispatchTurn<'_>) {
        let Some(entry) = self.attempts.get_mut(&attempt) else { return };
        if !self.tasks.contains_key(&entry.task) || entry.is_end_published && step != AttemptStep::Done {
            return;
        }
        entry.is_end_published |= step.ends_attempt();
        let DispatchAttempt { task, session, .. } = *entry;
        turn.commands.push(DispatchCommand::PublishStep { task, attempt, session, step });
    }
}
