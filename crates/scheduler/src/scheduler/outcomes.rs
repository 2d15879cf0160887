//! What becomes of a task when an attempt of it has ended.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, PastAttempt, TaskId,
    attempt::State,
    task::{MAX_LAPSED, Place},
};

impl Scheduler {
    /// The result of `id` is final: nothing else of its task is wanted.
    pub(super) fn accept(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let attempt = self.attempt_mut(id);
        attempt.state = State::Accepted;
        let (worker, task) = (attempt.worker, attempt.task);
        commands.push(Command::AcceptResult { proof: self.task(task).proof, task, attempt: id, worker });
        self.leave_queue(task);
        for other in self.task(task).attempts.clone() {
            if other != id {
                self.end_attempt(other, commands);
            }
        }
        self.task_mut(task).place = Place::Accepted(id);
        self.open_tasks -= 1;
    }

    /// `id` is live no more, but its result counts if it comes.
    pub(super) fn lapse(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        self.release(id);
        let attempt = self.attempt_mut(id);
        attempt.state = State::Lapsed;
        let task = attempt.task;
        let mut lapsed = self.task(task).attempts.iter().filter(|id| self.attempt(**id).state == State::Lapsed);
        let oldest = lapsed.next().copied();
        if let Some(oldest) = oldest
            && lapsed.count() >= MAX_LAPSED
        {
            self.end_attempt(oldest, commands);
        }
    }

    /// An attempt of `task` failed, or delivered what does not verify: another worker gets it, or it has failed for good.
    pub(super) fn retry(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        let worker = past.worker;
        let entry = self.task_mut(task);
        entry.record(past);
        entry.count_failure(worker);
        self.wait_again(task, commands);
    }

    /// The worker that held `task` was lost: any worker gets it, or it has failed for good.
    pub(super) fn requeue(&mut self, task: TaskId, past: PastAttempt, commands: &mut Vec<Command>) {
        let entry = self.task_mut(task);
        entry.record(past);
        entry.count_loss();
        self.wait_again(task, commands);
    }

    /// The end of `id`, which is now, for its task's history.
    pub(super) fn past(&self, id: AttemptId, failure: Failure) -> PastAttempt {
        let attempt = self.attempt(id);
        let duration = self.clock.now().saturating_since(attempt.assigned);
        PastAttempt { attempt: id, worker: attempt.worker, duration, failure }
    }

    fn wait_again(&mut self, id: TaskId, commands: &mut Vec<Command>) {
        let task = self.task(id);
        let exhausted = task.failures() >= self.config.max_failures || task.losses() >= self.config.max_losses;
        if exhausted {
            self.fail_proof(id, commands);
        }
        if self.proof_of(self.task(id)).failed {
            self.task_mut(id).place = Place::Shelved;
        } else {
            self.task_mut(id).place = Place::Waiting { since: self.clock.now() };
            self.enqueue(id);
        }
    }
}
