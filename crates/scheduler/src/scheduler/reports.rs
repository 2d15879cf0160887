//! What workers report about attempts.

use super::{Scheduler, health::Fault};
use crate::{AttemptId, Command, Failure, TaskId, WorkerId, attempt::State, task::Place, workers::Worker};

/// Why a result is rejected if the attempt did not complete its task's marker. The deferred events of the shard are
/// then missing, so a proof that uses the result would be partial.
const MARKER_MISSING: &str = "the attempt did not complete its marker";

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
        let entry =
            self.markers.get_mut(&marker).expect("the markers of a proof are forgotten together with its tasks");
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
                    // The plan does not include attempts on workers that are not available.
                    if self.workers.gets(worker, kind) {
                        self.crews.deliver(kind);
                    }
                } else {
                    // The task continues with its other attempt until this result is verified.
                    task.spare = None;
                }
            }
            // The worker may have been lost and have returned in a new session. The task continues meanwhile, because
            // the result may be wrong.
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
            // Too little memory is a property of the task and the machine.
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
                // The attempt may have reported its marker while it was not live. Such a report is ignored, so the
                // worker is not blamed.
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
        // A lapsed attempt is already recorded in the history, and its task has continued without it.
        if self.task(task).place == Place::Verifying(id) {
            self.retry(task, past, commands);
        }
    }

    /// Returns the task of `id` if `worker` holds `id`.
    pub(super) fn live_task(&self, worker: WorkerId, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        (attempt.worker == worker && attempt.state.is_held()).then_some(attempt.task)
    }

    /// Returns the task of `id` if the result of `id` is being verified.
    fn reported_task(&self, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        (attempt.state == State::Reported).then_some(attempt.task)
    }
}
