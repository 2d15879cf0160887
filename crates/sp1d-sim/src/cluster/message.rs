//! The messages between orchestrator and workers.

use crate::scenario::{Claims, Value};
use sp1d_scheduler::{AttemptId, FailureKind, ReadyWorker, TaskId};

/// A message from a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToOrchestrator {
    /// The first message of a session. Memory is in units: most tasks need one unit.
    Connected(ReadyWorker),
    Heartbeat,
    Started(AttemptId),
    /// The attempt has completed its marker, or claims to have completed it without delivering anything (`None`).
    Marker {
        attempt: AttemptId,
        claims: Option<Claims>,
    },
    /// The attempt has a result, or claims to have one (`None`).
    Reported {
        attempt: AttemptId,
        value: Option<Value>,
    },
    Failed {
        attempt: AttemptId,
        kind: FailureKind,
        text: &'static str,
    },
    /// The attempt needed more memory than the worker has.
    OutOfMemory(AttemptId),
    /// The prover is restarting.
    Unready,
    /// The prover is loaded again.
    Ready,
    /// The connection is closed.
    Closed,
}

/// A message from the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToWorker {
    Assign {
        attempt: AttemptId,
        task: TaskId,
    },
    Cancel(AttemptId),
    Continue(AttemptId),
    /// The orchestrator knows how the attempt ended. The worker may forget it.
    Received(AttemptId),
    /// The connection is closed.
    Close,
}
