//! The dispatch's state machine.

use super::{
    AttemptStep, ClaimsVerdict, DispatchCommand, DispatchEvent, ResultKey,
    attempt::{DispatchAttempt, DispatchTask, MarkerCheck, ResultReport},
    resumable::ResumableAttempts,
};
use crate::{
    AttemptFailure, AttemptId, Command, Deadline, Event, ProofId, Scheduler, SchedulerConfig, SessionId, TaskId,
    TaskKind, Timestamp, WorkerChanges,
};
use std::collections::{BTreeMap, BTreeSet};

/// The fault of a worker whose claims were refuted after other tasks had used them.
const CLAIMS_REFUTED: &str = "two other workers refuted the precompile events that it claimed for a shard";

/// Why claims are rejected that two other workers contradict.
const CONTRADICTED: &str = "two other workers claimed other deferred events for the same shard";

/// Owns the scheduler, and filters the workers' reports.
///
/// Report each event with [`handle`](Self::handle) and carry out the returned commands before reporting the next event
/// from outside. Call `handle` with [`DispatchEvent::Tick`] at [`next_deadline`](Self::next_deadline).
///
/// - The first report of an attempt counts, if it comes from the session that holds the attempt. A session that
///   continues an attempt reports again.
/// - A marker reaches the scheduler only after its checks: the uploaded deferred events are checked, and then the
///   claims are judged. The claims are accepted at once, unless the proof restarted to compare claims. Then a second
///   worker must make the same claims, if another worker is available.
/// - A delivered result reaches the scheduler at once, or after a running check of the marker. It becomes final only
///   after the check of the result.
/// - A task that a worker started before the orchestrator restarted goes to that worker. If several workers started it,
///   the first that reports this gets it.
/// - The wait for a drain ends when the worker holds nothing, may get tasks again, or is disconnected.
#[derive(Debug)]
pub struct Dispatch {
    pub(super) scheduler: Scheduler,
    pub(super) tasks: BTreeMap<TaskId, DispatchTask>,
    pub(super) attempts: BTreeMap<AttemptId, DispatchAttempt>,
    pub(super) resumable: ResumableAttempts,
    /// The sessions for whose drain a caller waits.
    pub(super) drains: BTreeSet<SessionId>,
    /// The sessions for which a drain was requested before their worker was ready. They are drained when they join.
    early_drains: BTreeSet<SessionId>,
}

/// Maximum number of early drains that are remembered. The oldest is forgotten first: its session has most likely
/// ended.
const MAX_EARLY_DRAINS: usize = 4096;

/// The handling of one event.
struct DispatchTurn<'a> {
    now: Timestamp,
    observe: &'a mut dyn FnMut(&Scheduler, &Event, &[Command]),
    commands: Vec<DispatchCommand>,
}

impl Dispatch {
    /// Creates a dispatch without workers and proofs.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            tasks: BTreeMap::new(),
            attempts: BTreeMap::new(),
            resumable: ResumableAttempts::default(),
            drains: BTreeSet::new(),
            early_drains: BTreeSet::new(),
        }
    }

    /// Processes `event`, which happened at `now`. Returns the commands to carry out, in order, before the next event
    /// from outside.
    #[must_use = "the dispatch assumes that its commands are carried out"]
    pub fn handle(&mut self, now: Timestamp, event: DispatchEvent) -> Vec<DispatchCommand> {
        self.handle_observed(now, event, &mut |_, _, _| {})
    }

    /// Does the same as [`handle`](Self::handle). Also shows each step of the scheduler to `observe`: the scheduler
    /// after the step, the step's event, and the commands that the scheduler returned for it.
    #[must_use = "the dispatch assumes that its commands are carried out"]
    pub fn handle_observed(
        &mut self,
        now: Timestamp,
        event: DispatchEvent,
        observe: &mut dyn FnMut(&Scheduler, &Event, &[Command]),
    ) -> Vec<DispatchCommand> {
        let mut turn = DispatchTurn { now, observe, commands: Vec::new() };
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

    /// Returns what changed about the workers since the last call: see [`Scheduler::take_worker_changes`].
    #[must_use = "the changes are forgotten"]
    pub fn take_worker_changes(&mut self) -> WorkerChanges {
        self.scheduler.take_worker_changes()
    }

    fn apply(&mut self, event: DispatchEvent, turn: &mut DispatchTurn<'_>) {
        match event {
            DispatchEvent::ProofStarted { proof } => self.step(Event::ProofStarted { proof }, turn),
            DispatchEvent::TaskSubmitted { proof, task, kind, marker, key } => {
                let entry = DispatchTask { proof, kind, has_marker: marker.is_some(), key };
                self.on_task_submitted(task, entry, marker, turn);
            }
            DispatchEvent::MarkerSubmitted { proof, marker } => {
                self.step(Event::MarkerSubmitted { proof, marker }, turn);
            }
            DispatchEvent::ProofEnded { proof } => self.on_proof_ended(proof, turn),
            DispatchEvent::WorkerJoined { session, worker, memory_bytes, slots, kinds, holds, resumable } => {
                self.resumable.report(session, worker, resumable);
                let resumable = self.resumable_tasks_on(session);
                self.step(Event::WorkerJoined { session, worker, memory_bytes, slots, kinds, holds, resumable }, turn);
                if self.early_drains.remove(&session) {
                    self.step(Event::DrainRequested { session }, turn);
                }
            }
            DispatchEvent::DrainRequested { session } => self.on_drain_requested(session, turn),
            DispatchEvent::DrainEnded { session } => {
                self.end_drain(session, turn);
                self.early_drains.remove(&session);
                self.step(Event::DrainEnded { session }, turn);
            }
            DispatchEvent::ProverLost { session } => self.step(Event::ProverLost { session }, turn),
            DispatchEvent::ProverReady { session } => self.step(Event::ProverReady { session }, turn),
            DispatchEvent::SessionEnded { session } => {
                self.forget_session(session, turn);
                self.step(Event::SessionEnded { session }, turn);
            }
            DispatchEvent::LeaseRenewed { session } => self.step(Event::LeaseRenewed { session }, turn),
            DispatchEvent::AttemptStarted { session, attempt } => {
                if self.is_held_by(attempt, session) {
                    self.publish(attempt, AttemptStep::Started, turn);
                }
                self.step(Event::AttemptStarted { session, attempt }, turn);
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
                self.step(Event::ResultVerified { attempt }, turn);
            }
            DispatchEvent::ResultChecked { attempt, outcome: Err(reason) } => {
                self.publish(attempt, AttemptStep::Failed(reason.clone()), turn);
                self.step(Event::ResultRejected { attempt, reason }, turn);
            }
            DispatchEvent::AttemptFailed { session, attempt, failure } => {
                if self.is_held_by(attempt, session) {
                    self.publish(attempt, AttemptStep::Failed(failure.to_string()), turn);
                }
                self.step(Event::AttemptFailed { session, attempt, failure }, turn);
            }
            DispatchEvent::ProvenWrong { worker, reason } => self.step(Event::ProvenWrong { worker, reason }, turn),
            DispatchEvent::Tick => self.step(Event::Tick, turn),
        }
    }

    /// Passes `event` to the scheduler and translates its commands.
    fn step(&mut self, event: Event, turn: &mut DispatchTurn<'_>) {
        let commands = self.scheduler.handle(turn.now, event.clone());
        (turn.observe)(&self.scheduler, &event, &commands);
        let discarded = |command: &Command| match *command {
            Command::Discard { attempt } => Some(attempt),
            _ => None,
        };
        let discarded: Vec<AttemptId> = commands.iter().filter_map(discarded).collect();
        for command in commands {
            self.translate(command, &discarded, turn);
        }
    }

    /// Translates `command`, one of the commands of a step. The same step discards the attempts in `discarded`.
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
                // The steps come first, because the driver forgets the task when it accepts the result.
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
            Command::FailProof { proof, task, kind, history, is_out_of_memory } => {
                // Only shards become smaller with a smaller cut. One attempt that ran out of memory is reason enough to
                // try: on other workers, the kernel may have killed provers for the same cause.
                let ran_out = || history.iter().any(|past| past.failure.is_out_of_memory());
                let is_out_of_memory = kind.is_shard() && (is_out_of_memory || ran_out());
                // A shard without a marker is a memory shard or a precompile shard. Only a precompile shard is made
                // from claims, but the dispatch cannot tell them apart.
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
                turn.commands.push(DispatchCommand::Quarantine { session, duration, reason });
            }
            Command::Probation { session } => turn.commands.push(DispatchCommand::Probation { session }),
            Command::WorkerDrained { session } => self.end_drain(session, turn),
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
        self.step(Event::TaskSubmitted { proof, task, kind, marker, resumable_on }, turn);
        // The scheduler ignores, for example, a task of a proof that has failed or ended.
        if is_new && self.scheduler.task_status(task).is_none() {
            self.tasks.remove(&task);
        }
    }

    fn on_proof_ended(&mut self, proof: ProofId, turn: &mut DispatchTurn<'_>) {
        self.step(Event::ProofEnded { proof }, turn);
        self.tasks.retain(|_, task| task.proof != proof);
    }

    fn on_drain_requested(&mut self, session: SessionId, turn: &mut DispatchTurn<'_>) {
        self.drains.insert(session);
        self.step(Event::DrainRequested { session }, turn);
        if self.scheduler.worker_status(session).is_none() {
            // The worker is not ready or is disconnected, so it holds no attempt.
            self.end_drain(session, turn);
            self.early_drains.insert(session);
            if self.early_drains.len() > MAX_EARLY_DRAINS {
                self.early_drains.pop_first();
            }
        }
    }

    /// Ends the wait of the callers that wait for the drain of `session`.
    fn end_drain(&mut self, session: SessionId, turn: &mut DispatchTurn<'_>) {
        if self.drains.remove(&session) {
            turn.commands.push(DispatchCommand::EndDrainWait { session });
        }
    }

    /// Forgets what belongs to a session that has ended.
    fn forget_session(&mut self, session: SessionId, turn: &mut DispatchTurn<'_>) {
        self.end_drain(session, turn);
        self.early_drains.remove(&session);
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
        self.step(Event::ResultDelivered { session, attempt }, turn);
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
        // The attempt may have been discarded while its marker was checked.
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
        turn.commands.push(DispatchCommand::JudgeClaims { attempt, task, session, is_alone });
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
            self.step(Event::ProvenWrong { worker, reason: CLAIMS_REFUTED.to_owned() }, turn);
        }
        self.step(Event::MarkerAccepted { session, attempt }, turn);
        if report == ResultReport::Received {
            self.pass_result_on(session, attempt, turn);
        }
    }

    /// Ends `attempt`, whose marker does not count.
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
        self.step(Event::AttemptFailed { session, attempt, failure }, turn);
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
