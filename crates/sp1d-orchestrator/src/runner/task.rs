//! A task as the runner submits it.

use sp1d_protocol::TaskPayload;
use sp1d_scheduler::TaskKind;

/// A task for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// The kind of the task, its inputs and its outputs. Artifacts of the proof are named by their names.
    pub payload: TaskPayload<String>,
    /// Estimated memory that the task needs on a worker, in addition to the loaded engine, in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Number of program cycles that the task proves; 0 if it proves none, or if the number is unknown.
    pub cycles: u64,
}

impl TaskSpec {
    /// Returns the kind of the task.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        self.payload.kind()
    }
}

/// How much of a worker's memory its attempts can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptMemory {
    /// Bytes for each attempt when all provers of the machine prove at the same time.
    pub each_bytes: u64,
    /// Bytes for an attempt that runs alone on the machine.
    pub alone_bytes: u64,
}
