//! Runs a program without proving and reads which proofs it verifies.

use super::calls::ProofCalls;
use crate::executor::{ExecutionBound, ExecutionEnd, memory_with_margin, ran_away, supervise, trace_bytes};
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, Program, SP1CoreOpts};
use sp1_core_executor_runner::MinimalExecutorRunner;
use sp1d_orchestrator::ProofFailure;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio_util::sync::CancellationToken;

/// Runs `program` on the values `inputs` and returns which proofs it verifies. The program runs only instructions from
/// its file. Returns `None` if the run does not end with exit code 0 within `cycle_limit`: the execution for the proof
/// reports the reason. Cancelling `stop` ends the run. Must be called within a tokio runtime.
///
/// # Errors
/// Fails if the run is stopped, certainly exceeds `cycle_limit` without completing a chunk of its trace, or exceeds
/// another limit.
pub fn observe_proof_calls<'a>(
    program: Program,
    inputs: Vec<Vec<u8>>,
    options: &'a SP1CoreOpts,
    cycle_limit: Option<u64>,
    stop: &'a CancellationToken,
) -> BoxFuture<'a, Result<Option<ProofCalls>, ProofFailure>> {
    Box::pin(observe(program, inputs, options, cycle_limit, stop))
}

async fn observe(
    program: Program,
    inputs: Vec<Vec<u8>>,
    options: &SP1CoreOpts,
    cycle_limit: Option<u64>,
    stop: &CancellationToken,
) -> Result<Option<ProofCalls>, ProofFailure> {
    let (program, options, chunks) = (Arc::new(program), options.clone(), Arc::new(AtomicU64::new(0)));
    let input_bytes = inputs.iter().map(|input| input.len() as u64).sum();
    let bound = ExecutionBound {
        cycle_limit,
        progress: chunks.clone(),
        // As for the execution of a proof: code that accesses no memory runs hundreds of millions of cycles per second.
        min_cycles_per_second: 20_000_000,
        memory_bytes: options.memory_limit,
        trace_bytes: trace_bytes(options.trace_chunk_slots as u64, options.minimal_trace_chunk_threshold),
        needs_whole_trace: false,
        input_bytes,
    };
    let read = move || read_calls(&program, &inputs, &options, cycle_limit, &chunks);
    let work = async move { tokio::task::spawn_blocking(read).await };
    let reason = match supervise(work, stop, bound).await {
        ExecutionEnd::Done(Ok(Ok(calls))) => return Ok(calls),
        ExecutionEnd::RanAway => return Err(ran_away(cycle_limit)),
        ExecutionEnd::Stopped => return Err(ProofFailure::Cancelled),
        ExecutionEnd::Failed(failure) => return Err(failure),
        ExecutionEnd::Done(Ok(Err(error))) => error.to_string(),
        ExecutionEnd::Done(Err(error)) | ExecutionEnd::Panicked(error) => error.to_string(),
    };
    tracing::debug!(%reason, "the proofs that the program verifies are not known before it is proven");
    Ok(None)
}

/// Runs the program. Counts the chunks of its trace in `chunks`.
fn read_calls(
    program: &Arc<Program>,
    inputs: &[Vec<u8>],
    options: &SP1CoreOpts,
    cycle_limit: Option<u64>,
    chunks: &AtomicU64,
) -> Result<Option<ProofCalls>, ExecutionError> {
    let mut runner = MinimalExecutorRunner::new(
        program.clone(),
        false,
        Some(options.minimal_trace_chunk_threshold),
        memory_with_margin(options.memory_limit),
        options.trace_chunk_slots,
    );
    inputs.iter().for_each(|input| runner.with_input(input));
    let mut calls = ProofCalls::new();
    while let Some(chunk) = runner.try_execute_chunk()? {
        chunks.fetch_add(1, Ordering::Relaxed);
        calls.read(&chunk, program, options)?;
        if cycle_limit.is_some_and(|limit| calls.cycles() > limit) {
            return Ok(None);
        }
    }
    Ok((runner.exit_code() == 0).then_some(calls))
}
