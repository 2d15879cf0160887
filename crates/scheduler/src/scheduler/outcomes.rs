//! What happens to a task when one of its attempts has ended.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, PastAttempt, PeerId, TaskId, Timestamp,
    attempt::State,
    task::{Counts, MAX_LAPSED, Place, Task},
};
use std::mem;

impl Scheduler {
    /// Makes the result of `id` final and ends the other attempts of its task.
    pub(super) fn accept(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let attempt = self.attempt_mut(id);
        attempt.state = State::Accepted;
        let (worker, task, peer) = (attempt.worker, attempt.task, attempt.peer);
        self.learn(id);
        self.praise(peer);
        commands.push(Command::AcceptResult { proof: self.task(task).proof, task, attempt: id, worker });
        self.leave_queue(task);
        for other in self.task(task).attempts.clone() {
            if other != id {
                self.end_attempt(other, commands);
            }
        }
        let entry = self.task_mut(task);
        (entry.place, entry.spare) = (Place::Accepted(id), None);
        self.open_tasks -= 1;
        self.memory_bound.remove(&task);
    }

    /// Ends the live attempt `id`. Its result still counts if it arrives. Forgets the oldest lapsed attempt of the task
    /// if there are too many.
    pub(super) fn lapse(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        self.release(id);
        let attempt = self.attempt_mut(id);
        attempt.state = State::Lapsed;
        let task = attempt.task;
        let others = self.task(task).attempts.iter().filter(|other| **other != id);
        let mut lapsed = others.filter(|other| self.attempt(**other).state == State::Lapsed);
        let oldest = lapsed.next().copied();
        if let Some(oldest) = oldest
            && lapsed.count() + 1 >= MAX_LAPSED
        {
            self.end_attempt(oldest, commands);
        }
    }

    /// Continues `task` after a failed attempt or a rejected result: another worker gets it, or it has failed for good.
    pub(super) fn retry(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.go_on_after(task, past, Task::count_failure, commands);
    }

    /// Continues `task` after its attempt was overdue or never started: another worker gets it, or it has failed for
    /// good.
    pub(super) fn replace_overdue(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.go_on_after(task, past, Task::count_loss, commands);
    }

    /// Continues `task` after its worker was lost: another worker gets it, or it has failed for good.
    pub(super) fn requeue(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.go_on_after(task, past, Task::count_loss, commands);
    }

    fn go_on_after(
        &mut self,
        id: TaskId,
        past: PastAttempt,
        count: impl FnOnce(&mut Task, PeerId),
        commands: &mut Vec<Command>,
    ) {
        let task = self.task_mut(id);
        count(task, past.peer);
        task.record(past);
        self.go_on(id, commands);
    }

    /// Continues `task` after its attempt `id` ended for a reason that counts neither as a failure nor as a loss.
    pub(super) fn leave(&mut self, task: TaskId, id: AttemptId, commands: &mut Vec<Command>) {
        let entry = self.task_mut(task);
        if entry.spare == Some(id) {
            entry.spare = None;
        } else if entry.place == Place::Held(id) {
            self.go_on(task, commands);
        }
    }

    /// Returns the history entry for `id`, which ends now.
    pub(super) fn past(&self, id: AttemptId, failure: Failure) -> PastAttempt {
        let attempt = self.attempt(id);
        let duration = self.clock.now().saturating_since(attempt.assigned);
        PastAttempt { attempt: id, worker: attempt.worker, peer: attempt.peer, duration, failure }
    }

    /// Returns true if `task` failed on enough workers, was lost with enough workers, or needs more memory than every
    /// connected worker has.
    pub(super) fn has_failed_for_good(&self, task: &Task) -> bool {
        let is_spent = |counts: &Counts, most: u32| {
            let enough = counts.distinct() >= usize::try_from(most).unwrap_or(usize::MAX);
            enough || counts.total() >= most && self.workers.all_excluded(task.kind, &task.excluded)
        };
        is_spent(task.failures(), self.config.max_failures)
            || is_spent(task.losses(), self.config.max_losses)
            || self.lacks_memory(task)
    }

    /// Returns true if `task` ran out of memory and no connected worker has more.
    pub(super) fn lacks_memory(&self, task: &Task) -> bool {
        task.excluded.by_memory().is_some() && self.workers.all_excluded(task.kind, &task.excluded.lasting())
    }

    /// Fails the proofs of tasks that have waited too long for a worker with more memory.
    ///
    /// A wait starts when a task is in the queue and no connected worker has enough memory for it. It ends when the
    /// task leaves the queue or such a worker joins. Time in the queue for a busy larger worker does not count, because
    /// that worker may return within seconds after it was lost.
    pub(super) fn expire_memory_waits(&mut self, commands: &mut Vec<Command>) {
        let now = self.clock.attended_time();
        let earlier = mem::take(&mut self.memory_waits);
        self.memory_waits =
            self.lacking_memory().map(|task| (task, earlier.get(&task).copied().unwrap_or(now))).collect();
        let is_over = |since: Timestamp| now.saturating_since(since) >= self.config.patience;
        let over = self.memory_waits.iter().filter(|(_, since)| is_over(**since)).map(|(task, _)| *task);
        for task in over.collect::<Vec<_>>() {
            self.fail_proof(task, commands);
        }
        // The tasks of failed proofs wait no more.
        let tasks = &self.tasks;
        self.memory_waits.retain(|task, _| matches!(tasks[task].place, Place::Waiting { .. }));
    }

    /// Returns the waiting tasks for which [`Self::lacks_memory`] is true.
    fn lacking_memory(&self) -> impl Iterator<Item = TaskId> {
        // Looking at every worker is worthwhile only if a task ran out of memory.
        let largest = if self.memory_bound.is_empty() { None } else { Some(self.workers.largest_memory()) };
        self.memory_bound.iter().copied().filter(move |id| {
            let Task { kind, excluded, place, .. } = self.task(*id);
            let largest = largest.and_then(|largest| largest[kind.index()]);
            matches!(place, Place::Waiting { .. }) && largest.is_none_or(|bytes| excluded.is_too_small(bytes))
        })
    }

    /// Continues task `id` after an attempt ran out of memory on a worker with `memory_bytes`: a worker with more
    /// memory gets it, or it has failed for good.
    pub(super) fn retry_with_more_memory(
        &mut self,
        id: TaskId,
        past: PastAttempt,
        memory_bytes: u64,
        commands: &mut Vec<Command>,
    ) {
        self.memory_bound.insert(id);
        let task = self.task_mut(id);
        task.excluded.add_memory(memory_bytes);
        task.record(past);
        self.go_on(id, commands);
    }

    /// Continues task `id` after it lost the attempt that it relied on. It relies on its second attempt, waits for a
    /// new one, or has failed for good.
    fn go_on(&mut self, id: TaskId, commands: &mut Vec<Command>) {
        let task = self.task(id);
        if self.has_failed_for_good(task) {
            let blamed = task.blamed.clone();
            self.fail_proof(id, commands);
            // A task that fails everywhere is not the fault of its workers.
            blamed.into_iter().for_each(|(peer, faults)| self.peers.pardon(peer, faults));
        }
        let spare = self.task(id).spare.filter(|spare| !self.attempt(*spare).overdue);
        if self.proof_of(self.task(id)).failed {
            self.task_mut(id).place = Place::Shelved;
        } else if let Some(spare) = spare {
            let task = self.task_mut(id);
            (task.place, task.spare) = (Place::Held(spare), None);
            // It may become a straggler again.
            self.watch(spare);
        } else {
            self.task_mut(id).place = Place::Waiting { since: self.clock.now() };
            self.enqueue(id);
        }
    }
}
