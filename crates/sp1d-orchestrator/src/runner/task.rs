//! A task as the runner submits it.

use sp1d_protocol::TaskPayload;
use sp1d_scheduler::{ShardRoom, ShardSize, TaskKind};
use std::time::Duration;

/// A task for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// The kind of the task, its inputs and its outputs. Each input is the name of an artifact of the proof.
    pub payload: TaskPayload<String>,
    /// Estimated memory that the task needs on a worker, in addition to the loaded engine, in bytes; 0 if unknown.
    pub needed_bytes: u64,
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

/// What bounds the shards that a connected worker proves, and how fast it proves them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardWorker {
    /// The name of the worker.
    pub name: String,
    /// How much memory its attempts can use; `None` if it does not report it. This does not bound the shards of a
    /// worker with a largest cut.
    pub memory: Option<AttemptMemory>,
    /// The most cells of a shard that its provers prove. GPUs have such a bound.
    pub largest_cut: Option<u64>,
    /// Number of its provers.
    pub provers: u32,
    /// How long a task of the kind takes on it, as learned; `None` if it has not proven one.
    pub pace: Option<Duration>,
    /// The cut of the last shard that it proved in its session: `pace` is about shards of this cut. `None` if it has
    /// not proven one.
    pub paced_cut: Option<u64>,
}

impl ShardWorker {
    /// A worker about which only the memory is known.
    #[must_use]
    pub fn with_memory(memory: Option<AttemptMemory>) -> Self {
        Self { memory, provers: 1, ..Self::default() }
    }

    /// Returns true if shards of `size` fit into the worker. Only then does it get shards of a try that excludes the
    /// workers that are too small for them.
    #[must_use]
    pub fn fits(&self, size: ShardSize) -> bool {
        shard_room(self.largest_cut, self.memory).fits(size)
    }
}

/// Returns what bounds the shards of a worker. The memory of its machine does not bound the shards of a GPU.
pub(crate) fn shard_room(largest_cut: Option<u64>, memory: Option<AttemptMemory>) -> ShardRoom {
    match (largest_cut, memory) {
        (Some(cut), _) => ShardRoom::Cells(cut),
        (None, Some(memory)) => ShardRoom::Memory(memory.each_bytes),
        (None, None) => ShardRoom::Unknown,
    }
}
