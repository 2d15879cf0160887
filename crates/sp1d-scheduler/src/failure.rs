//! Why attempts fail or end otherwise, and the history of a task.

use sp1d_model::{AttemptId, FailureKind, SessionId, WorkerId};
use std::{fmt, time::Duration};

/// Why an attempt failed: its worker reported it, or what it uploaded does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptFailure {
    /// The attempt failed on its worker.
    Worker {
        /// What kind of failure it was.
        kind: FailureKind,
        /// The worker's description, for people.
        text: String,
    },
    /// Its result or its deferred events are wrong or missing, or workers of two origins contradict its claim.
    Rejected(String),
    /// No worker of another origin confirmed the deferred events that the attempt claims for its shard. It is not known
    /// which worker is wrong, so none of them gets a fault.
    Unconfirmed,
    /// The try already has artifacts with the names of the deferred events that the attempt uploaded, but with other
    /// content. It is not known which of them are right, so no worker gets a fault.
    NameConflict,
}

impl AttemptFailure {
    /// Returns true if the attempt needed more memory than its worker has.
    #[must_use]
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Worker { kind: FailureKind::OutOfMemory, .. })
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
            Self::Rejected(reason) => write!(f, "its output was rejected: {reason}"),
            Self::Unconfirmed => {
                f.write_str("no worker of another origin confirmed the deferred events that it claims")
            }
            Self::NameConflict => {
                f.write_str("another attempt already owns the names of the artifacts that it uploaded")
            }
        }
    }
}

/// Why a task does not wait for an attempt any more. Another attempt may replace it, although its worker may still
/// prove it. If the result of the attempt arrives nevertheless, it counts if it is the first that verifies, except
/// after `Rejected`, `Unconfirmed` and `NameConflict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEndReason {
    /// The attempt failed.
    Failed(AttemptFailure),
    /// The session ended, or was silent for longer than a lease.
    WorkerLost,
    /// The attempt runs for too long: see [`PaceRules`](crate::PaceRules). It keeps its slot, because its worker still
    /// proves it. If it runs for much longer, it is cancelled, without another entry in the history.
    Overdue,
    /// The check of its output takes much longer than usual, or waits behind such a check of its worker: see
    /// [`Event::CheckDelayed`](crate::Event::CheckDelayed).
    CheckDelayed,
    /// The worker did not start the attempt, although it proved nothing else: see
    /// [`max_start_delay`](crate::SchedulerConfig::max_start_delay).
    NeverStarted,
    /// The scheduler took the attempt back before it started: an idle worker stole its task, or the worker must not get
    /// new tasks now.
    TakenBack,
}

impl AttemptEndReason {
    /// Returns true if the attempt needed more memory than its worker has.
    #[must_use]
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_out_of_memory())
    }

    /// Returns true if the worker does not support the task.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_unsupported())
    }
}

impl From<AttemptFailure> for AttemptEndReason {
    fn from(failure: AttemptFailure) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for AttemptEndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::WorkerLost => f.write_str("the worker was lost"),
            Self::Overdue => f.write_str("it ran for much longer than expected"),
            Self::CheckDelayed => f.write_str("the check of its output takes much longer than usual"),
            Self::NeverStarted => f.write_str("the worker never started it"),
            Self::TakenBack => f.write_str("taken back before it started"),
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
    /// Time from the assignment until the task stopped waiting for the attempt.
    pub duration: Duration,
    /// Why the task does not wait for the attempt any more.
    pub reason: AttemptEndReason,
}
