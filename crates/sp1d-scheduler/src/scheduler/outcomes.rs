//! What happens to a task when the result of an attempt is accepted, or when an attempt fails or loses its slot.

use super::state_machine::Scheduler;
use crate::{
    AttemptEndReason, AttemptId, Command, PastAttempt, TaskId, Timestamp, WorkerId,
    tasks::{AttemptState, CountedWorker, MAX_LAPSED, ScheduledTask, TaskState, WorkerCounts},
    workers::{KnownWorker, WorkerFault},
};
use std::{collections::BTreeMap, mem};

/// The fault of a worker whose report that a task ran out of memory is not plausible.
const SMALLER_WORKER_PROVED: &str = "it ran out of memory at a task that a worker with less memory has proven";

impl Scheduler {
    /// Makes the result of `id` final and ends the other attempts of its task.
    pub(super) fn accept(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let attempt = self.attempt_mut(id);
        attempt.state = AttemptState::Accepted;
        let (session, task, worker) = (attempt.session, attempt.task, attempt.worker);
        self.learn(id);
        self.record_success(worker, self.attempt(id).kind);
        commands.push(Command::AcceptResult { try_id: self.task(task).try_id, task, attempt: id, session });
        self.leave_queue(task);
        for other in self.task(task).attempts.clone() {
            if other != id {
                self.end_attempt(other, commands);
            }
        }
        let scheduled = self.task_mut(task);
        (scheduled.state, scheduled.second_live) = (TaskState::Accepted(id), None);
        self.open_tasks -= 1;
        self.tasks_excluding_by_memory.remove(&task);
        self.record_refuted_memory(id, commands);
    }

    /// Records a fault of each worker that ran out of memory at the task of `id`, although it has more memory than the
    /// worker that has now proven the task.
    fn record_refuted_memory(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let attempt = self.attempt(id);
        let (kind, scheduled) = (attempt.kind, self.task(attempt.task));
        let Some(found) = self.sessions.get(attempt.session) else { return };
        let refuted: Vec<WorkerId> = scheduled.memory_claims().above(found.comparable_bytes()).collect();
        for worker in refuted {
            self.record_fault(worker, kind, WorkerFault::Failed, SMALLER_WORKER_PROVED, commands);
        }
    }

    /// Frees the slot of the live attempt `id`. Keeps the attempt, because its result may still arrive. Ends the oldest
    /// lapsed attempt of the task if there are too many.
    pub(super) fn lapse(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        self.free_slot(id);
        let attempt = self.attempt_mut(id);
        attempt.state = AttemptState::Lapsed;
        let task = attempt.task;
        let others = self.task(task).attempts.iter().filter(|other| **other != id);
        let mut lapsed = others.filter(|other| self.attempt(**other).state == AttemptState::Lapsed);
        let oldest = lapsed.next().copied();
        if let Some(oldest) = oldest
            && lapsed.count() + 1 >= MAX_LAPSED
        {
            self.end_attempt(oldest, commands);
        }
    }

    /// Counts a failed attempt of `task` or a rejected result, and retries the task, unless it has failed for good.
    pub(super) fn retry_after_failure(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.retry_after(task, past, ScheduledTask::count_failure, commands);
    }

    /// Counts a loss of `task`, and retries the task, unless it has failed for good. Its worker was lost, or its
    /// attempt was overdue or never started.
    pub(super) fn retry_after_loss(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.retry_after(task, past, ScheduledTask::count_loss, commands);
    }

    /// Counts a refusal of `task`, and retries the task, unless it has failed for good. Its worker reported that it
    /// does not support the task.
    pub(super) fn retry_after_refusal(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.retry_after(task, past, ScheduledTask::count_refusal, commands);
    }

    /// Returns `worker` with its origin, for the counts of a task.
    pub(super) fn with_origin(&self, worker: WorkerId) -> CountedWorker {
        CountedWorker { id: worker, origin: self.workers.get(worker).map(KnownWorker::origin) }
    }

    /// Updates `max_excluded_workers`, because `task` may exclude one more worker.
    pub(super) fn update_max_excluded(&mut self, task: TaskId) {
        self.max_excluded_workers = self.max_excluded_workers.max(self.task(task).excluded.workers().len());
    }

    fn retry_after(
        &mut self,
        task: TaskId,
        past: PastAttempt,
        count: impl FnOnce(&mut ScheduledTask, CountedWorker),
        commands: &mut Vec<Command>,
    ) {
        let worker = self.with_origin(past.worker);
        let scheduled = self.task_mut(task);
        count(scheduled, worker);
        scheduled.add_to_history(past);
        self.update_max_excluded(task);
        self.retry_task(task, commands);
    }

    /// Retries `task` if it relied on its attempt `id`, which has lost its slot for a reason that counts neither as a
    /// failure nor as a loss.
    pub(super) fn retry_uncounted(&mut self, task: TaskId, id: AttemptId, commands: &mut Vec<Command>) {
        let scheduled = self.task_mut(task);
        if scheduled.second_live == Some(id) {
            scheduled.second_live = None;
        } else if scheduled.state == TaskState::Held(id) {
            self.retry_task(task, commands);
        }
    }

    /// Returns the history entry for `id`. Its task stops waiting for it now, because of `reason`.
    pub(super) fn history_entry(&self, id: AttemptId, reason: impl Into<AttemptEndReason>) -> PastAttempt {
        let attempt = self.attempt(id);
        let duration = self.clock.now().saturating_since(attempt.assigned);
        PastAttempt { attempt: id, session: attempt.session, worker: attempt.worker, duration, reason: reason.into() }
    }

    /// Returns true if `task` has failed for good and its try has failed. A task that reaches a limit fails for good at
    /// its next retry.
    pub(super) fn has_failed_for_good(&self, task: TaskId) -> bool {
        let scheduled = self.task(task);
        self.try_of(scheduled).failed && (self.has_reached_limit(scheduled) || self.lacks_memory(scheduled))
    }

    /// Returns true if `task` has reached a limit: it failed on workers of enough origins, or was lost with workers of
    /// enough origins. If it excludes every worker, the same numbers of failures, losses or refusals in total are
    /// enough.
    fn has_reached_limit(&self, task: &ScheduledTask) -> bool {
        let is_spent = |counts: &WorkerCounts, max: u32| {
            let enough = counts.distinct() >= usize::try_from(max).unwrap_or(usize::MAX);
            enough || counts.total() >= max && self.sessions.all_excluded(task.kind, &task.excluded)
        };
        // A refusal says nothing about other workers, so any number of them may refuse while one is left.
        let is_refused = task.refusals().total() >= self.config.max_failures
            && self.sessions.all_excluded(task.kind, &task.excluded);
        is_refused
            || is_spent(task.failures(), self.config.max_failures)
            || is_spent(task.losses(), self.config.max_losses)
    }

    /// Returns true if `task` ran out of memory or is too large for small workers, and no ready worker is larger. A
    /// task that is only for trusted workers does not lack memory while it waits for the first of them.
    pub(super) fn lacks_memory(&self, task: &ScheduledTask) -> bool {
        let excluded = &task.excluded;
        let waits_for_trust =
            || excluded.is_trusted_only() && self.sessions.all_excluded(task.kind, &excluded.by_trust());
        let excludes_all = || self.sessions.all_excluded(task.kind, &excluded.lasting());
        excluded.excludes_by_memory() && excludes_all() && !waits_for_trust()
    }

    /// Fails the tries of tasks that have waited too long for a worker with more memory.
    ///
    /// A wait starts when a task is in the queue and no ready worker has enough memory for it. It ends when the
    /// task leaves the queue or such a worker is ready. Time that the task spends in the queue for a larger worker that
    /// is full does not count. So if that worker is lost, it has the whole patience to return.
    pub(super) fn expire_memory_waits(&mut self, commands: &mut Vec<Command>) {
        let now = self.clock.attended_time();
        // Most events, for example renewals of leases, change nothing here.
        if mem::take(&mut self.memory_waits_are_stale) {
            let earlier = mem::take(&mut self.memory_waits);
            self.memory_waits =
                self.lacking_memory().map(|task| (task, earlier.get(&task).copied().unwrap_or(now))).collect();
        }
        let is_over = |since: Timestamp| now.saturating_since(since) >= self.config.memory_patience;
        let over = self.memory_waits.iter().filter(|(_, since)| is_over(**since)).map(|(task, _)| *task);
        for task in over.collect::<Vec<_>>() {
            if self.drop_unconfirmed_memory(task) {
                self.memory_waits.remove(&task);
            } else {
                self.fail_try(task, true, commands);
            }
        }
        // The tasks of failed tries wait no more.
        let tasks = &self.tasks;
        self.memory_waits.retain(|task, _| matches!(tasks[task].state, TaskState::Waiting { .. }));
    }

    /// Returns the waiting tasks for which [`Self::lacks_memory`] is true.
    fn lacking_memory(&self) -> impl Iterator<Item = TaskId> {
        // Looking at every worker is worthwhile only once for all tasks with the same exclusions by memory.
        let mut found = BTreeMap::new();
        self.tasks_excluding_by_memory.iter().copied().filter(move |task| {
            let scheduled = self.task(*task);
            let mut lacks = || {
                *found
                    .entry((scheduled.kind, scheduled.excluded.lasting()))
                    .or_insert_with(|| self.lacks_memory(scheduled))
            };
            matches!(scheduled.state, TaskState::Waiting { .. }) && lacks()
        })
    }

    /// Retries `task` after an attempt ran out of memory on a worker with `comparable_bytes`: only a worker with more
    /// memory gets it. If no such worker is ready, a worker of another origin must confirm that its memory is too
    /// little. If all workers have one origin, the task has failed for good.
    pub(super) fn retry_with_more_memory(
        &mut self,
        task: TaskId,
        past: PastAttempt,
        comparable_bytes: u64,
        commands: &mut Vec<Command>,
    ) {
        let counted = self.with_origin(past.worker);
        self.tasks_excluding_by_memory.insert(task);
        let scheduled = self.task_mut(task);
        scheduled.count_memory_claim(counted, comparable_bytes);
        scheduled.add_to_history(past);
        self.retry_task(task, commands);
    }

    /// Drops what the workers of only one origin say about the memory that `task` needs, if a worker of another origin
    /// is available, and keeps the task away from that one origin. Returns false, and changes nothing, if no such
    /// worker is available. Without this, one worker could fail every proof by reporting that each task ran out of
    /// memory.
    pub(super) fn drop_unconfirmed_memory(&mut self, task: TaskId) -> bool {
        let scheduled = self.task(task);
        if scheduled.memory_claims().is_empty() || self.try_of(scheduled).failed {
            return false;
        }
        let mut excluded = scheduled.excluded.clone();
        excluded.set_memory(scheduled.memory_claims().confirmed_bytes());
        for session in self.sessions.iter() {
            let worker = session.worker();
            if scheduled.memory_claims().concern(worker, self.with_origin(worker).origin, session.comparable_bytes()) {
                excluded.set_claimant(worker, true);
            }
        }
        // A worker that has failed at the task may prove it after all.
        if self.sessions.available_are_excluded(scheduled.kind, &excluded.lasting()) {
            return false;
        }
        self.change_exclusions(task, |scheduled| scheduled.excluded = excluded);
        true
    }

    /// Keeps `worker`, which has just become ready with `bytes` of memory, away from the tasks that ran out of memory
    /// on it or on workers of its origin. Lets it have those for which it has more memory now.
    pub(super) fn exclude_from_claimed_tasks(&mut self, worker: WorkerId, bytes: u64) {
        let origin = self.with_origin(worker).origin;
        for task in self.tasks_excluding_by_memory.clone() {
            let scheduled = self.task(task);
            if !scheduled.memory_claims().is_empty() {
                let is_claimant = scheduled.memory_claims().concern(worker, origin, bytes);
                self.change_exclusions(task, |scheduled| scheduled.excluded.set_claimant(worker, is_claimant));
                // The last claimant may have returned with more memory.
                if !self.task(task).excluded.excludes_by_memory() {
                    self.tasks_excluding_by_memory.remove(&task);
                }
            }
        }
    }

    /// Retries `task`, which lost the attempt that it relied on. The task now relies on its other live attempt, or
    /// waits for a new one. If it has failed for good, its try fails.
    pub(super) fn retry_task(&mut self, task: TaskId, commands: &mut Vec<Command>) {
        if self.lacks_memory(self.task(task)) {
            self.drop_unconfirmed_memory(task);
        }
        let scheduled = self.task(task);
        let has_reached_limit = self.has_reached_limit(scheduled);
        if has_reached_limit || self.lacks_memory(scheduled) {
            self.fail_try(task, !has_reached_limit, commands);
            // A task that fails everywhere is not the fault of its workers.
            let scheduled = self.task_mut(task);
            let (kind, recorded) = (scheduled.kind, mem::take(&mut scheduled.recorded_faults));
            for (worker, faults) in recorded {
                self.workers.forgive(worker, kind, task, faults);
            }
        }
        let other = self.task(task).second_live.filter(|other| !self.attempt(*other).overdue);
        if self.try_of(self.task(task)).failed {
            self.task_mut(task).state = TaskState::TryFailed;
        } else if let Some(other) = other {
            let scheduled = self.task_mut(task);
            (scheduled.state, scheduled.second_live) = (TaskState::Held(other), None);
            if self.attempt(other).is_started() {
                // It may become a straggler again.
                self.start_watching(other);
            } else {
                self.update_stealable(other);
            }
        } else {
            self.task_mut(task).state = TaskState::Waiting { since: self.clock.now() };
            self.enqueue(task);
        }
    }
}
