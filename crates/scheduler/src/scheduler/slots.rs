//! Assigning waiting tasks to free slots.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, Placement, TaskId, WorkerId,
    attempt::{Attempt, Loss, State},
    placement::{AtWork, Pacing, Snapshot},
    task::Place,
};
use std::cmp::Reverse;

impl Scheduler {
    /// Assigns tasks until no free slot can be used. Event handlers that free a slot or queue a task rely on this and
    /// need not assign tasks themselves.
    pub(super) fn fill_slots(&mut self, at_work: Option<AtWork>, commands: &mut Vec<Command>) {
        loop {
            let snapshot = Snapshot { at_work, ..self.snapshot() };
            if let Some((task, worker)) = snapshot.next_assignment() {
                self.leave_queue(task);
                self.assign(task, worker, commands);
            } else if let Some((attempt, worker)) = snapshot.next_steal() {
                // Each steal leaves one idle worker less, so the loop ends. The slot that it frees may suit a waiting
                // task.
                self.steal(attempt, worker, commands);
            } else if let Some((attempt, worker)) = self.next_copy() {
                self.copy(attempt, worker, commands);
                // The speculative attempt uses one more worker, so the plan must include it.
                self.crews.update(&self.queue, &self.workers, AttemptId(self.attempts_assigned));
            } else {
                return;
            }
        }
    }

    /// Returns the data for the next choice, without a worker that has just ended an attempt.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            queue: &self.queue,
            stealable: &self.stealable,
            workers: &self.workers,
            crews: match self.config.placement {
                Placement::Spread => None,
                Placement::Pack => Some(&self.crews),
            },
            at_work: None,
            max_excluded: self.max_excluded(),
            pacing: self.config.pace.map(|_| Pacing { attempts: &self.attempts, now: self.clock.lease_time() }),
        }
    }

    /// Returns a bound that is larger than the number of workers excluded by any task that can still be assigned.
    fn max_excluded(&self) -> usize {
        // Exclusions by memory can exclude any number of workers.
        if !self.memory_bound.is_empty() {
            return usize::MAX;
        }
        let counted = self.config.max_failures.saturating_add(self.config.max_losses);
        usize::try_from(counted).unwrap_or(usize::MAX)
    }

    /// Assigns a task that is not in the queue to a worker with a free slot.
    pub(super) fn assign(&mut self, id: TaskId, worker: WorkerId, commands: &mut Vec<Command>) {
        self.attempts_assigned += 1;
        let attempt = AttemptId(self.attempts_assigned);
        let state = State::Held { started: None };
        let (assigned, peer) =
            (self.clock.now(), self.workers.get(worker).expect("a chosen worker is connected").peer());
        let task = self.task_mut(id);
        task.attempts.insert(attempt);
        task.place = Place::Held(attempt);
        let (proof, kind) = (task.proof, task.kind);
        let entry = Attempt {
            task: id,
            kind,
            worker,
            peer,
            assigned,
            began: None,
            overdue: false,
            failed: false,
            lost: Loss::None,
            resumed: false,
            took: None,
            state,
        };
        self.attempts.insert(attempt, entry);
        self.hold(worker, attempt);
        self.update_stealable_of(worker, attempt);
        commands.push(Command::Assign { worker, attempt, proof, task: id, kind });
    }

    /// Moves the task of attempt `id`, which waits behind another attempt, to the idle worker `worker`.
    fn steal(&mut self, id: AttemptId, worker: WorkerId, commands: &mut Vec<Command>) {
        let attempt = self.attempt(id);
        let (task, holder) = (attempt.task, attempt.worker);
        commands.push(Command::Cancel { worker: holder, attempt: id });
        let past = self.past(id, Failure::Cancelled);
        self.task_mut(task).record(past);
        self.lapse(id, commands);
        self.assign(task, worker, commands);
    }

    /// Assigns `id`, if it has not started elsewhere, to `worker`, which started it before the orchestrator restarted.
    pub(super) fn give_back(&mut self, id: TaskId, worker: WorkerId, commands: &mut Vec<Command>) {
        let (Some(task), Some(found)) = (self.tasks.get(&id), self.workers.get(worker)) else { return };
        let may = found.held().len() < found.slots() && self.workers.gets(worker, task.kind);
        if !may || self.workers.is_excluded(worker, &task.excluded) {
            return;
        }
        match task.place {
            Place::Waiting { .. } => {
                self.leave_queue(id);
                self.assign(id, worker, commands);
            }
            Place::Held(attempt) if self.is_stealable(attempt) && self.attempt(attempt).worker != worker => {
                self.steal(attempt, worker, commands);
            }
            Place::Held(_) | Place::Verifying(_) | Place::Shelved | Place::Accepted(_) => return,
        }
        let attempt = AttemptId(self.attempts_assigned);
        self.attempt_mut(attempt).resumed = true;
        self.update_stealable(attempt);
    }

    /// Puts an existing attempt into a slot of `worker`.
    pub(super) fn hold(&mut self, worker: WorkerId, id: AttemptId) {
        let Attempt { task, kind, .. } = *self.attempt(id);
        self.queue.hold(self.task(task).rank, id);
        self.workers.hold(worker, id, kind);
        self.update_start_deadline(worker);
    }

    /// Frees the slot of a live attempt. The caller changes the attempt's state.
    pub(super) fn release(&mut self, id: AttemptId) {
        let Attempt { task, kind, worker, overdue, .. } = *self.attempt(id);
        if !overdue {
            self.queue.release(self.task(task).rank);
        }
        self.remove_stealable(id, task);
        self.watch.end(id);
        self.workers.release(worker, id, kind);
        self.update_start_deadline(worker);
        self.update_stealable_of(worker, id);
    }

    /// Updates the start deadline of `worker`. It has one while it holds attempts and has started none of them.
    pub(super) fn update_start_deadline(&mut self, worker: WorkerId) {
        let found = self.workers.get(worker).expect("live attempts are on connected workers");
        let is_started = |id: &AttemptId| matches!(self.attempt(*id).state, State::Held { started: Some(_) });
        let waits = !found.held().is_empty() && !found.held().iter().any(is_started);
        match (waits, found.start_deadline()) {
            (true, None) => {
                let deadline = self.clock.lease_time() + self.config.start_deadline;
                self.workers.set_start_deadline(worker, Some(deadline));
            }
            (false, Some(_)) => self.workers.set_start_deadline(worker, None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    pub(super) fn enqueue(&mut self, id: TaskId) {
        let task = self.tasks.get(&id).expect("the queue contains only known tasks");
        self.queue.insert(task.kind, &task.excluded, task.rank);
    }

    /// Removes a task from the queue. Does nothing if the task is not in the queue.
    pub(super) fn leave_queue(&mut self, id: TaskId) {
        let task = self.tasks.get(&id).expect("the queue contains only known tasks");
        self.queue.remove(task.kind, &task.excluded, task.rank);
    }

    /// Updates the index of stealable attempts after `worker` got or lost `changed`.
    pub(super) fn update_stealable_of(&mut self, worker: WorkerId, changed: AttemptId) {
        let held = self.workers.get(worker).expect("live attempts are on connected workers").held();
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
            let task = self.tasks.get(&task).expect("attempts name only known tasks");
            self.stealable.insert(task.kind, &task.excluded, Reverse(id));
        } else {
            self.remove_stealable(id, task);
        }
    }

    fn remove_stealable(&mut self, id: AttemptId, task: TaskId) {
        let task = self.tasks.get(&task).expect("attempts name only known tasks");
        self.stealable.remove(task.kind, &task.excluded, Reverse(id));
    }

    /// Returns true if `id` has not started, waits behind another attempt of its worker, and belongs to a task that may
    /// still be assigned. Resumed attempts are not stealable.
    pub(super) fn is_stealable(&self, id: AttemptId) -> bool {
        let attempt = self.attempt(id);
        attempt.state == State::Held { started: None }
            && !attempt.resumed
            && self.workers.get(attempt.worker).is_some_and(|worker| worker.held().len() >= 2)
            && !self.proof_of(self.task(attempt.task)).failed
    }
}
