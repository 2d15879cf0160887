//! Read-only queries.

use super::Scheduler;
use crate::{
    Counts, PastAttempt, TaskId, TaskStatus, WorkerId, WorkerStatus,
    attempt::State,
    placement::Snapshot,
    task::{Place, Task},
};

impl Scheduler {
    /// Returns how many items the scheduler holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            proofs: self.proofs.len(),
            open_tasks: self.open_tasks,
            queued_tasks: self.queue.len(),
            live_attempts: self.workers.held(),
            workers: self.workers.len(),
        }
    }

    /// Returns what happens with `task`, and why it is not running if it is not. Returns `None` if `task` is unknown or
    /// a marker.
    #[must_use]
    pub fn task_status(&self, task: TaskId) -> Option<TaskStatus> {
        let task = self.tasks.get(&task)?;
        Some(match task.place {
            Place::Waiting { since } if self.workers.able(task.kind) == 0 => TaskStatus::NoWorker { since },
            // A waiting task that may take a free slot gets it in the same event, unless placement leaves that worker
            // free.
            Place::Waiting { since } if self.may_take_slot(task) => TaskStatus::Packed { since },
            Place::Waiting { since } if self.workers.anyone_free(task.kind) => TaskStatus::Parked { since },
            Place::Waiting { since } => TaskStatus::Queued { since },
            Place::Held(id) => {
                let attempt = self.attempt(id);
                let State::Held { started } = attempt.state else {
                    unreachable!("the attempt in `Place::Held` is held");
                };
                TaskStatus::Held { worker: attempt.worker, attempt: id, assigned: attempt.assigned, started }
            }
            Place::Verifying(attempt) => TaskStatus::Verifying { worker: self.attempt(attempt).worker, attempt },
            Place::Shelved => TaskStatus::ProofFailed,
            Place::Accepted(attempt) => TaskStatus::Accepted { worker: self.attempt(attempt).worker, attempt },
        })
    }

    /// Returns true if `task` could take a free slot under [`crate::Placement::Spread`].
    fn may_take_slot(&self, task: &Task) -> bool {
        Snapshot { crews: None, ..self.snapshot() }.choose_worker(task.kind, &task.excluded).is_some()
    }

    /// Returns the past attempts of `task`, oldest first. Empty if `task` is unknown.
    #[must_use]
    pub fn task_history(&self, task: TaskId) -> &[PastAttempt] {
        self.tasks.get(&task).map_or(&[], Task::history)
    }

    /// Returns the slots, kinds and attempts of `worker`, or `None` if it is not connected.
    #[must_use]
    pub fn worker_status(&self, worker: WorkerId) -> Option<WorkerStatus> {
        let worker = self.workers.get(worker)?;
        Some(WorkerStatus {
            slots: worker.slots(),
            kinds: worker.kinds(),
            held: worker.held().iter().copied().collect(),
        })
    }
}
