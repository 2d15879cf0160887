//! Why attempts fail, and the history of a task.

use sp1d_model::{AttemptId, FailureKind, SessionId, WorkerId};
use std::{fmt, time::Duration};

/// Why a task stopped relying on an attempt, so that another attempt may replace it. A result of the attempt that
/// arrives later still counts if it is the first one that verifies, except after `Rejected`, `Disputed` and
/// `NamesTaken`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptFailure {
    /// The attempt failed on its worker.
    Worker {
        /// What kind of failure it was.
        kind: FailureKind,
        /// The worker's description, for people.
        text: String,
    },
    /// The attempt needed more memory than its worker has.
    OutOfMemory(String),
    /// Something that it delivered is wrong or missing: its result, or the precompile events that it claims for its
    /// shard.
    Rejected(String),
    /// The session ended, or was silent for longer than a lease.
    WorkerLost,
    /// No second worker confirmed the precompile events that the attempt claims for its shard. It is not known which
    /// worker is wrong, so none of them gets a fault.
    Disputed,
    /// The proof already has other artifacts under the names of the precompile events that the attempt claims for its
    /// shard. It is not known which attempt owns the names, so no worker gets a fault.
    NamesTaken,
    /// The attempt runs for much longer than expected. It keeps its slot, because its worker is still proving it.
    Overdue,
    /// The worker did not start the attempt, although it proved nothing else: see
    /// [`start_deadline`](crate::SchedulerConfig::start_deadline).
    NeverStarted,
    /// The scheduler took the attempt back.
    Cancelled,
}

impl AttemptFailure {
    /// Returns the failure that a worker reports with `kind` and `text`.
    #[must_use]
    pub const fn reported(kind: FailureKind, text: String) -> Self {
        match kind {
            FailureKind::OutOfMemory => Self::OutOfMemory(text),
            FailureKind::Engine
            | FailureKind::Panic
            | FailureKind::Input
            | FailureKind::Output
            | FailureKind::Unsupported
            | FailureKind::Killed => Self::Worker { kind, text },
        }
    }

    /// Returns true if the attempt needed more memory than its worker has.
    #[must_use]
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory(_) | Self::Worker { kind: FailureKind::OutOfMemory, .. })
    }

    /// Returns true if the worker does not support the task.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Worker { kind: FailureKind::Unsupported, .. })
    }
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker { kind, text } => write!(f, "{kind}: {text}"),
            Self::OutOfMemory(text) => write!(f, "out of memory: {text}"),
            Self::Rejected(reason) => write!(f, "its output was rejected: {reason}"),
            Self::WorkerLost => f.write_str("the worker was lost"),
            Self::Disputed => f.write_str("no other worker confirmed the precompile events that it claims"),
            Self::NamesTaken => f.write_str("another attempt already owns the names of the artifacts that it uploaded"),
            Self::Overdue => f.write_str("it ran for much longer than expected"),
            Self::NeverStarted => f.write_str("the worker never started it"),
            Self::Cancelled => f.write_str("cancelled by the scheduler"),
        }
    }
}

/// One entry in the history of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// The number of the attempt.
    pub attempt: AttemptId,
    /// The session that held the attempt.
    pub session: SessionId,
    /// The worker of that session.
    pub worker: WorkerId,
    /// Time from the assignment to the failure.
    pub duration: Duration,
    /// Why the task stopped relying on the attempt.
    pub failure: AttemptFailure,
}
