//! What workers report about attempts.

use super::state_machine::Scheduler;
use crate::{
    AttemptEndReason, AttemptFailure, AttemptId, Command, FailureKind, SessionId, TaskId,
    tasks::{AttemptState, TaskState},
    workers::{SessionState, WorkerFault},
};

/// Why a result does not count if the attempt did not complete its task's marker. The deferred events of the shard are
/// then missing, so a proof that uses the result would be partial.
pub(crate) const MARKER_MISSING: &str = "the attempt did not complete its marker";

impl Scheduler {
    pub(super) fn on_attempt_started(&mut self, session: SessionId, id: AttemptId) {
        let now = self.clock.now();
        if self.task_if_held(session, id).is_none() {
            return;
        }
        if let AttemptState::Held { started: started @ None } = &mut self.attempt_mut(id).state {
            *started = Some(now);
            self.sessions.note_work(session);
            self.update_stealable(id);
            self.update_start_deadline(session);
            self.start_watching(id);
        }
    }

    pub(super) fn on_deferred_events_accepted(
        &mut self,
        session: SessionId,
        id: AttemptId,
        commands: &mut Vec<Command>,
    ) {
        let Some(task) = self.task_if_held_or_delivered(session, id) else { return };
        let Some(marker) = self.task(task).marker else { return };
        let scheduled_marker =
            self.markers.get_mut(&marker).expect("the markers of a try are forgotten together with its tasks");
        if !scheduled_marker.completed {
            scheduled_marker.completed = true;
            commands.push(Command::CompleteMarker { try_id: scheduled_marker.try_id, marker, attempt: id });
        }
    }

    pub(super) fn on_result_delivered(&mut self, session: SessionId, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id) else {
            commands.push(Command::Discard { attempt: id });
            return;
        };
        let task = attempt.task;
        match attempt.state {
            AttemptState::Held { .. } if attempt.session == session => {
                self.note_duration(id);
                self.free_slot(id);
                self.attempt_mut(id).state = AttemptState::Delivered;
                let scheduled = self.task_mut(task);
                let kind = scheduled.kind;
                if scheduled.state == TaskState::Held(id) {
                    scheduled.state = TaskState::Verifying(id);
                    // The plan does not include attempts on workers that are not available.
                    if self.sessions.is_available(session, kind) {
                        self.pack_plans.note_delivery(kind);
                    }
                } else {
                    // The task relies on its other attempt until this result is verified.
                    scheduled.second_live = None;
                }
            }
            // The worker may have been lost and have returned in a new session. The task does not wait for the check,
            // because the result may be wrong.
            AttemptState::Lapsed => self.attempt_mut(id).state = AttemptState::Delivered,
            AttemptState::Held { .. } | AttemptState::Delivered | AttemptState::Accepted => {}
        }
    }

    pub(super) fn on_attempt_failed(
        &mut self,
        session: SessionId,
        id: AttemptId,
        failure: AttemptFailure,
        commands: &mut Vec<Command>,
    ) {
        let Some(task) = self.task_if_held(session, id) else {
            // Once the result is delivered, a failure that the worker reports does not count. A rejection does.
            if !matches!(failure, AttemptFailure::Worker { .. }) {
                self.reject_delivered(id, failure, commands);
            }
            return;
        };
        self.sessions.note_work(session);
        let fault = fault_of(&failure);
        let past = self.history_entry(id, failure);
        let attempt = self.attempt_mut(id);
        attempt.failed = true;
        let worker = attempt.worker;
        self.lapse(id, commands);
        self.record_fault_at(task, worker, fault, &past.reason, commands);
        let scheduled = self.task_mut(task);
        if scheduled.second_live == Some(id) {
            scheduled.second_live = None;
            // The task relies on its other attempt, but must not go to this worker again.
            if past.reason.is_out_of_memory() {
                let comparable_bytes = self.sessions.get(session).map_or(0, SessionState::comparable_bytes);
                let counted = self.with_origin(worker);
                self.tasks_excluding_by_memory.insert(task);
                self.change_exclusions(task, |scheduled| scheduled.count_memory_claim(counted, comparable_bytes));
                if self.lacks_memory(self.task(task)) {
                    self.drop_unconfirmed_memory(task);
                }
            } else if past.reason.is_unsupported() {
                let counted = self.with_origin(worker);
                self.change_exclusions(task, |scheduled| scheduled.count_refusal(counted));
                self.update_max_excluded(task);
            }
            self.task_mut(task).add_to_history(past);
        } else if past.reason.is_unsupported() {
            self.retry_after_refusal(task, past, commands);
        } else if past.reason.is_out_of_memory() {
            let comparable_bytes = self.sessions.get(session).map_or(0, SessionState::comparable_bytes);
            self.retry_with_more_memory(task, past, comparable_bytes, commands);
        } else {
            self.retry_after_failure(task, past, commands);
        }
    }

    /// Gives the task of `id` to another worker, if there is one, because the result of `id` waits for a slow check.
    /// The result still counts if it is the first to pass its check.
    pub(super) fn on_check_delayed(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (task, worker, kind) = (attempt.task, attempt.worker, attempt.kind);
        let scheduled = self.task(task);
        let mut excluded = scheduled.excluded.clone();
        excluded.add(worker);
        let is_awaited = scheduled.state == TaskState::Verifying(id);
        // Without another worker, the task would only be proven a second time by the same one.
        if !is_awaited || self.try_of(scheduled).failed || self.sessions.available_are_excluded(kind, &excluded) {
            return;
        }
        let past = self.history_entry(id, AttemptEndReason::CheckDelayed);
        self.change_exclusions(task, |scheduled| scheduled.excluded.add(worker));
        self.update_max_excluded(task);
        self.task_mut(task).add_to_history(past);
        self.retry_task(task, commands);
    }

    pub(super) fn on_result_passed(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(task) = self.task_if_delivered(id) else { return };
        if self.is_marker_missing(id) {
            if self.task(task).state == TaskState::Verifying(id) {
                self.on_result_rejected(id, MARKER_MISSING.to_owned(), commands);
            } else {
                // The deferred events may have been accepted while the attempt was not live, which is ignored. So no
                // fault is recorded.
                self.end_attempt(id, commands);
            }
        } else {
            self.accept(id, commands);
        }
    }

    pub(super) fn on_result_rejected(&mut self, id: AttemptId, reason: String, commands: &mut Vec<Command>) {
        self.reject_delivered(id, AttemptFailure::Rejected(reason), commands);
    }

    /// Ends `id`, whose result was delivered: the result, the deferred events or the claim were rejected.
    fn reject_delivered(&mut self, id: AttemptId, failure: AttemptFailure, commands: &mut Vec<Command>) {
        let Some(task) = self.task_if_delivered(id) else { return };
        let fault = fault_of(&failure);
        let past = self.history_entry(id, failure);
        let worker = self.attempt(id).worker;
        self.end_attempt(id, commands);
        self.record_fault_at(task, worker, fault, &past.reason, commands);
        // A lapsed attempt is already recorded in the history, and its task has continued without it.
        if self.task(task).state == TaskState::Verifying(id) {
            self.retry_after_failure(task, past, commands);
        }
    }

    /// Returns true if the result of `id` is being verified and the marker of its task is not complete. If the result
    /// passes its check now, it does not count.
    pub(crate) fn is_marker_missing(&self, id: AttemptId) -> bool {
        let marker = self.task_if_delivered(id).and_then(|task| self.task(task).marker);
        marker.is_some_and(|marker| !self.markers[&marker].completed)
    }

    /// Returns the task of `id` if `session` holds `id`.
    pub(super) fn task_if_held(&self, session: SessionId, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        (attempt.session == session && attempt.state.is_held()).then_some(attempt.task)
    }

    /// Returns the task of `id` if `session` holds `id`, or held it until the result of `id` was delivered.
    fn task_if_held_or_delivered(&self, session: SessionId, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        let is_open = attempt.state.is_held() || attempt.state == AttemptState::Delivered;
        (attempt.session == session && is_open).then_some(attempt.task)
    }

    /// Returns the task of `id` if the result of `id` is being verified.
    fn task_if_delivered(&self, id: AttemptId) -> Option<TaskId> {
        let attempt = self.attempts.get(&id)?;
        (attempt.state == AttemptState::Delivered).then_some(attempt.task)
    }
}

/// Returns the fault of a worker whose attempt failed with `failure`. `None` if the worker is not at fault.
const fn fault_of(failure: &AttemptFailure) -> Option<WorkerFault> {
    match failure {
        AttemptFailure::Rejected(_) => Some(WorkerFault::Wrong),
        AttemptFailure::Unconfirmed | AttemptFailure::NameConflict => None,
        // The worker has not tried a task that it does not support. Too little memory is a property of the task and the
        // machine.
        AttemptFailure::Worker { kind: FailureKind::Unsupported | FailureKind::OutOfMemory, .. } => None,
        AttemptFailure::Worker { .. } => Some(WorkerFault::Failed),
    }
}
