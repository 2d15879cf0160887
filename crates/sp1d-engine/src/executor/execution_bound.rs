//! What bounds an execution: its cycles, where they cannot be counted exactly, its memory and its output.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

/// What bounds an execution.
#[derive(Debug, Clone)]
pub(crate) struct ExecutionBound {
    /// The cycle limit. With `None` the cycles are not bounded.
    pub(crate) cycle_limit: Option<u64>,
    /// A counter that grows while the execution makes progress: with each core shard that SP1 submits (a proof), or
    /// each trace chunk ([`TracedRun`](super::TracedRun)). It stays 0 for executions that do not count.
    pub(crate) progress: Arc<AtomicU64>,
    /// The fewest cycles that an execution of this kind runs per second of CPU time.
    pub(crate) min_cycles_per_second: u64,
    /// Memory that the program may use, in bytes.
    pub(crate) memory_bytes: u64,
    /// Shared memory that the trace of the execution may use, in bytes. See
    /// [`trace_bytes`](super::shared_memory::trace_bytes).
    pub(crate) trace_bytes: u64,
    /// True if the execution must have room for its whole trace before it starts. With a smaller share, it would
    /// exceed the share beside other executions.
    pub(crate) needs_whole_trace: bool,
    /// Length of the program's input, in bytes.
    pub(crate) input_bytes: u64,
}

impl ExecutionBound {
    /// Returns the CPU time without progress after which the cycle limit is certainly exceeded. Returns `None` without
    /// a cycle limit.
    pub(super) fn max_time_without_progress(&self) -> Option<Duration> {
        /// CPU time for starting, compiling and slow system calls.
        const MARGIN: Duration = Duration::from_secs(10);
        let limit = self.cycle_limit?;
        Some(MARGIN + Duration::from_secs(limit / self.min_cycles_per_second))
    }
}
