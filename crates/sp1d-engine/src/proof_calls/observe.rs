//! Runs a program without proving and reads which proofs it verifies.

use super::calls::ProofCalls;
use crate::executor::TracedRun;
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, Program, SP1CoreOpts, TraceChunkRaw};
use sp1d_orchestrator::ProofFailure;
use std::{ops::ControlFlow, sync::Arc};
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
    let program = Arc::new(program);
    let run = TracedRun { program: program.clone(), inputs, options: options.clone(), cycle_limit };
    let options = options.clone();
    let read = move |calls: &mut ProofCalls, chunk: &TraceChunkRaw| {
        calls.read(chunk, &program, &options)?;
        let is_over = cycle_limit.is_some_and(|limit| calls.cycles() > limit);
        Ok::<_, ExecutionError>(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let ended = run.run(ProofCalls::new(), read, stop).await?;
    Ok(ended.filter(|ended| ended.exit_code == 0).map(|ended| ended.state))
}
