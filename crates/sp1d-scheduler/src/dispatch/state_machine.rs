//! The dispatch state machine: its state, and what it does with each event.

use super::{
    AttemptStep, ClaimHistory, DispatchCommand, DispatchEvent, ResultKey, TryFailureCause,
    attempt::{DispatchAttempt, ResultReport},
    deferred_events_check::DeferredEventsCheck,
    early_drains::EarlyDrains,
    open_tasks::{DispatchTask, OpenTaskTable},
    resumable::ResumableAttempts,
};
use crate::{
    AttemptFailure, AttemptId, Command, Event, Scheduler, SchedulerConfig, SessionId, TaskId, TaskKind, Timestamp,
    TryId, WorkerChanges, WorkerStatus, scheduler::MARKER_MISSING,
};
use std::collections::{BTreeMap, BTreeSet};

/// Owns the scheduler, and filters the workers' reports.
///
/// Pass each event to [`handle`](Self::handle), and carry out the returned commands before passing the next event from
/// outside. Call `handle` with [`DispatchEvent::Tick`] at [`next_deadline`](Self::next_deadline).
///
/// - The reports in the table below count only from the session that holds the attempt or held it last. A session that
///   continues an attempt reports again.
/// - Reports of a start or a failure go to the scheduler unfiltered. It ignores those about attempts that the session
///   does not hold.
/// - A delivered result is kept when its session ends, also while it waits for the check of the deferred events.
///   Reports of the worker about the attempt do not count any more.
/// - The driver checks the deferred events of an attempt first. Then the dispatch state machine judges the claim: see
///   [`ClaimHistory`]. The file `dispatch/mod.rs` says when the scheduler learns of a marker and of a result.
/// - A task that a worker started before the orchestrator restarted is offered first to that worker, which gets it if
///   it may take it and has a free slot. If several workers started the task, it is offered first to the one that
///   reported this first.
/// - The wait for a drain ends when the worker holds nothing, may get tasks again, or is disconnected.
///
/// Two reports count only under conditions. "Before" means: since the session got the attempt.
///
/// - The report of a result counts if the result was not reported before, and if the deferred events and the claim were
///   not rejected before.
/// - The report of uploaded deferred events counts if their list has arrived, the result was not reported before, and
///   no check of the events runs or has ended before.
#[derive(Debug)]
pub struct DispatchState {
    pub(super) scheduler: Scheduler,
    pub(super) tasks: OpenTaskTable,
    pub(super) attempts: BTreeMap<AttemptId, DispatchAttempt>,
    /// The claims of each running try and of the earlier tries of its request.
    pub(super) claims: BTreeMap<TryId, ClaimHistory>,
    pub(super) resumable: ResumableAttempts,
    /// The sessions for whose drain a caller waits.
    pub(super) awaited_drains: BTreeSet<SessionId>,
    early_drains: EarlyDrains,
}

/// Sees the scheduler after an event, the event, and the commands that the scheduler returned for it.
type SchedulerObserver<'a> = dyn FnMut(&Scheduler, &Event, &[Command]) + 'a;

/// The context in which one event is handled: its time, its observer, and the commands for it so far.
pub(super) struct EventContext<'a> {
    now: Timestamp,
    /// Sees each event that the scheduler handles. `None` in production, where the event is then not copied.
    observe: Option<&'a mut SchedulerObserver<'a>>,
    pub(super) commands: Vec<DispatchCommand>,
}

impl DispatchState {
    /// Creates a dispatch state machine without workers and tries.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            tasks: OpenTaskTable::default(),
            attempts: BTreeMap::new(),
            claims: BTreeMap::new(),
            resumable: ResumableAttempts::default(),
            awaited_drains: BTreeSet::new(),
            early_drains: EarlyDrains::default(),
        }
    }

    /// Processes `event`, which happened at `now`. Returns the commands to carry out, in order, before the next event
    /// from outside.
    #[must_use = "the dispatch state machine assumes that its commands are carried out"]
    pub fn handle(&mut self, now: Timestamp, event: DispatchEvent) -> Vec<DispatchCommand> {
        self.handle_event(EventContext { now, observe: None, commands: Vec::new() }, event)
    }

    /// Does the same as [`handle`](Self::handle). Also shows each event that the scheduler handles to `observe`: the
    /// scheduler after the event, the event, and the commands that the scheduler returned for it.
    #[must_use = "the dispatch state machine assumes that its commands are carried out"]
    pub fn handle_observed(
        &mut self,
        now: Timestamp,
        event: DispatchEvent,
        observe: &mut dyn FnMut(&Scheduler, &Event, &[Command]),
    ) -> Vec<DispatchCommand> {
        self.handle_event(EventContext { now, observe: Some(observe), commands: Vec::new() }, event)
    }

    fn handle_event(&mut self, mut context: EventContext<'_>, event: DispatchEvent) -> Vec<DispatchCommand> {
        self.apply(event, &mut context);
        context.commands
    }

    /// Returns when [`handle`](Self::handle) must be called next: see [`Scheduler::next_deadline`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.scheduler.next_deadline()
    }

    /// Returns the scheduler, for queries.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Returns the number of tasks of `try_id` without an accepted result.
    #[must_use]
    pub fn count_open_tasks(&self, try_id: TryId) -> usize {
        self.tasks.count_of(try_id)
    }

    /// Returns the tasks of `try_id` without an accepted result whose numbers are above `after`, with their kinds, in
    /// the order of their numbers. Takes time for the tasks that are taken from the iterator, however many are open.
    pub fn open_tasks(&self, try_id: TryId, after: TaskId) -> impl Iterator<Item = (TaskId, TaskKind)> {
        self.tasks.of_try(try_id, after).map(|(task, open)| (task, open.kind))
    }

    /// Returns the claims of `try_id` and of the earlier tries of its request; `None` if `try_id` is not running.
    #[must_use]
    pub fn claims(&self, try_id: TryId) -> Option<&ClaimHistory> {
        self.claims.get(&try_id)
    }

    /// Returns what changed about the workers since the last call: see [`Scheduler::take_worker_changes`]. The changes
    /// also contain the drains of workers that are not ready yet.
    #[must_use = "the changes are forgotten"]
    pub fn take_worker_changes(&mut self) -> WorkerChanges {
        let mut changes = self.scheduler.take_worker_changes();
        for (session, is_early) in self.early_drains.take_changes() {
            // If the worker has become ready meanwhile, the scheduler's entry already says whether it is draining.
            if changes.sessions.iter().all(|(other, _)| *other != session) {
                changes.sessions.push((session, is_early.then(WorkerStatus::draining_before_ready)));
            }
        }
        changes
    }

    fn apply(&mut self, event: DispatchEvent, context: &mut EventContext<'_>) {
        match event {
            DispatchEvent::TryStarted { try_id, group, claims, trusted_only } => {
                self.claims.entry(try_id).or_insert(claims);
                self.pass_to_scheduler(Event::TryStarted { try_id, group, trusted_only }, context);
            }
            DispatchEvent::TaskSubmitted { try_id, task, kind, marker, key } => {
                let open = DispatchTask { try_id, kind, has_marker: marker.is_some(), key };
                self.on_task_submitted(task, open, marker, context);
            }
            DispatchEvent::TryEnded { try_id } => self.on_try_ended(try_id, context),
            DispatchEvent::WorkerReady { session, ready, resumable_attempts } => {
                self.resumable.record(session, ready.worker, resumable_attempts);
                let resumable_tasks = self.resumable_tasks_on(session);
                let draining = self.early_drains.remove(session);
                let ready = Event::WorkerReady { session, ready, resumable_tasks, draining };
                self.pass_to_scheduler(ready, context);
            }
            DispatchEvent::DrainRequested { session, is_connected } => {
                self.on_drain_requested(session, is_connected, context);
            }
            DispatchEvent::DrainCancelled { session } => {
                self.end_drain_wait(session, context);
                self.early_drains.remove(session);
                self.pass_to_scheduler(Event::DrainCancelled { session }, context);
            }
            DispatchEvent::SessionEnded { session } => {
                self.forget_session(session, context);
                self.publish_interruptions(session, context);
                self.pass_to_scheduler(Event::SessionEnded { session }, context);
            }
            DispatchEvent::AttemptStarted { session, attempt } => {
                if self.is_last_session(attempt, session) {
                    self.publish_step(attempt, AttemptStep::Started, context);
                }
                self.pass_to_scheduler(Event::AttemptStarted { session, attempt }, context);
            }
            DispatchEvent::DeferredEventsUploaded { session, attempt, has_list } => {
                if has_list {
                    self.on_deferred_events_uploaded(session, attempt, context);
                }
            }
            DispatchEvent::DeferredEventsChecked { attempt, outcome } => {
                self.on_deferred_events_checked(attempt, outcome, context);
            }
            DispatchEvent::ResultDelivered { session, attempt } => self.on_result_delivered(session, attempt, context),
            DispatchEvent::ResultChecked { attempt, outcome: Ok(()) } => {
                if self.events_were_never_checked(attempt) && self.scheduler.is_marker_missing(attempt) {
                    self.publish_step(attempt, AttemptStep::Failed(MARKER_MISSING.to_owned()), context);
                }
                self.pass_to_scheduler(Event::ResultPassed { attempt }, context);
            }
            DispatchEvent::ResultChecked { attempt, outcome: Err(reason) } => {
                self.publish_step(attempt, AttemptStep::Failed(reason.clone()), context);
                self.pass_to_scheduler(Event::ResultRejected { attempt, reason }, context);
            }
            DispatchEvent::CheckDelayed { attempt } => self.on_check_delayed(attempt, context),
            DispatchEvent::AttemptFailed { session, attempt, kind, text } => {
                let failure = AttemptFailure::Worker { kind, text };
                if self.attempts.get(&attempt).is_some_and(|dispatched| dispatched.awaits_report_of(session)) {
                    self.publish_step(attempt, AttemptStep::Failed(failure.to_string()), context);
                }
                self.pass_to_scheduler(Event::AttemptFailed { session, attempt, failure }, context);
            }
            DispatchEvent::SmallWorkersExcluded { try_id, size } => {
                self.pass_to_scheduler(Event::SmallWorkersExcluded { try_id, size }, context);
            }
            DispatchEvent::MarkerSubmitted { try_id, marker } => {
                self.pass_to_scheduler(Event::MarkerSubmitted { try_id, marker }, context);
            }
            DispatchEvent::AssignmentFailed { attempt } => {
                self.pass_to_scheduler(Event::AssignmentFailed { attempt }, context);
            }
            DispatchEvent::LastProverLost { session } => {
                self.pass_to_scheduler(Event::LastProverLost { session }, context);
            }
            DispatchEvent::FirstProverReady { session } => {
                self.pass_to_scheduler(Event::FirstProverReady { session }, context);
            }
            DispatchEvent::LeaseRenewed { session } => {
                self.pass_to_scheduler(Event::LeaseRenewed { session }, context);
            }
            DispatchEvent::ProvenWrong { worker, reason } => {
                self.pass_to_scheduler(Event::ProvenWrong { worker, reason }, context);
            }
            DispatchEvent::Tick => self.pass_to_scheduler(Event::Tick, context),
        }
    }

    /// Passes `event` to the scheduler and translates its commands.
    pub(super) fn pass_to_scheduler(&mut self, event: Event, context: &mut EventContext<'_>) {
        let observed = context.observe.is_some().then(|| event.clone());
        let commands = self.scheduler.handle(context.now, event);
        if let (Some(observe), Some(event)) = (context.observe.as_deref_mut(), observed) {
            observe(&self.scheduler, &event, &commands);
        }
        let discarded_by = |command: &Command| match *command {
            Command::Discard { attempt } => Some(attempt),
            _ => None,
        };
        let discarded: Vec<AttemptId> = commands.iter().filter_map(discarded_by).collect();
        for command in commands {
            self.translate(command, &discarded, context);
        }
    }

    /// Translates `command`, one of the commands that the scheduler returned for an event. Together they discard the
    /// attempts in `discarded`.
    fn translate(&mut self, command: Command, discarded: &[AttemptId], context: &mut EventContext<'_>) {
        match command {
            Command::Assign { session, attempt, try_id, task, kind: _ } => {
                let known = self.tasks.get(task).expect("the scheduler assigns only tasks that were submitted");
                let resumes = known.key.and_then(|key| self.resumable.take(session, key));
                self.attempts.insert(attempt, DispatchAttempt::new(task, session));
                context.commands.push(DispatchCommand::Assign { session, attempt, try_id, task, resumes });
                self.publish_step(attempt, AttemptStep::Assigned, context);
            }
            Command::Cancel { session, attempt } => {
                context.commands.push(DispatchCommand::Cancel { session, attempt });
                // The watchers of a discarded attempt see its end instead. If a worker offers an attempt that another
                // session holds, only the offer is cancelled: the attempt continues in the other session.
                if !discarded.contains(&attempt) && self.is_last_session(attempt, session) {
                    self.publish_step(attempt, AttemptStep::TakenBack, context);
                }
            }
            Command::Continue { session, attempt } => {
                self.attempt_mut(attempt).continue_in(session);
                context.commands.push(DispatchCommand::Continue { session, attempt });
                self.publish_step(attempt, AttemptStep::Continued, context);
            }
            Command::CompleteMarker { try_id, marker, attempt } => {
                let task = self.attempt_mut(attempt).task;
                context.commands.push(DispatchCommand::CompleteMarker { try_id, marker, task, attempt });
            }
            Command::AcceptResult { try_id, task, attempt, session } => {
                // The published steps come first, because the driver forgets the task when it accepts the result.
                self.publish_step(attempt, AttemptStep::Done, context);
                for loser in discarded {
                    if self.attempts.get(loser).is_some_and(|dispatched| dispatched.task == task) {
                        self.publish_step(*loser, AttemptStep::Dropped, context);
                    }
                }
                self.tasks.remove(task);
                self.attempts.remove(&attempt);
                context.commands.push(DispatchCommand::AcceptResult { try_id, task, attempt, session });
            }
            Command::Discard { attempt } => {
                self.publish_step(attempt, AttemptStep::Dropped, context);
                if self.attempts.remove(&attempt).is_some() {
                    context.commands.push(DispatchCommand::Discard { attempt });
                }
            }
            Command::FailTry { try_id, task, kind, history, lacks_large_worker } => {
                let cause = TryFailureCause::from_history(kind, &history, lacks_large_worker);
                // A shard without a marker is a memory shard or a precompile shard. Only a precompile shard is made
                // from claims, but the dispatch state machine cannot tell them apart.
                let are_claims_suspect = kind.is_shard() && self.tasks.get(task).is_some_and(|open| !open.has_marker);
                context.commands.push(DispatchCommand::FailTry {
                    try_id,
                    task,
                    kind,
                    history,
                    cause,
                    are_claims_suspect,
                });
            }
            Command::Quarantine { session, kinds, duration, reason } => {
                context.commands.push(DispatchCommand::LogQuarantine { session, kinds, duration, reason });
            }
            Command::Probation { session, kinds } => {
                context.commands.push(DispatchCommand::LogProbation { session, kinds });
            }
            Command::WorkerDrained { session } => self.end_drain_wait(session, context),
            Command::EndSession { session } => {
                self.forget_session(session, context);
                self.publish_interruptions(session, context);
                context.commands.push(DispatchCommand::EndSession { session });
            }
        }
    }

    fn on_task_submitted(
        &mut self,
        task: TaskId,
        open: DispatchTask,
        marker: Option<TaskId>,
        context: &mut EventContext<'_>,
    ) {
        let DispatchTask { try_id, kind, key, .. } = open;
        let is_new = !self.scheduler.knows_task(task);
        if is_new {
            self.tasks.insert(task, open);
        }
        let resumable_on = key.and_then(|key| self.resumable.session_for(key));
        self.pass_to_scheduler(Event::TaskSubmitted { try_id, task, kind, marker, resumable_on }, context);
        // The scheduler ignores, for example, a task of a try that has failed or ended.
        if is_new && !self.scheduler.knows_task(task) {
            self.tasks.remove(task);
        }
    }

    fn on_try_ended(&mut self, try_id: TryId, context: &mut EventContext<'_>) {
        self.pass_to_scheduler(Event::TryEnded { try_id }, context);
        self.tasks.remove_try(try_id);
        self.claims.remove(&try_id);
    }

    fn on_drain_requested(&mut self, session: SessionId, is_connected: bool, context: &mut EventContext<'_>) {
        self.awaited_drains.insert(session);
        self.pass_to_scheduler(Event::DrainRequested { session }, context);
        if self.scheduler.worker_status(session).is_none() {
            // The worker is not ready or is disconnected, so the scheduler counts no attempt as held by it.
            self.end_drain_wait(session, context);
            // No event about an ended session follows, so its drain would be remembered for no purpose.
            if is_connected {
                self.early_drains.insert(session);
            }
        }
    }

    /// Ends the wait of the callers that wait for the drain of `session`.
    fn end_drain_wait(&mut self, session: SessionId, context: &mut EventContext<'_>) {
        if self.awaited_drains.remove(&session) {
            context.commands.push(DispatchCommand::EndDrainWait { session });
        }
    }

    /// Forgets what belongs to a session that has ended.
    fn forget_session(&mut self, session: SessionId, context: &mut EventContext<'_>) {
        self.end_drain_wait(session, context);
        self.early_drains.remove(session);
        self.resumable.forget(session);
    }

    /// Returns the tasks that `session` can resume, one for each attempt.
    fn resumable_tasks_on(&self, session: SessionId) -> Vec<TaskId> {
        let is_its = |key: &ResultKey| self.resumable.session_for(*key) == Some(session);
        let mut first = BTreeMap::new();
        // The tasks are visited in order, so the first task of each key is kept.
        for (task, open) in self.tasks.iter() {
            if let Some(key) = open.key.filter(is_its) {
                first.entry(key).or_insert(task);
            }
        }
        first.into_values().collect()
    }

    fn on_result_delivered(&mut self, session: SessionId, attempt: AttemptId, context: &mut EventContext<'_>) {
        let Some(dispatched) =
            self.attempts.get_mut(&attempt).filter(|dispatched| dispatched.awaits_report_of(session))
        else {
            return;
        };
        dispatched.report = ResultReport::Received;
        let (is_checking, is_delayed) = (dispatched.is_check_running(), dispatched.is_check_delayed);
        // At once, also if the result waits for the check of the deferred events. Otherwise the result would be lost if
        // its session ended during the check, and the wait would count as proving.
        self.pass_to_scheduler(Event::ResultDelivered { session, attempt }, context);
        if !is_checking {
            self.check_result(attempt, context);
        } else if is_delayed {
            self.pass_to_scheduler(Event::CheckDelayed { attempt }, context);
        }
    }

    /// Tells the scheduler that the result of `attempt` waits for a delayed check. Before the result arrives, the check
    /// of the deferred events delays nothing, because the attempt still proves. Its delay is then only noted.
    fn on_check_delayed(&mut self, attempt: AttemptId, context: &mut EventContext<'_>) {
        let Some(dispatched) = self.attempts.get_mut(&attempt) else { return };
        match dispatched.report {
            ResultReport::Awaited => dispatched.is_check_delayed = dispatched.is_check_running(),
            ResultReport::Received => self.pass_to_scheduler(Event::CheckDelayed { attempt }, context),
            ResultReport::Ignored => {}
        }
    }

    /// Lets the delivered result of `attempt` be checked, if it is still needed.
    pub(super) fn check_result(&self, attempt: AttemptId, context: &mut EventContext<'_>) {
        if let Some(dispatched) = self.attempts.get(&attempt) {
            context.commands.push(DispatchCommand::CheckResult { attempt, task: dispatched.task });
        }
    }

    /// Returns true if the deferred events of `attempt` were never checked. If their check has ended and the marker is
    /// incomplete nevertheless, the events passed while the worker counted as lost, and the scheduler ignored that.
    fn events_were_never_checked(&self, attempt: AttemptId) -> bool {
        self.attempts.get(&attempt).is_some_and(|dispatched| dispatched.events_check == DeferredEventsCheck::NotStarted)
    }

    /// Returns true if `session` holds `attempt` or held it last.
    fn is_last_session(&self, attempt: AttemptId, session: SessionId) -> bool {
        self.attempts.get(&attempt).is_some_and(|dispatched| dispatched.session == session)
    }

    pub(super) fn attempt_mut(&mut self, attempt: AttemptId) -> &mut DispatchAttempt {
        self.attempts.get_mut(&attempt).expect("the scheduler names only attempts that it assigned and did not discard")
    }

    /// Publishes that the attempts of `session`, which has ended, are interrupted. A delivered result is still checked,
    /// so its attempt is not interrupted.
    fn publish_interruptions(&mut self, session: SessionId, context: &mut EventContext<'_>) {
        let is_held =
            |dispatched: &DispatchAttempt| dispatched.session == session && dispatched.report == ResultReport::Awaited;
        let held: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, dispatched)| is_held(dispatched)).map(|(attempt, _)| *attempt).collect();
        for attempt in held {
            self.publish_step(attempt, AttemptStep::Interrupted, context);
        }
    }

    /// Publishes a step of `attempt`, unless its task is done or the step must not follow the published ones.
    pub(super) fn publish_step(&mut self, attempt: AttemptId, step: AttemptStep, context: &mut EventContext<'_>) {
        let Some(dispatched) = self.attempts.get_mut(&attempt) else { return };
        if self.tasks.get(dispatched.task).is_none() {
            return;
        }
        let Some(published) = dispatched.published.after(&step) else { return };
        dispatched.published = published;
        let DispatchAttempt { task, session, .. } = *dispatched;
        context.commands.push(DispatchCommand::PublishStep { task, attempt, session, step });
    }
}
