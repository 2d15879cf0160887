//! What people want to know about a task or a worker.

use crate::{AttemptId, KindSet, Timestamp, WorkerId};

/// Where a task is, and why it isn't running if it isn't. Times are the driver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// Waits for a slot: the workers that can do it are full.
    Queued {
        /// Since when.
        since: Timestamp,
    },
    /// Waits because it has failed on every worker that has a slot for it, while others, which are busy, haven't tried
    /// it.
    Parked {
        /// Since when.
        since: Timestamp,
    },
    /// Waits for one of the workers that are enough for what is to be done, while others are left free: see
    /// [`Placement::Pack`](crate::Placement::Pack).
    Packed {
        /// Since when.
        since: Timestamp,
    },
    /// Waits because no connected worker can do its kind.
    NoWorker {
        /// Since when.
        since: Timestamp,
    },
    /// A worker has it.
    Held {
        /// Who.
        worker: WorkerId,
        /// The assignment's number.
        attempt: AttemptId,
        /// When it was assigned.
        assigned: Timestamp,
        /// When proving began; `None` while it waits on its worker.
        started: Option<Timestamp>,
    },
    /// Its result is being verified.
    Verifying {
        /// Who delivered it.
        worker: WorkerId,
        /// The attempt that delivered it.
        attempt: AttemptId,
    },
    /// Its proof has failed: it isn't given to anyone.
    ProofFailed,
    /// It is done.
    Accepted {
        /// Who did it.
        worker: WorkerId,
        /// The attempt whose result is final.
        attempt: AttemptId,
    },
}

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// How many attempts it may hold.
    pub slots: usize,
    /// What it can do.
    pub kinds: KindSet,
    /// What it holds, the oldest first.
    pub held: Vec<AttemptId>,
}
