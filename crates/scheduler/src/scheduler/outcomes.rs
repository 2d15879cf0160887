//! What becomes of a task when an attempt of it has ended.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, PastAttempt, PeerId, TaskId,
    attempt::State,
    task::{Counts, MAX_LAPSED, Place, Task},
};

impl Scheduler {
    /// The result of `id` is final: nothing else of its task is wanted.
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

    /// `id` is live no more, but its result counts if it comes.
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

    /// An attempt of `task` failed, or delivered what does not verify: another worker gets it, or it has failed for
    /// good.
    pub(super) fn retry(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.go_on_after(task, past, Task::count_failure, commands);
    }

    /// The attempt that `task` counted on takes for ever: another worker gets it, or it has failed for good.
    pub(super) fn replace_overdue(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        self.go_on_after(task, past, Task::count_loss, commands);
    }

    /// The worker that proved `task` was lost: another worker gets it, or it has failed for good.
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

    /// `id` is not live any more, for a reason that doesn't count.
    pub(super) fn leave(&mut self, task: TaskId, id: AttemptId, commands: &mut Vec<Command>) {
        let entry = self.task_mut(task);
        if entry.spare == Some(id) {
            entry.spare = None;
        } else if entry.place == Place::Held(id) {
            self.go_on(task, commands);
        }
    }

    /// The end of `id`, which is now, for its task's history.
    pub(super) fn past(&self, id: AttemptId, failure: Failure) -> PastAttempt {
        let attempt = self.attempt(id);
        let duration = self.clock.now().saturating_since(attempt.assigned);
        PastAttempt { attempt: id, worker: attempt.worker, peer: attempt.peer, duration, failure }
    }

    /// True if `task` failed on enough workers, lost enough of them, or needs more memory than every connected worker
    /// has.
    pub(super) fn has_failed_for_good(&self, task: &Task) -> bool {
        let is_spent = |counts: &Counts, most: u32| {
            let enough = counts.distinct() >= usize::try_from(most).unwrap_or(usize::MAX);
            enough || counts.total() >= most && self.workers.all_excluded(task.kind, &task.excluded)
        };
        is_spent(task.failures(), self.config.max_failures)
            || is_spent(task.losses(), self.config.max_losses)
            || self.lacks_memory(task)
    }

    /// True if `task` ran out of memory, and no connected worker has more.
    fn lacks_memory(&self, task: &Task) -> bool {
        task.excluded.by_memory().is_some() && self.workers.all_excluded(task.kind, &task.excluded.lasting())
    }

    /// Ends the proofs of tasks that wait in vain for a worker with more memory.
    pub(super) fn expire_memory_waits(&mut self, commands: &mut Vec<Command>) {
        let in_vain = |id: &&TaskId| {
            let task = self.task(**id);
            let Place::Waiting { since } = task.place else { return false };
            self.clock.now().saturating_since(since) >= self.config.patience && self.lacks_memory(task)
        };
        for task in self.memory_bound.iter().filter(in_vain).copied().collect::<Vec<_>>() {
            self.fail_proof(task, commands);
        }
    }

    /// The attempt `id` of `task` ran out of memory on a worker with `memory_bytes`: a worker with more gets it, or it
    /// has failed for good.
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

    /// The attempt that `id` counted on is gone: it counts on its other one, waits for another, or has failed for good.
    fn go_on(&mut self, id: TaskId, commands: &mut Vec<Command>) {
        let task = self.task(id);
        if self.has_failed_for_good(task) {
            let blamed = task.blamed.clone();
            self.fail_proof(id, commands);
            // What fails everywhere is nobody's fault.
            blamed.into_iter().for_each(|(peer, faults)| self.peers.pardon(peer, faults));
        }
        let spare = self.task(id).spare.filter(|spare| !self.attempt(*spare).overdue);
        if self.proof_of(self.task(id)).failed {
            self.task_mut(id).place = Place::Shelved;
        } else if let Some(spare) = spare {
            let task = self.task_mut(id);
            (task.place, task.spare) = (Place::Held(spare), None);
            // It may straggle again.
            self.watch(spare);
        } else {
            self.task_mut(id).place = Place::Waiting { since: self.clock.now() };
            self.enqueue(id);
        }
    }
}
