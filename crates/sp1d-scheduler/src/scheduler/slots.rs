//! Gives tasks to free slots, and takes them back.

use super::state_machine::Scheduler;
use crate::{
    AttemptEndReason, AttemptId, Command, KindSet, Placement, SessionId, TaskId,
    placement::{AttemptProgress, FreedWorker, PlacementInputs},
    tasks::{AttemptState, Loss, ScheduledAttempt, ScheduledTask, TaskState},
};
use std::cmp::Reverse;

impl Scheduler {
    /// Assigns tasks until no free slot can be used. Event handlers that free a slot or queue a task rely on this and
    /// need not assign tasks themselves.
    pub(super) fn fill_slots(&mut self, freed_worker: Option<FreedWorker>, commands: &mut Vec<Command>) {
        loop {
            let placement_inputs = PlacementInputs { freed_worker, ..self.placement_inputs() };
            if let Some((task, session)) = placement_inputs.next_assignment() {
                self.leave_queue(task);
                self.assign(task, session, commands);
            } else if let Some((attempt, session)) = placement_inputs.next_steal() {
                // Each steal leaves one idle worker less, so the loop ends. The slot that it frees may suit a waiting
                // task.
                self.steal(attempt, session, commands);
            } else if let Some((attempt, session)) = self.next_speculative().or_else(|| self.next_overtaken()) {
                self.start_speculative(attempt, session, commands);
                // The speculative attempt uses one more worker, so the plan must include it.
                self.pack_plans.update(&self.queue, &self.sessions, AttemptId(self.attempts_assigned));
            } else {
                return;
            }
        }
    }

    /// Returns the data for the next choice, without a worker that has just finished an attempt.
    pub(super) fn placement_inputs(&self) -> PlacementInputs<'_> {
        PlacementInputs {
            queue: &self.queue,
            stealable: &self.stealable,
            sessions: &self.sessions,
            pack_plans: match self.config.placement {
                Placement::Spread => None,
                Placement::Pack => Some(&self.pack_plans),
            },
            freed_worker: None,
            excludes_fewer_than: self.excludes_fewer_than(),
            progress: self
                .config
                .pace
                .map(|_| AttemptProgress { attempts: &self.attempts, now: self.clock.lease_time() }),
        }
    }

    /// Returns a number that is larger than the number of workers that any task excludes, or has excluded.
    fn excludes_fewer_than(&self) -> usize {
        // Exclusions by memory or trust can exclude any number of workers.
        if !self.tasks_excluding_by_memory.is_empty() || self.tries.values().any(|running| running.trusted_only) {
            return usize::MAX;
        }
        self.max_excluded_workers + 1
    }

    /// Assigns a task that is not in the queue to a worker with a free slot.
    pub(super) fn assign(&mut self, task: TaskId, session: SessionId, commands: &mut Vec<Command>) {
        self.attempts_assigned += 1;
        let attempt = AttemptId(self.attempts_assigned);
        let state = AttemptState::Held { started: None };
        let (assigned, worker) =
            (self.clock.now(), self.sessions.get(session).expect("a chosen worker is ready").worker());
        let scheduled = self.task_mut(task);
        scheduled.attempts.insert(attempt);
        scheduled.state = TaskState::Held(attempt);
        let (try_id, kind) = (scheduled.try_id, scheduled.kind);
        let assignment = ScheduledAttempt {
            task,
            kind,
            session,
            worker,
            assigned,
            proving_since: None,
            overdue: false,
            failed: false,
            lost: Loss::None,
            resumed: false,
            took: None,
            state,
        };
        self.attempts.insert(attempt, assignment);
        self.take_slot(session, attempt);
        self.update_stealable_of(session, attempt);
        commands.push(Command::Assign { session, attempt, try_id, task, kind });
    }

    /// Takes back attempt `id`, which has not started, and assigns its task to `session`.
    fn steal(&mut self, id: AttemptId, session: SessionId, commands: &mut Vec<Command>) {
        let attempt = self.attempt(id);
        let (task, holder) = (attempt.task, attempt.session);
        commands.push(Command::Cancel { session: holder, attempt: id });
        let past = self.history_entry(id, AttemptEndReason::TakenBack);
        self.task_mut(task).add_to_history(past);
        self.lapse(id, commands);
        self.assign(task, session, commands);
    }

    /// Takes back the attempts of `session` at tasks of `kinds` that have not started. The tasks wait, or go to other
    /// workers.
    pub(super) fn take_back_waiting(&mut self, session: SessionId, kinds: KindSet, commands: &mut Vec<Command>) {
        let Some(held) = self.sessions.get(session).map(|found| found.held().clone()) else { return };
        let waiting = |id: &AttemptId| {
            let attempt = self.attempt(*id);
            attempt.state == AttemptState::Held { started: None } && kinds.contains(attempt.kind)
        };
        for id in held.into_iter().filter(waiting).collect::<Vec<_>>() {
            commands.push(Command::Cancel { session, attempt: id });
            let past = self.history_entry(id, AttemptEndReason::TakenBack);
            let task = self.attempt(id).task;
            self.task_mut(task).add_to_history(past);
            self.lapse(id, commands);
            self.retry_uncounted(task, id, commands);
        }
    }

    /// Assigns `task`, if no worker has started it since, to `session`, which started it before the orchestrator
    /// restarted.
    pub(super) fn resume_task(&mut self, task: TaskId, session: SessionId, commands: &mut Vec<Command>) {
        let (Some(scheduled), Some(found)) = (self.tasks.get(&task), self.sessions.get(session)) else { return };
        let may = found.has_free_slot(scheduled.kind) && self.sessions.is_available(session, scheduled.kind);
        if !may || self.sessions.is_excluded(session, &scheduled.excluded) {
            return;
        }
        match scheduled.state {
            TaskState::Waiting { .. } => {
                self.leave_queue(task);
                self.assign(task, session, commands);
            }
            TaskState::Held(attempt) if self.is_stealable(attempt) && self.attempt(attempt).session != session => {
                self.steal(attempt, session, commands);
            }
            TaskState::Held(_) | TaskState::Verifying(_) | TaskState::TryFailed | TaskState::Accepted(_) => return,
        }
        let attempt = AttemptId(self.attempts_assigned);
        self.attempt_mut(attempt).resumed = true;
        self.update_stealable(attempt);
    }

    /// Puts an existing attempt into a slot of `session`.
    pub(super) fn take_slot(&mut self, session: SessionId, id: AttemptId) {
        let ScheduledAttempt { task, kind, .. } = *self.attempt(id);
        self.queue.add_held(self.task(task).rank, id);
        self.sessions.take_slot(session, id, kind);
        self.update_start_deadline(session);
    }

    /// Frees the slot of a live attempt. The caller changes the attempt's state.
    pub(super) fn free_slot(&mut self, id: AttemptId) {
        let ScheduledAttempt { task, kind, session, overdue, .. } = *self.attempt(id);
        if !overdue {
            self.queue.remove_held(self.task(task).rank);
        }
        self.remove_stealable(id, task);
        self.watch.end(id);
        self.sessions.free_slot(session, id, kind);
        self.update_start_deadline(session);
        self.update_stealable_of(session, id);
    }

    /// Updates the start deadline of `session`. It has one while it holds attempts and has started none of them.
    pub(super) fn update_start_deadline(&mut self, session: SessionId) {
        let found = self.sessions.get(session).expect("live attempts are on ready workers");
        let is_started = |id: &AttemptId| self.attempt(*id).is_started();
        let waits = !found.held().is_empty() && !found.held().iter().any(is_started);
        match (waits, found.start_deadline()) {
            (true, None) => {
                let deadline = self.clock.lease_time() + self.config.max_start_delay;
                self.sessions.set_start_deadline(session, Some(deadline));
            }
            (false, Some(_)) => self.sessions.set_start_deadline(session, None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    pub(super) fn enqueue(&mut self, task: TaskId) {
        let scheduled = self.tasks.get(&task).expect("the queue contains only known tasks");
        self.memory_waits_are_stale |= scheduled.excluded.excludes_by_memory();
        self.queue.insert(scheduled.kind, &scheduled.excluded, scheduled.rank);
    }

    /// Removes a task from the queue. Does nothing if the task is not in the queue.
    pub(super) fn leave_queue(&mut self, task: TaskId) {
        let scheduled = self.tasks.get(&task).expect("the queue contains only known tasks");
        self.memory_waits_are_stale |= scheduled.excluded.excludes_by_memory();
        self.queue.remove(scheduled.kind, &scheduled.excluded, scheduled.rank);
    }

    /// Changes which workers `task` excludes. The queue and the index of stealable attempts depend on that.
    pub(super) fn change_exclusions(&mut self, task: TaskId, change: impl FnOnce(&mut ScheduledTask)) {
        let state = self.task(task).state;
        match state {
            TaskState::Waiting { .. } => self.leave_queue(task),
            TaskState::Held(attempt) => self.remove_stealable(attempt, task),
            TaskState::Verifying(_) | TaskState::TryFailed | TaskState::Accepted(_) => {}
        }
        change(self.task_mut(task));
        match state {
            TaskState::Waiting { .. } => self.enqueue(task),
            TaskState::Held(attempt) => self.update_stealable(attempt),
            TaskState::Verifying(_) | TaskState::TryFailed | TaskState::Accepted(_) => {}
        }
    }

    /// Updates the index of stealable attempts after `session` got or lost `changed`.
    pub(super) fn update_stealable_of(&mut self, session: SessionId, changed: AttemptId) {
        let held = self.sessions.get(session).expect("live attempts are on ready workers").held();
        if held.len() <= 2 {
            // The number of attempts changed between one and two, which decides whether the other one is stealable.
            for attempt in held.clone() {
                self.update_stealable(attempt);
            }
        } else if held.contains(&changed) {
            self.update_stealable(changed);
        }
    }

    /// Updates the index of stealable attempts for one live attempt.
    pub(super) fn update_stealable(&mut self, id: AttemptId) {
        let task = self.attempt(id).task;
        if self.is_stealable(id) {
            let scheduled = self.tasks.get(&task).expect("attempts name only known tasks");
            self.stealable.insert(scheduled.kind, &scheduled.excluded, Reverse(id));
        } else {
            self.remove_stealable(id, task);
        }
    }

    fn remove_stealable(&mut self, id: AttemptId, task: TaskId) {
        let scheduled = self.tasks.get(&task).expect("attempts name only known tasks");
        self.stealable.remove(scheduled.kind, &scheduled.excluded, Reverse(id));
    }

    /// Returns true if `id` has not started, waits behind another attempt of its worker, and belongs to a task that
    /// relies on it and may still be assigned. Resumed attempts are not stealable.
    pub(super) fn is_stealable(&self, id: AttemptId) -> bool {
        let attempt = self.attempt(id);
        if attempt.state != (AttemptState::Held { started: None })
            || attempt.resumed
            || self.sessions.get(attempt.session).is_none_or(|session| session.held().len() < 2)
        {
            return false;
        }
        let task = self.task(attempt.task);
        task.state == TaskState::Held(id) && !self.try_of(task).failed
    }
}
