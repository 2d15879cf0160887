//! Questions that change nothing.

use super::Scheduler;
use crate::{
    Counts, PastAttempt, TaskId, TaskStatus, WorkerId, WorkerStatus,
    attempt::State,
    placement::Snapshot,
    task::{Place, Task},
};

impl Scheduler {
    /// How much it holds.
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

    /// Where `task` is, and why it isn't running if it isn't. `None` when it is unknown, or a marker.
    #[must_use]
    pub fn task_status(&self, task: TaskId) -> Option<TaskStatus> {
        let task = self.tasks.get(&task)?;
        Some(match task.place {
            Place::Waiting { since } if self.workers.able(task.kind) == 0 => TaskStatus::NoWorker { since },
            // A free slot and a waiting task that may have it do not last beyond one event, unless the worker is to be
            // left free.
            Place::Waiting { since } if self.may_take_slot(task) => TaskStatus::Packed { since },
            Place::Waiting { since } if self.workers.anyone_free(task.kind) => TaskStatus::Parked { since },
            Place::Waiting { since } => TaskStatus::Queued { since },
            Place::Held(id) => {
                let attempt = self.attempt(id);
                let State::Held { started } = attempt.state else {
                    unreachable!("the attempt that a task is held by is held");
                };
                TaskStatus::Held { worker: attempt.worker, attempt: id, assigned: attempt.assigned, started }
            }
            Place::Verifying(attempt) => TaskStatus::Verifying { worker: self.attempt(attempt).worker, attempt },
            Place::Shelved => TaskStatus::ProofFailed,
            Place::Accepted(attempt) => TaskStatus::Accepted { worker: self.attempt(attempt).worker, attempt },
        })
    }

    /// True when `task` could be on a worker with a free slot, were nobody to be left free.
    fn may_take_slot(&self, task: &Task) -> bool {
        Snapshot { crews: None, ..self.snapshot() }.choose_worker(task.kind, &task.excluded).is_some()
    }

    /// How the past attempts of `task` ended, oldest first. Empty when it is unknown.
    #[must_use]
    pub fn task_history(&self, task: TaskId) -> &[PastAttempt] {
        self.tasks.get(&task).map_or(&[], Task::history)
    }

    /// What `worker` holds. `None` when it isn't connected.
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
