//! Runs programs for their traces, without proving.

use super::{
    child_limits::memory_with_margin,
    execution_bound::ExecutionBound,
    failures::ran_away,
    shared_memory::trace_bytes,
    supervisor::{ExecutionEnd, supervise},
};
use sp1_core_executor::{ExecutionError, Program, SP1CoreOpts, TraceChunkRaw};
use sp1_core_executor_runner::MinimalExecutorRunner;
use sp1d_orchestrator::ProofFailure;
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A run of a program for its trace.
pub(crate) struct TracedRun {
    pub(crate) program: Arc<Program>,
    /// The values that the program can read.
    pub(crate) inputs: Vec<Vec<u8>>,
    pub(crate) options: SP1CoreOpts,
    /// Ends a run that makes no progress. With `None`, such a run is not ended.
    pub(crate) cycle_limit: Option<u64>,
}

/// The outcome of a run that ended by itself.
pub(crate) struct TracedOutcome<S> {
    /// What was read from the trace.
    pub(crate) state: S,
    pub(crate) exit_code: u32,
    /// Number of values that the program read: from its input, and those that it made for itself.
    pub(crate) reads: u64,
}

impl TracedRun {
    /// Runs the program and passes each chunk of its trace to `read`, which can end the run. Returns `None` if the run
    /// does not end by itself, or fails: the execution for the proof reports the reason. Cancelling `stop` ends the
    /// run. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Fails if the run is stopped, certainly exceeds its cycle limit without completing a chunk of its trace, or
    /// exceeds another limit.
    pub(crate) async fn run<S: Send + 'static>(
        self,
        mut state: S,
        read: impl Fn(&mut S, &TraceChunkRaw) -> Result<ControlFlow<()>, ExecutionError> + Send + 'static,
        stop: &CancellationToken,
    ) -> Result<Option<TracedOutcome<S>>, ProofFailure> {
        let (chunks, cycle_limit) = (Arc::new(AtomicU64::new(0)), self.cycle_limit);
        let bound = ExecutionBound {
            cycle_limit,
            progress: chunks.clone(),
            // As for the execution of a proof: code that accesses no memory runs hundreds of millions of cycles per
            // second.
            min_cycles_per_second: 20_000_000,
            memory_bytes: self.options.memory_limit,
            trace_bytes: trace_bytes(self.options.trace_chunk_slots as u64, self.options.minimal_trace_chunk_threshold),
            needs_whole_trace: false,
            input_bytes: self.inputs.iter().map(|input| input.len() as u64).sum(),
        };
        let read_all = move || {
            let mut runner = self.start();
            while let Some(chunk) = runner.try_execute_chunk()? {
                chunks.fetch_add(1, Ordering::Relaxed);
                if read(&mut state, &chunk)?.is_break() {
                    return Ok(None);
                }
            }
            let (exit_code, reads) = (runner.exit_code(), runner.hints().len() as u64);
            Ok::<_, ExecutionError>(Some(TracedOutcome { state, exit_code, reads }))
        };
        // A run that is stopped before its thread starts does not start.
        let work = async move { AbortOnDropHandle::new(tokio::task::spawn_blocking(read_all)).await };
        let reason = match supervise(work, stop, bound).await {
            ExecutionEnd::Done(Ok(Ok(outcome))) => return Ok(outcome),
            ExecutionEnd::RanAway => return Err(ran_away(cycle_limit)),
            ExecutionEnd::Stopped => return Err(ProofFailure::Cancelled),
            ExecutionEnd::Failed(failure) => return Err(failure),
            ExecutionEnd::Done(Ok(Err(error))) => error.to_string(),
            ExecutionEnd::Done(Err(error)) | ExecutionEnd::Panicked(error) => error.to_string(),
        };
        tracing::debug!(%reason, "the trace of the program was not read to its end");
        Ok(None)
    }

    /// Prepares the run. SP1 notes the values that a program reads only if it writes a trace.
    fn start(&self) -> MinimalExecutorRunner {
        let mut runner = MinimalExecutorRunner::new(
            self.program.clone(),
            false,
            Some(self.options.minimal_trace_chunk_threshold),
            memory_with_margin(self.options.memory_limit),
            self.options.trace_chunk_slots,
        );
        self.inputs.iter().for_each(|input| runner.with_input(input));
        runner
    }
}
