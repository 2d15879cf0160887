//! Queries of the driver. None of them changes what the scheduler decides.

use super::state_machine::Scheduler;
use crate::{
    AttemptId, OriginId, PastAttempt, SchedulerCounts, SessionId, TaskId, TaskKind, TaskStatus, WaitReason,
    WorkerChanges, WorkerId, WorkerStanding, WorkerStatus,
    tasks::{AttemptState, ScheduledTask, TaskState},
    workers::{KnownWorker, PresentQuarantine, SessionState},
};
use std::collections::BTreeMap;

impl Scheduler {
    /// Returns how many items the scheduler holds.
    #[must_use]
    pub fn counts(&self) -> SchedulerCounts {
        SchedulerCounts {
            tries: self.tries.len(),
            open_tasks: self.open_tasks,
            queued_tasks: self.queue.len(),
            live_attempts: self.sessions.held(),
            workers: self.sessions.len(),
        }
    }

    /// Returns true if a worker other than `session` is available for `kind`.
    pub(super) fn has_other_worker_for(&self, kind: TaskKind, session: SessionId) -> bool {
        self.sessions.available(kind) > usize::from(self.sessions.is_available(session, kind))
    }

    /// Returns the worker of `attempt` and its origin; `None` if the attempt or the worker is forgotten.
    pub(crate) fn worker_of(&self, attempt: AttemptId) -> Option<(WorkerId, OriginId)> {
        let worker = self.attempts.get(&attempt)?.worker;
        Some((worker, self.workers.get(worker)?.origin()))
    }

    /// Returns true if a worker of another origin than that of `attempt` is available for its task. The worker of
    /// `attempt` may be disconnected. False if `attempt` is unknown.
    #[must_use]
    pub fn has_independent_worker_for(&self, attempt: AttemptId) -> bool {
        let Some(found) = self.attempts.get(&attempt) else { return false };
        let (kind, trusted_only) = (found.kind, self.try_of(self.task(found.task)).trusted_only);
        let origin = |worker: WorkerId| self.workers.get(worker).map(KnownWorker::origin);
        let own = origin(found.worker);
        let may_take =
            |other: &&SessionState| other.available_kinds().contains(kind) && (other.is_trusted() || !trusted_only);
        let available = self.sessions.iter().filter(may_take);
        available.map(|other| origin(other.worker())).any(|other| other != own)
    }

    /// Returns true if the result of `attempt` was delivered and is neither accepted nor rejected.
    pub(crate) fn has_delivered(&self, attempt: AttemptId) -> bool {
        self.attempts.get(&attempt).is_some_and(|found| found.state == AttemptState::Delivered)
    }

    /// Returns true if `task` is known and not a marker. Looks at no worker, unlike [`task_status`](Self::task_status).
    pub(crate) fn knows_task(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Returns the status of `task`, or `None` if `task` is unknown or a marker.
    #[must_use]
    pub fn task_status(&self, task: TaskId) -> Option<TaskStatus> {
        let scheduled = self.tasks.get(&task)?;
        Some(self.status_of(scheduled, || self.reason_for(scheduled.kind, &scheduled.excluded)))
    }

    /// Returns the statuses of `tasks`, without unknown tasks and markers.
    ///
    /// Waiting tasks with the same kind and exclusions are looked at together, as for
    /// [`waiting_of`](Self::waiting_of).
    #[must_use]
    pub fn task_statuses(&self, tasks: impl IntoIterator<Item = TaskId>) -> BTreeMap<TaskId, TaskStatus> {
        let mut reasons = BTreeMap::new();
        let known = tasks.into_iter().filter_map(|id| Some((id, self.tasks.get(&id)?)));
        let statuses = known.map(|(id, task)| {
            let found = || self.reason_for(task.kind, &task.excluded);
            (id, self.status_of(task, || *reasons.entry((task.kind, &task.excluded)).or_insert_with(found)))
        });
        statuses.collect()
    }

    fn status_of(&self, task: &ScheduledTask, reason: impl FnOnce() -> WaitReason) -> TaskStatus {
        match task.state {
            TaskState::Waiting { since } => TaskStatus::Waiting { since, reason: reason() },
            TaskState::Held(id) => {
                let attempt = self.attempt(id);
                let AttemptState::Held { started } = attempt.state else {
                    unreachable!("the attempt in `TaskState::Held` is held");
                };
                TaskStatus::Held { session: attempt.session, attempt: id, assigned: attempt.assigned, started }
            }
            TaskState::Verifying(attempt) => TaskStatus::Verifying { session: self.attempt(attempt).session, attempt },
            TaskState::TryFailed => TaskStatus::TryFailed,
            TaskState::Accepted(attempt) => TaskStatus::Accepted { session: self.attempt(attempt).session, attempt },
        }
    }

    /// Returns the past attempts of `task`, oldest first. Empty if `task` is unknown.
    #[must_use]
    pub fn task_history(&self, task: TaskId) -> &[PastAttempt] {
        self.tasks.get(&task).map_or(&[], ScheduledTask::history)
    }

    /// Returns the slots, kinds and number of attempts of `session`, or `None` if it has no ready worker.
    #[must_use]
    pub fn worker_status(&self, session: SessionId) -> Option<WorkerStatus> {
        let found = self.sessions.get(session)?;
        Some(WorkerStatus {
            has_loaded_prover: !found.is_starting(),
            slots: found.slots(),
            available_kinds: found.available_kinds(),
            on_probation: found.on_probation(),
            held: found.held().len(),
            draining: found.is_draining(),
            paces: found.paces(),
        })
    }

    /// Returns the attempts that `session` holds, oldest first, or `None` if it has no ready worker.
    pub(crate) fn held_attempts(&self, session: SessionId) -> Option<Vec<AttemptId>> {
        Some(self.sessions.get(session)?.held().iter().copied().collect())
    }

    /// Returns the standing of `worker`. That of an unknown worker is normal.
    #[must_use]
    pub fn worker_standing(&self, worker: WorkerId) -> WorkerStanding {
        let Some(known) = self.workers.get(worker) else { return WorkerStanding::Normal };
        let last = known.quarantines().into_iter().max_by_key(|quarantine| quarantine.until);
        match last {
            Some(PresentQuarantine { reason, .. }) => {
                WorkerStanding::Quarantined { kinds: known.quarantined(), reason }
            }
            None if known.on_probation().is_empty() => WorkerStanding::Normal,
            None => WorkerStanding::Probation { kinds: known.on_probation() },
        }
    }

    /// Returns what changed about the workers since the last call, and forgets the changes. The driver needs no other
    /// source to keep a copy of the workers' status. A driver that keeps none need not call this function: the changes
    /// take one entry per session and worker.
    #[must_use = "the changes are forgotten"]
    pub fn take_worker_changes(&mut self) -> WorkerChanges {
        let (sessions, workers) = (self.sessions.take_changed(), self.workers.take_changed());
        WorkerChanges {
            sessions: sessions.into_iter().map(|session| (session, self.worker_status(session))).collect(),
            standings: workers.into_iter().map(|worker| (worker, self.worker_standing(worker))).collect(),
        }
    }
}
