//! Counts which situations occur. A test fails if no seed leads to one of them.

use crate::invariant::{LiveAttempts, SimOutcome, SimStep};
use sp1d_scheduler::{
    AttemptEndReason, AttemptFailure, AttemptId, AttemptStep, Command, DispatchCommand, DispatchEvent, Event,
    FailureKind, PastAttempt, ReadyWorker, SessionId, ShareGroup, TaskId, TaskKind, Timestamp, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Situations that must occur in a few hundred seeds.
pub const MARKS: &[&str] = &[
    "attempt continued",
    "attempt continued in place of another",
    "attempt never started",
    "attempt not continued",
    "attempt overdue",
    "attempt resumed",
    "check delayed",
    "claims accepted",
    "claims contradicted",
    "claims not confirmed",
    "claims refuted later",
    "clock paused",
    "deferred events rejected",
    "deferred events without their list ignored",
    "duplicate report ignored",
    "late check of deferred events ignored",
    "late report accepted",
    "marker completed",
    "marker missing",
    "names of claims taken",
    "no result delivered",
    "no worker connected",
    "original attempt won",
    "probation passed",
    "proof cancelled while attempts run",
    "proof failed after failures",
    "proof failed after losses",
    "proof failed for its poison task",
    "proof failed for lack of memory",
    "proof for trusted workers started",
    "proof of another group started",
    "prover restarted",
    "report of a forgotten attempt ignored",
    "report of another session ignored",
    "result of an ended session accepted",
    "result rejected",
    "result waited for its marker",
    "result waited for its marker after the end of its session",
    "resumable task assigned to its worker",
    "resumable task stolen by its worker",
    "session expired",
    "session replaced by a newer one",
    "speculative attempt started",
    "speculative attempt won",
    "task assigned again to a worker that failed it",
    "task assigned again after it ran out of memory",
    "task requeued",
    "task retried",
    "task stolen",
    "unsupported task passed on",
    "waiting attempt taken back",
    "worker drained",
    "worker found disconnected",
    "worker on probation",
    "worker quarantined",
    "worker quarantined again on probation",
    "worker quarantined under a new name",
    "worker resumed",
    "wrong claims uploaded",
    "wrong result delivered",
];

/// One event of the dispatch state machine, before its commands are carried out.
pub(crate) struct DispatchStep<'a> {
    pub(crate) event: &'a DispatchEvent,
    pub(crate) commands: &'a [DispatchCommand],
    /// True if the scheduler heard of the event.
    pub(crate) reached: bool,
    /// Returns the session that may deliver artifacts of an attempt.
    pub(crate) holder: &'a dyn Fn(AttemptId) -> Option<SessionId>,
}

/// Counts situations by name.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    live_attempts: LiveAttempts,
    last: Option<Timestamp>,
    workers: BTreeMap<SessionId, WorkerId>,
    probation: BTreeSet<(WorkerId, TaskKind)>,
    known_workers: BTreeSet<WorkerId>,
    draining: BTreeSet<SessionId>,
    ended_sessions: BTreeSet<SessionId>,
    groups: BTreeSet<ShareGroup>,
    /// Attempts that have reported: whether the attempt was no longer live, and the session that reported.
    reported: BTreeMap<AttemptId, (bool, SessionId)>,
    /// All reports of results, those that do not count included.
    reports: BTreeSet<(AttemptId, SessionId)>,
    /// By task: the slow attempt and its speculative attempt.
    speculative: BTreeMap<TaskId, (AttemptId, AttemptId)>,
}

impl Coverage {
    pub(crate) fn marks(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    pub(crate) fn mark(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(crate) fn observe(&mut self, step: &SimStep<'_>) {
        let passed = self.last.map(|last| step.now.saturating_since(last));
        self.last = Some(step.now);
        let counts = step.scheduler.counts();
        if counts.workers > 0 && passed.is_some_and(|passed| passed > step.config.max_clock_step) {
            self.mark("clock paused");
        }
        if step.is_quiet() {
            return;
        }
        if counts.workers == 0 && counts.open_tasks > 0 {
            self.mark("no worker connected");
        }
        self.on_event(step);
        self.on_resumable(step);
        for (at, command) in step.commands.iter().enumerate() {
            self.on_command(command, &step.commands[..at], step);
            self.live_attempts.on_command(command);
        }
    }

    /// Marks what the dispatch state machine decides without the scheduler.
    pub(crate) fn observe_dispatch(&mut self, step: &DispatchStep<'_>) {
        let DispatchStep { event, commands, reached, holder } = *step;
        for command in commands {
            if let DispatchCommand::Assign { resumes: Some(_), .. } = command {
                self.mark("attempt resumed");
            }
        }
        match event {
            DispatchEvent::ResultDelivered { session, attempt } => {
                let is_first = self.reports.insert((*attempt, *session));
                match holder(*attempt) {
                    _ if reached => {}
                    None => self.mark("report of a forgotten attempt ignored"),
                    Some(holder) if holder != *session => self.mark("report of another session ignored"),
                    // The deferred events were rejected before.
                    Some(_) if is_first => {}
                    Some(_) => self.mark("duplicate report ignored"),
                }
            }
            DispatchEvent::DeferredEventsUploaded { has_list: false, .. } => {
                self.mark("deferred events without their list ignored");
            }
            DispatchEvent::DeferredEventsChecked { .. } if commands.is_empty() => {
                self.mark("late check of deferred events ignored");
            }
            DispatchEvent::DeferredEventsChecked { outcome: Err(_), .. } => self.mark("deferred events rejected"),
            DispatchEvent::DeferredEventsChecked { outcome: Ok(_), .. } => self.on_claims(commands, holder),
            _ => {}
        }
    }

    /// Marks what the dispatch state machine decided about well-formed claims.
    fn on_claims(&mut self, commands: &[DispatchCommand], holder: &dyn Fn(AttemptId) -> Option<SessionId>) {
        for command in commands {
            match command {
                DispatchCommand::CompleteMarker { .. } => self.mark("claims accepted"),
                DispatchCommand::LogRefutedClaim { .. } => self.mark("claims refuted later"),
                DispatchCommand::CheckResult { attempt, .. } => {
                    self.mark("result waited for its marker");
                    if holder(*attempt).is_some_and(|session| self.ended_sessions.contains(&session)) {
                        self.mark("result waited for its marker after the end of its session");
                    }
                }
                DispatchCommand::PublishStep { step: AttemptStep::Failed(reason), .. } => {
                    let is = |failure: AttemptFailure| *reason == failure.to_string();
                    self.mark(if is(AttemptFailure::Unconfirmed) {
                        "claims not confirmed"
                    } else if is(AttemptFailure::NameConflict) {
                        "names of claims taken"
                    } else {
                        "claims contradicted"
                    });
                }
                _ => {}
            }
        }
    }

    fn on_event(&mut self, step: &SimStep<'_>) {
        match *step.event {
            Event::TryStarted { group, trusted_only, .. } => {
                if trusted_only {
                    self.mark("proof for trusted workers started");
                }
                self.groups.insert(group);
                if self.groups.len() > 1 {
                    self.mark("proof of another group started");
                }
            }
            Event::ResultDelivered { session, attempt } if self.live_attempts.task_of(attempt).is_some() => {
                let late = self.live_attempts.holder(attempt) != Some(session);
                self.reported.entry(attempt).or_insert((late, session));
            }
            Event::ResultPassed { attempt } if step.commands.contains(&Command::Discard { attempt }) => {
                self.mark("marker missing");
            }
            Event::ResultRejected { attempt, .. } if step.commands.contains(&Command::Discard { attempt }) => {
                self.mark("result rejected");
            }
            Event::WorkerReady { session, ready: ReadyWorker { worker, ref holds, .. }, draining, .. } => {
                self.workers.insert(session, worker);
                let is_quarantined =
                    |command: &Command| matches!(command, Command::Quarantine { session: of, .. } if *of == session);
                if self.known_workers.insert(worker) && step.commands.iter().any(is_quarantined) {
                    self.mark("worker quarantined under a new name");
                }
                if draining {
                    self.draining.insert(session);
                }
                let refused =
                    |attempt: &AttemptId| step.commands.contains(&Command::Cancel { session, attempt: *attempt });
                if holds.iter().any(refused) {
                    self.mark("attempt not continued");
                }
            }
            Event::SessionEnded { session } => {
                self.ended_sessions.insert(session);
                self.draining.remove(&session);
            }
            Event::DrainRequested { session } => {
                self.draining.insert(session);
            }
            Event::FirstProverReady { .. } => self.mark("prover restarted"),
            Event::DrainCancelled { session } if self.draining.remove(&session) => self.mark("worker resumed"),
            Event::TryEnded { try_id } => {
                let at_work = step.commands.iter().any(|command| matches!(command, Command::Cancel { .. }));
                if at_work && step.outcomes.get(&try_id) == Some(&SimOutcome::Cancelled) {
                    self.mark("proof cancelled while attempts run");
                }
            }
            _ => {}
        }
        self.live_attempts.on_event(step.event, step.now);
    }

    /// Marks tasks that a worker started for an earlier orchestrator.
    fn on_resumable(&mut self, step: &SimStep<'_>) {
        let (session, resumable) = match step.event {
            Event::TaskSubmitted { task, resumable_on: Some(session), .. } => (session, std::slice::from_ref(task)),
            Event::WorkerReady { session, resumable_tasks, .. } => (session, &**resumable_tasks),
            _ => return,
        };
        for (at, command) in step.commands.iter().enumerate() {
            let Command::Assign { session: by, task, .. } = command else { continue };
            if by == session && resumable.contains(task) {
                let of_task = |command: &Command| matches!(command, Command::Cancel { attempt, session: other } if other != by && self.live_attempts.task_of(*attempt) == Some(*task));
                let stolen = step.commands[..at].iter().any(of_task);
                self.mark(if stolen {
                    "resumable task stolen by its worker"
                } else {
                    "resumable task assigned to its worker"
                });
            }
        }
    }

    /// `before` are the earlier commands of the same step.
    fn on_command(&mut self, command: &Command, before: &[Command], step: &SimStep<'_>) {
        match *command {
            Command::Assign { session, attempt, task, .. } => self.on_assign(session, attempt, task, before, step),
            Command::Continue { session, attempt } => self.on_continue(session, attempt, before),
            Command::AcceptResult { task, attempt, session, .. } => self.on_accept(task, attempt, session, step),
            Command::CompleteMarker { .. } => self.mark("marker completed"),
            Command::FailTry { try_id, task, ref history, .. } => {
                if history.last().is_some_and(|past| past.reason.is_out_of_memory()) {
                    return self.mark("proof failed for lack of memory");
                }
                let losses = history.iter().filter(|past| past.reason == AttemptEndReason::WorkerLost).count();
                let lost = losses >= usize::try_from(step.config.max_losses).unwrap_or(usize::MAX);
                self.mark(if lost { "proof failed after losses" } else { "proof failed after failures" });
                let of_plan = step.plan.tasks.get(&task).filter(|task| task.try_id == try_id);
                if !lost && of_plan.is_some_and(|task| task.poison) {
                    self.mark("proof failed for its poison task");
                }
            }
            Command::Quarantine { session, kinds, .. } => {
                let again = kinds.iter().filter(|kind| self.end_probation(session, *kind)).count() > 0;
                self.mark(if again { "worker quarantined again on probation" } else { "worker quarantined" });
            }
            Command::Probation { session, kinds } => {
                let worker = self.workers.get(&session).copied();
                self.probation
                    .extend(worker.into_iter().flat_map(|worker| kinds.iter().map(move |kind| (worker, kind))));
                self.mark("worker on probation");
            }
            Command::WorkerDrained { .. } => self.mark("worker drained"),
            Command::EndSession { session } => {
                self.ended_sessions.insert(session);
                self.draining.remove(&session);
                let worker = self.workers.get(&session).copied();
                let replaced = matches!(step.event, Event::WorkerReady { ready, .. } if worker == Some(ready.worker));
                self.mark(if replaced { "session replaced by a newer one" } else { "session expired" });
            }
            Command::Cancel { .. } | Command::Discard { .. } => {}
        }
    }

    fn on_assign(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        task: TaskId,
        before: &[Command],
        step: &SimStep<'_>,
    ) {
        let history = step.scheduler.task_history(task);
        let overdue = |attempt: AttemptId| {
            history.iter().any(|past| past.attempt == attempt && past.reason == AttemptEndReason::Overdue)
        };
        let other = self.live_attempts.of_task(task).find(|other| !overdue(*other));
        if let Some(other) = other {
            self.speculative.insert(task, (other, attempt));
            self.mark("speculative attempt started");
            return;
        }
        let failed = |past: &PastAttempt| match past.reason {
            AttemptEndReason::Failed(AttemptFailure::Worker { kind, .. }) => kind != FailureKind::OutOfMemory,
            AttemptEndReason::Failed(AttemptFailure::Rejected(_)) | AttemptEndReason::Overdue => true,
            _ => false,
        };
        if history.iter().any(|past| failed(past) && past.session == session) {
            self.mark("task assigned again to a worker that failed it");
        }
        match history.last().map(|past| &past.reason) {
            Some(AttemptEndReason::WorkerLost) => self.mark("task requeued"),
            Some(end) if end.is_unsupported() => self.mark("unsupported task passed on"),
            Some(reason) if reason.is_out_of_memory() => self.mark("task assigned again after it ran out of memory"),
            Some(AttemptEndReason::Failed(_)) => self.mark("task retried"),
            Some(AttemptEndReason::Overdue) => self.mark("attempt overdue"),
            Some(AttemptEndReason::CheckDelayed) => self.mark("check delayed"),
            Some(AttemptEndReason::NeverStarted) => self.mark("attempt never started"),
            Some(AttemptEndReason::TakenBack) => {
                let taken_back = |command: &Command| matches!(*command, Command::Cancel { attempt, .. } if self.live_attempts.task_of(attempt) == Some(task));
                // A `Discard` of an older attempt may be between the `Cancel` and this `Assign`.
                let stolen = before.iter().rev().take(2).any(taken_back)
                    && !matches!(step.event, Event::DrainRequested { .. })
                    && !before.iter().any(|command| matches!(command, Command::Quarantine { .. }));
                self.mark(if stolen { "task stolen" } else { "waiting attempt taken back" });
            }
            None => {}
        }
    }

    fn on_continue(&mut self, session: SessionId, attempt: AttemptId, before: &[Command]) {
        self.mark("attempt continued");
        let task = self.live_attempts.task_of(attempt);
        let of_task = |command: &Command| {
            matches!(*command, Command::Cancel { attempt: other, session: by }
                if by != session && other != attempt && self.live_attempts.task_of(other) == task)
        };
        let in_place = before.iter().any(of_task);
        let beside = task.is_some_and(|task| self.live_attempts.of_task(task).next().is_some());
        if in_place {
            self.mark("attempt continued in place of another");
        } else if beside {
            self.mark("attempt continued beside another");
        }
    }

    /// Ends the probation of the worker of `session` for `kind`. Returns false if it was not on probation.
    fn end_probation(&mut self, session: SessionId, kind: TaskKind) -> bool {
        self.workers.get(&session).is_some_and(|worker| self.probation.remove(&(*worker, kind)))
    }

    fn on_accept(&mut self, task: TaskId, attempt: AttemptId, session: SessionId, step: &SimStep<'_>) {
        if self.end_probation(session, step.plan.tasks[&task].kind) {
            self.mark("probation passed");
        }
        match self.speculative.get(&task) {
            Some((original, _)) if *original == attempt => self.mark("original attempt won"),
            Some((_, copy)) if *copy == attempt => self.mark("speculative attempt won"),
            _ => {}
        }
        let overdue = |past: &PastAttempt| past.attempt == attempt && past.reason == AttemptEndReason::Overdue;
        if step.scheduler.task_history(task).iter().any(overdue) {
            self.mark("overdue attempt accepted");
        }
        if let Some((late, reporter)) = self.reported.get(&attempt).copied()
            && late
        {
            self.mark("late report accepted");
            if self.ended_sessions.contains(&reporter) {
                self.mark("result of an ended session accepted");
            }
        }
    }
}
