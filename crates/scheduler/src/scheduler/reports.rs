//! What is said about attempts.

use super::{Scheduler, health::Fault};
use crate::{AttemptId, Command, Failure, TaskId, WorkerId, attempt::State, task::Place, workers::Worker};

/// What is wrong with a result whose task should have completed a marker on the way: the deferred events of its shard
/// are missing, so a proof built on it would be partial.
const MARKER_MISSING: &str = "its marker was never completed";

impl Scheduler {
    pub(super) fn on_attempt_started(&mut self, worker: WorkerId, id: AttemptId) {
        let now = self.clock.now();
        if self.live_task(worker, id).is_none() {
            return;
        }
        if let State::Held { started: started @ None } = &mut self.attempt_mut(id).state {
            *started = Some(now);
            self.update_stealable(id);
            self.update_start_deadline(worker);
            self.watch(id);
        }
    }

    pub(super) fn on_marker_reported(&mut self, worker: WorkerId, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(task) = self.live_task(worker, id) else { return };
        let Some(marker) = self.task(task).marker else { return };
        let entry = self.markers.get_mut(&marker).expect("the markers of a proof are forgotten with its tasks");
        if !entry.completed {
            entry.completed = true;
            commands.push(Command::CompleteMarker { proof: entry.proof, marker, attempt: id });
        }
    }

    pub(super) fn on_attempt_reported(&mut self, worker: WorkerId, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id) else {
            commands.push(Command::Discard { attempt: id });
            return;
        };
        let task = attempt.task;
        match attempt.state {
            State::Held { .. } if attempt.worker == worker => {
                self.note_duration(id);
                self.release(id);
                self.attempt_mut(id).state = State::Reported;
                let task = self.task_mut(task);
                let kind = task.kind;
                if task.place == Place::Held(id) {
                    task.place = Place::Verifying(id);
                    // What a worker that gets nothing more holds is no part of the plan.
                    if self.workers.gets(worker, kind) {
                        self.crews.deliver(kind);
                    }
                } else {
                    // The task goes on as if nothing had come until the result is verified.
                    task.spare = None;
                }
            }
            // Its worker may have been lost and be back under another id. Meanwhile its task goes on as if nothing had
            // come: the result may be wrong.
            State::Lapsed => self.attempt_mut(id).state = State::Reported,
            State::Held { .. } | State::Reported | State::Accepted => {}
        }
    }

    pub(super) fn on_attempt_failed(
        &mut self,
        worker: WorkerId,
        id: AttemptId,
        failure: Failure,
        commands: &mut Vec<Command>,
    ) {
        let Some(task) = self.live_task(worker, id) else { return };
        let past = self.past(id, failure);
        let fault = match past.failure {
            Failure::Rejected(_) => Some(Fault::Wrong),
            // Too little memory is a property of the task and of the machine.
            Failure::Disputed | Failure::OutOfMemory(_) => None,
            Failure::Worker(_)
            | Failure::WorkerLost
            | Failure::Overdue
            | Failure::NeverStarted
            | Failure::Cancelled => Some(Fault::Failed),
        };
        let attempt = self.attempt_mut(id);
        attempt.failed = true;
        let peer = attempt.peer;
        self.lapse(id, commands);
        self.blame_for(task, peer, fault, &past.failure, commands);
        let entry = self.task_mut(task);
        if entry.spare == Some(id) {
            entry.spare = None;
            entry.record(past);
        } else if matches!(past.failure, Failure::OutOfMemory(_)) {
            let memory_bytes = self.workers.get(worker).map_or(0, Worker::memory_bytes);
            self.retry_with_more_memory(task, past, memory_bytes, commands);
        } else {
            self.retry(task, past, commands);
        }
    }

    pub(super) fn on_result_verified(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(task) = self.reported_task(id) else { return };
        let marker = self.task(task).marker.map(|marker| &self.markers[&marker]);
        if marker.is_some_and(|marker| !marker.completed) {
            if self.task(task).place == Place::Verifying(id) {
                self.on_result_rejected(id, MARKER_MISSING.to_owned(), commands);
            } else {
                // Its marker may have been reported when its worker was gone, and then nobody heard.
                self.end_attempt(id, commands);
            }
        } else {
            self.accept(id, commands);
        }
    }

    pub(super) fn on_result_rejected(&mut self, id: AttemptId, reason: String, commands: &mut Vec<Command>) {
        let Some(task) = self.reported_task(id) else { return };
        let past = self.past(id, Failure::Rejected(reason));
        let peer = self.attempt(id).peer;
        self.end_attempt(id, commands);
        self.blame_for(task, peer, Some(Fault::Wrong), &past.failure, commands);
        // The task has gone on without a lapsed attempt, whose end is recorded already.
        if self.task(task).place == Place::Verifying(id) {
            self.retry(task, past, commands);
        }
    }

    /// The task of `id`, if `worker` holds it.
    pub(super) fn live_task(&self, worker: WorkerId, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        (attempt.worker == worker && attempt.state.is_held()).then_some(attempt.task)
    }

    /// The task of `id`, if its result is being verified.
    fn reported_task(&self, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        (attempt.state == State::Reported).then_some(attempt.task)
    }
}
