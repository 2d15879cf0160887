//! The duration of attempts, and what happens to slow ones.

use super::state_machine::Scheduler;
use crate::{
    AttemptEndReason, AttemptId, Command, KindSet, PaceRules, Placement, SessionId, TaskKind, Timestamp, WorkerId,
    queue::Exclusions,
    tasks::{AttemptState, TaskState},
    workers::ExpectedDuration,
};
use std::time::Duration;

impl Scheduler {
    /// Watches `id`, which has started proving.
    pub(super) fn start_watching(&mut self, id: AttemptId) {
        let now = self.clock.lease_time();
        let attempt = self.attempt_mut(id);
        let proving_since = *attempt.proving_since.get_or_insert(now);
        let (worker, kind) = (attempt.worker, attempt.kind);
        if let Some(rules) = self.config.pace {
            let expected = self.expected_duration(worker, kind);
            self.watch.start(id, kind, proving_since, expected, &rules);
        }
    }

    /// Returns how long a task of `kind` takes on `worker`.
    fn expected_duration(&self, worker: WorkerId, kind: TaskKind) -> ExpectedDuration {
        let of_worker = self.workers.get(worker).and_then(|known| known.paces.expected(kind));
        ExpectedDuration { of_worker, of_all: self.paces.expected(kind) }
    }

    /// Stores how long proving took when `id` delivers its result. `learn` uses it once the result is accepted.
    pub(super) fn note_duration(&mut self, id: AttemptId) {
        let now = self.clock.lease_time();
        let attempt = self.attempt_mut(id);
        if let (AttemptState::Held { started: Some(_) }, Some(proving_since), false) =
            (attempt.state, attempt.proving_since, attempt.resumed)
        {
            attempt.took = Some(now.saturating_since(proving_since));
        }
    }

    /// Updates the expected durations after the result of `id` was accepted.
    pub(super) fn learn(&mut self, id: AttemptId) {
        let Some(rules) = self.config.pace else { return };
        let attempt = self.attempt(id);
        let (kind, worker, session) = (attempt.kind, attempt.worker, attempt.session);
        let Some(took) = attempt.took else { return };
        let of_kind = self.paces.of_mut(kind);
        let first = of_kind.expected().is_none();
        of_kind.learn(took);
        if first {
            self.watch.predict(kind, took, &rules);
        }
        if let Some(expected) = self.workers.learn(worker, kind, took)
            && self.sessions.contains(session)
        {
            self.sessions.set_pace(session, kind, expected);
        }
    }

    /// Handles attempts that have run for too long.
    pub(super) fn expire_attempts(&mut self, commands: &mut Vec<Command>) {
        while let Some(id) = self.watch.first_overdue(self.clock.lease_time()) {
            self.watch.note_overdue(id);
            self.on_overdue(id, commands);
        }
        while let Some(id) = self.watch.first_to_cancel(self.clock.lease_time()) {
            self.cancel_overdue(id, commands);
        }
    }

    /// Gives the task of `id` to another worker. The attempt keeps its slot because its worker is still proving it, and
    /// its result counts if it is the first to verify. `cancel_overdue` bounds how long.
    fn on_overdue(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let past = self.history_entry(id, AttemptEndReason::Overdue);
        let attempt = self.attempt_mut(id);
        attempt.overdue = true;
        let (task, session, worker) = (attempt.task, attempt.session, attempt.worker);
        let reason = past.reason.to_string();
        // An attempt that hangs must not count in its try's fair share forever.
        self.queue.remove_held(self.task(task).rank);
        if self.task(task).state != TaskState::Held(id) {
            self.task_mut(task).add_to_history(past);
        } else if self.task(task).second_live.is_some() {
            // Both attempts of the task are slow. The other one started earlier and has come further, so this one is
            // cancelled.
            commands.push(Command::Cancel { session, attempt: id });
            self.lapse(id, commands);
            self.retry_after_loss(task, past, commands);
        } else {
            self.task_mut(task).second_live = Some(id);
            self.retry_after_loss(task, past, commands);
        }
        // Attempts that wait behind the overdue one would wait just as long.
        self.take_back_waiting(session, KindSet::all(), commands);
        self.record_slow_fault(task, worker, &reason, commands);
    }

    /// Cancels the overdue attempt `id`, which most likely hangs, so that its slot is free again. Its task waits, or
    /// relies on its other attempt. The loss was counted when the attempt became overdue.
    fn cancel_overdue(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let attempt = self.attempt(id);
        let (task, session) = (attempt.task, attempt.session);
        // An attempt that waits behind it would enter the same prover at once. The worker ends a prover that hangs only
        // while the prover holds no other attempt.
        self.take_back_waiting(session, KindSet::all(), commands);
        commands.push(Command::Cancel { session, attempt: id });
        self.lapse(id, commands);
        self.retry_uncounted(task, id, commands);
    }

    /// Handles workers that hold attempts and start none of them.
    pub(super) fn expire_start_deadlines(&mut self, commands: &mut Vec<Command>) {
        while let Some(session) = self.sessions.first_missed_start_deadline(self.clock.lease_time()) {
            self.on_never_started(session, commands);
        }
    }

    /// Cancels the oldest attempt of `session`, which holds attempts and starts none of them. The attempt lapses and
    /// counts as a loss.
    fn on_never_started(&mut self, session: SessionId, commands: &mut Vec<Command>) {
        let held = self.sessions.get(session).and_then(|found| found.held().first());
        let id = *held.expect("only a worker that holds attempts has a start deadline");
        let past = self.history_entry(id, AttemptEndReason::NeverStarted);
        let attempt = self.attempt(id);
        let (task, worker) = (attempt.task, attempt.worker);
        let reason = past.reason.to_string();
        commands.push(Command::Cancel { session, attempt: id });
        self.lapse(id, commands);
        let scheduled = self.task_mut(task);
        if scheduled.second_live == Some(id) {
            scheduled.second_live = None;
            scheduled.add_to_history(past);
        } else {
            self.retry_after_loss(task, past, commands);
        }
        self.take_back_waiting(session, KindSet::all(), commands);
        self.record_slow_fault(task, worker, &reason, commands);
    }

    /// Returns the oldest attempt of each worker that has started none of its attempts for longer than an attempt may
    /// run before it is a straggler. The inputs take long to arrive, or the worker does nothing.
    fn late_starts(&self) -> impl Iterator<Item = AttemptId> {
        let now = self.clock.lease_time();
        let rules = self.config.pace;
        let held_since = move |deadline: Timestamp| deadline - self.config.max_start_delay;
        let may_be_late =
            move |deadline: Timestamp| rules.is_some_and(|rules| held_since(deadline) + rules.straggler_floor <= now);
        let late = self.sessions.start_deadlines().take_while(move |(deadline, _)| may_be_late(*deadline));
        late.filter_map(move |(deadline, session)| {
            let id = *self.sessions.get(session)?.held().first()?;
            let attempt = self.attempt(id);
            let after = rules?.straggles_after(self.expected_duration(attempt.worker, attempt.kind).best()?);
            let has_waited = self.clock.now().saturating_since(attempt.assigned) >= after;
            (held_since(deadline) + after <= now && has_waited).then_some(id)
        })
    }

    /// Returns a straggler or an attempt that starts late, and the fastest idle worker that may take a speculative
    /// attempt of its task.
    pub(super) fn next_speculative(&self) -> Option<(AttemptId, SessionId)> {
        let idle = |id: &AttemptId| self.sessions.any_idle(self.attempt(*id).kind);
        let slow = self.watch.stragglers(self.clock.lease_time()).chain(self.late_starts());
        slow.filter(idle).find_map(|id| {
            let attempt = self.attempt(id);
            let task = self.task(attempt.task);
            let relies_on_it =
                task.state == TaskState::Held(id) && task.second_live.is_none() && !self.try_of(task).failed;
            let mut excluded = task.excluded.clone();
            excluded.add(attempt.worker);
            relies_on_it
                .then(|| self.sessions.fastest_idle(attempt.kind, &excluded))
                .flatten()
                .map(|session| (id, session))
        })
    }

    /// Returns an attempt on a slow worker, and an idle worker that would finish its task much earlier. Without this,
    /// the slowest worker of a mixed pool would decide when a proof ends. Not under [`Placement::Pack`], which leaves
    /// workers free.
    pub(super) fn next_overtaken(&self) -> Option<(AttemptId, SessionId)> {
        let rules = self.config.pace.filter(|_| self.config.placement == Placement::Spread)?;
        TaskKind::ALL.into_iter().filter(|kind| self.sessions.any_idle(*kind)).find_map(|kind| {
            let idle = self.sessions.fastest_idle(kind, &Exclusions::NONE)?;
            // The shortest duration at which enough can be saved.
            let pace = self.sessions.pace(idle, kind)?;
            let slow = self.sessions.slowest(kind, pace + pace.max(rules.straggler_floor) + rules.straggler_floor);
            slow.filter_map(|(pace, session)| Some((pace, self.sessions.get(session)?.held())))
                .flat_map(|(pace, held)| held.iter().map(move |id| (pace, *id)))
                .filter(|(_, id)| self.attempt(*id).kind == kind)
                .find_map(|(pace, id)| Some((id, self.overtaker(id, pace, &rules)?)))
        })
    }

    /// Returns the idle worker that would save at least half of the time that `id` still needs, and at least
    /// [`PaceRules::straggler_floor`]. `pace` is the expected duration of its task on its worker.
    fn overtaker(&self, id: AttemptId, pace: Duration, rules: &PaceRules) -> Option<SessionId> {
        let attempt = self.attempt(id);
        let task = self.task(attempt.task);
        let ran = self.clock.lease_time().saturating_since(attempt.proving_since?);
        let is_known = attempt.is_started() && !attempt.overdue && !attempt.resumed;
        let relies_on_it = task.state == TaskState::Held(id) && task.second_live.is_none() && !self.try_of(task).failed;
        if !is_known || !relies_on_it || ran < rules.straggler_floor {
            return None;
        }
        let mut excluded = task.excluded.clone();
        excluded.add(attempt.worker);
        let idle = self.sessions.fastest_idle(attempt.kind, &excluded)?;
        let needed = self.sessions.pace(idle, attempt.kind)?;
        let saved = pace.checked_sub(ran)?.checked_sub(needed)?;
        (saved >= needed.max(rules.straggler_floor)).then_some(idle)
    }

    /// Starts a speculative attempt of the task of `id` on `session`. The first of the two results that verifies
    /// counts.
    pub(super) fn start_speculative(&mut self, id: AttemptId, session: SessionId, commands: &mut Vec<Command>) {
        self.watch.end_straggling(id);
        let task = self.attempt(id).task;
        self.task_mut(task).second_live = Some(id);
        self.assign(task, session, commands);
        // If it has not started, the task no longer relies on it, and another idle worker must not take it.
        self.update_stealable(id);
    }
}
