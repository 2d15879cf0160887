//! What people ask about a task or a worker.

use crate::{AttemptId, KindSet, Timestamp, WorkerId};

/// What happens with a task, and why it is not running if it is not. Times are on the driver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// The task waits for a slot: the workers that may take it are full.
    Queued {
        /// When the task entered the queue.
        since: Timestamp,
    },
    /// The task waits because it excludes every worker with a free slot. Other workers, which are busy, may still take
    /// it.
    Parked {
        /// When the task entered the queue.
        since: Timestamp,
    },
    /// The task waits for a busy worker although other workers are free: see
    /// [`Placement::Pack`](crate::Placement::Pack).
    Packed {
        /// When the task entered the queue.
        since: Timestamp,
    },
    /// The task waits because no available worker supports its kind.
    NoWorker {
        /// When the task entered the queue.
        since: Timestamp,
    },
    /// A worker holds the task.
    Held {
        /// The session that holds the task.
        worker: WorkerId,
        /// The number of the attempt.
        attempt: AttemptId,
        /// When the task was assigned.
        assigned: Timestamp,
        /// When proving started; `None` while the task waits on its worker.
        started: Option<Timestamp>,
    },
    /// The result is being verified.
    Verifying {
        /// The session that delivered the result.
        worker: WorkerId,
        /// The attempt that delivered the result.
        attempt: AttemptId,
    },
    /// The proof has failed: the task is not assigned any more.
    ProofFailed,
    /// The task is done.
    Accepted {
        /// The session that delivered the final result.
        worker: WorkerId,
        /// The attempt whose result is final.
        attempt: AttemptId,
    },
}

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Maximum number of attempts that the worker may hold now.
    pub slots: usize,
    /// The task kinds that the worker may get now. Empty while it is draining, quarantined or starting its prover.
    pub kinds: KindSet,
    /// The attempts that the worker holds, oldest first.
    pub held: Vec<AttemptId>,
}
