//! Executes programs without proving.

use super::{
    child_limits::memory_with_margin,
    execution_bound::ExecutionBound,
    failures::{execution_failure, passed_limit, ran_away},
    gas_bound::{ExceededLimit, GasBound},
    shared_memory::trace_bytes,
    supervisor::{ExecutionEnd, supervise},
    traced_run::TracedRun,
};
use crate::unread_input::UnreadInput;
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, ExecutionReport, Program, SP1Context, SP1CoreOpts};
use sp1_core_machine::io::SP1Stdin;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::worker::{SP1ExecutorConfig, SP1NodeCore, execute_with_options_and_machine};
use sp1d_model::hint;
use sp1d_orchestrator::ProofFailure;
use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The result of an execution without proof.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The public values that the program committed.
    pub public_values: Vec<u8>,
    /// Number of executed cycles.
    pub cycles: u64,
    /// Gas, SP1's measure of proving cost. `None` if it was not calculated.
    pub gas: Option<u64>,
    /// The input values that the program did not read. `None` if it read all, or if they are not known.
    pub unread: Option<UnreadInput>,
    /// How long the execution took, without the second run that finds unread values.
    pub elapsed: Duration,
}

/// Executes `program` on one of SP1's nodes, as SP1's own clients do. Executions of this process start one at a time,
/// because only the order of their starts distinguishes their child processes. Dropping the future stops the
/// execution. Must be called within a tokio runtime.
///
/// # Errors
/// Fails if the program cannot be run, or exceeds the cycle limit of `context`.
pub fn execute_on<'a>(
    node: &'a SP1NodeCore,
    program: &'a [u8],
    stdin: SP1Stdin,
    context: SP1Context<'static>,
) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ProofFailure>> {
    Box::pin(async move {
        ProgramExecutor::new(node.clone()).run_in(program, stdin, context, &CancellationToken::new()).await
    })
}

/// Executes `program` on one of SP1's nodes to count its gas, within the limits of a request. The program may use
/// `memory_bytes` of memory; with `None`, SP1's limit from the environment. Returns the gas. Dropping the future stops
/// the execution. Must be called within a tokio runtime.
///
/// # Errors
/// Fails with [`ProofFailure::GasLimit`] if the program uses more than `gas_limit`. Fails also if the program cannot be
/// run, or exceeds another limit.
pub fn count_gas_on<'a>(
    node: &'a SP1NodeCore,
    program: &'a [u8],
    stdin: SP1Stdin,
    gas_limit: u64,
    cycle_limit: Option<u64>,
    memory_bytes: Option<u64>,
) -> BoxFuture<'a, Result<u64, ProofFailure>> {
    let bound = GasBound { gas_limit, cycle_limit };
    let executor = ProgramExecutor::new(node.clone());
    let executor = match memory_bytes {
        Some(bytes) => executor.with_memory(bytes),
        None => executor,
    };
    Box::pin(async move { executor.count_gas(program, stdin, bound, &CancellationToken::new()).await })
}

/// What an execution by SP1 returns: the public values, their digest and the report.
type NodeOutcome = anyhow::Result<(SP1PublicValues, [u8; 32], ExecutionReport)>;

/// Executes programs without proving.
#[derive(Clone)]
pub(crate) struct ProgramExecutor {
    node: SP1NodeCore,
    /// Memory that a program may use, in bytes.
    memory_bytes: u64,
    /// SP1's options. With `None`, those of the node.
    options: Option<SP1CoreOpts>,
}

impl ProgramExecutor {
    /// Creates an executor with the memory limit of SP1's node, which it reads from the environment.
    pub(crate) fn new(node: SP1NodeCore) -> Self {
        Self { node, memory_bytes: SP1CoreOpts::default().memory_limit, options: None }
    }

    /// Returns the same executor with the limit `memory_bytes`, which may be above that of the environment. All other
    /// options of SP1 are those of the environment.
    pub(crate) fn with_memory(self, memory_bytes: u64) -> Self {
        // SP1 checks the limit too, but the supervisor ends the program before, with a better error.
        let options = SP1CoreOpts { memory_limit: memory_with_margin(memory_bytes), ..SP1CoreOpts::default() };
        Self { memory_bytes, options: Some(options), ..self }
    }

    /// Does the same as SP1's `execute`, except that a run may have exactly as many cycles as its limit. Cancelling
    /// `stop` ends the execution. An exit code other than 0 is not an error.
    pub(crate) async fn run_in(
        &self,
        program: &[u8],
        stdin: SP1Stdin,
        mut context: SP1Context<'static>,
        stop: &CancellationToken,
    ) -> Result<(SP1PublicValues, ExecutionReport), ProofFailure> {
        let cycle_limit = context.max_cycles;
        context.max_cycles = cycle_limit.map(max_cycles_within);
        outcome(self.supervised(program, stdin, context, false, stop).await, cycle_limit)
    }

    /// Executes `program` to count its gas, within the limits of `bound`. Returns the gas: the same figure as SP1's
    /// `execute`. Cancelling `stop` ends the execution. An exit code other than 0 is not an error.
    ///
    /// The gas depends on how SP1 cuts the trace for counting. The execution for a proof cuts it into other pieces and
    /// would give a higher figure. A program with exactly the limit that SP1 has calculated would then fail.
    pub(crate) async fn count_gas(
        &self,
        program: &[u8],
        stdin: SP1Stdin,
        bound: GasBound,
        stop: &CancellationToken,
    ) -> Result<u64, ProofFailure> {
        let mut context = SP1Context::builder();
        context.calculate_gas(true);
        // The proof itself verifies the proofs in its input.
        context.set_deferred_proof_verification(false);
        context.max_cycles(max_cycles_within(bound.max_cycles()));
        let context = context.build();
        // Its trace has larger pieces than that of a proof, and many counts may run at the same time.
        let end = self.supervised(program, stdin, context, true, stop).await;
        if is_over_cycle_limit(&end) {
            return Err(match bound.exceeded() {
                ExceededLimit::Cycles(limit) => passed_limit(limit),
                ExceededLimit::Gas => ProofFailure::GasLimit { limit: bound.gas_limit, gas: None },
            });
        }
        let (_, report) = outcome(end, bound.cycle_limit)?;
        let gas = report.gas().ok_or_else(|| ProofFailure::Internal("SP1 did not count the gas".to_owned()))?;
        bound.check(gas)
    }

    /// Runs SP1's `execute` under supervision. The limits of the supervision follow from `context`. If
    /// `needs_whole_trace` is true, the execution waits until there is shared memory for its whole trace. An execution
    /// with a time limit must not wait for that.
    async fn supervised(
        &self,
        program: &[u8],
        stdin: SP1Stdin,
        context: SP1Context<'static>,
        needs_whole_trace: bool,
        stop: &CancellationToken,
    ) -> ExecutionEnd<NodeOutcome> {
        let cycle_limit = context.max_cycles;
        let options = SP1CoreOpts::default();
        // Without gas, SP1 writes no trace.
        let accesses = if context.calculate_gas { options.gas_trace_chunk_threshold } else { 0 };
        let trace_bytes = trace_bytes(options.gas_trace_chunk_slots as u64, accesses);
        let input_bytes = stdin.buffer.iter().map(|value| value.len() as u64).sum();
        let (node, owned, chosen_options) = (self.node.clone(), program.to_vec(), self.options.clone());
        let work = async move {
            let Some(chosen_options) = chosen_options else { return node.execute(&owned, stdin, context).await };
            // The node does the same, with its own options.
            let program =
                Program::from(&owned).map_err(|error| anyhow::anyhow!("cannot decode the program: {error}"))?;
            let (config, machine) = (SP1ExecutorConfig::default(), node.machine().clone());
            execute_with_options_and_machine(Arc::new(program), stdin, context, chosen_options, config, machine).await
        };
        // Estimating gas processes the whole trace, at some million cycles per second.
        let bound = ExecutionBound {
            cycle_limit,
            progress: Arc::default(),
            min_cycles_per_second: 2_000_000,
            memory_bytes: self.memory_bytes,
            trace_bytes,
            needs_whole_trace,
            input_bytes,
        };
        supervise(work, stop, bound).await
    }

    /// Does the same without a context of SP1. Calculates gas if `gas` is true. Also returns what the program wrote to
    /// stderr.
    pub(crate) async fn run(
        &self,
        program: &[u8],
        stdin: SP1Stdin,
        cycle_limit: Option<u64>,
        gas: bool,
        stop: &CancellationToken,
    ) -> Result<ProgramRun, ProofFailure> {
        let (stderr_sender, stderr) = watch::channel(String::new());
        let mut context = SP1Context::builder();
        context.calculate_gas(gas);
        if let Some(limit) = cycle_limit {
            context.max_cycles(limit);
        }
        let mut context = context.build();
        context.output_consumers.stderr = Some(stderr_sender);
        let started = Instant::now();
        let (public_values, report) = self.run_in(program, stdin, context, stop).await?;
        let elapsed = started.elapsed();
        let stderr = stderr.borrow().clone();
        let executed = Executed {
            public_values: public_values.to_vec(),
            cycles: report.total_instruction_count(),
            gas: report.gas(),
            unread: None,
            elapsed,
        };
        Ok(ProgramRun { executed, exit_code: u32::try_from(report.exit_code).unwrap_or(u32::MAX), stderr })
    }
}

/// Returns SP1's `max_cycles` for a run that may have up to `cycle_limit` cycles. SP1's `execute` stops a run with
/// exactly `max_cycles` cycles. Its execution for a proof lets such a run pass.
const fn max_cycles_within(cycle_limit: u64) -> u64 {
    cycle_limit.saturating_add(1)
}

/// Runs `program`, which has run to its end before, once more. Returns how many of the values `inputs` it does not
/// read. Returns `None` if it reads all, or if this cannot be found out. Cancelling `stop` ends the run.
///
/// SP1's `execute` does not tell. This run takes a few percent of its time, because it does not count gas.
pub(crate) async fn find_unread_input(
    program: Arc<Program>,
    inputs: Vec<Vec<u8>>,
    cycle_limit: Option<u64>,
    stop: &CancellationToken,
) -> Option<UnreadInput> {
    if inputs.is_empty() {
        return None;
    }
    let values = inputs.len() as u64;
    let run = TracedRun { program, inputs, options: SP1CoreOpts::default(), cycle_limit };
    // The trace itself is not needed.
    let ended = match run.run((), |_, _| Ok(ControlFlow::Continue(())), stop).await {
        Ok(ended) => ended?,
        Err(failure) => {
            let reason = hint::one_line(&failure.to_string());
            tracing::debug!(%reason, "it is not known whether the program read all of its input");
            return None;
        }
    };
    UnreadInput::after(ended.reads, values)
}

/// Returns true if a run was stopped because it had more cycles than its limit.
fn is_over_cycle_limit(end: &ExecutionEnd<NodeOutcome>) -> bool {
    match end {
        ExecutionEnd::RanAway => true,
        ExecutionEnd::Done(Err(error)) => {
            matches!(error.downcast_ref::<ExecutionError>(), Some(ExecutionError::ExceededCycleLimit(_)))
        }
        _ => false,
    }
}

/// Returns the result of a run with this cycle limit.
fn outcome(
    end: ExecutionEnd<NodeOutcome>,
    cycle_limit: Option<u64>,
) -> Result<(SP1PublicValues, ExecutionReport), ProofFailure> {
    match end {
        ExecutionEnd::Done(Ok((public_values, _digest, report))) => Ok((public_values, report)),
        ExecutionEnd::Done(Err(error)) => Err(match (error.downcast_ref::<ExecutionError>(), cycle_limit) {
            // SP1 names its `max_cycles`, which is one more.
            (Some(ExecutionError::ExceededCycleLimit(_)), Some(limit)) => passed_limit(limit),
            (typed, _) => execution_failure(typed, &error),
        }),
        ExecutionEnd::Panicked(error) => Err(ProofFailure::Internal(format!("the execution panicked: {error}"))),
        ExecutionEnd::RanAway => Err(ran_away(cycle_limit)),
        ExecutionEnd::Stopped => Err(ProofFailure::Cancelled),
        ExecutionEnd::Failed(failure) => Err(failure),
    }
}

/// The result of an execution that ended with any exit code.
pub(crate) struct ProgramRun {
    pub(crate) executed: Executed,
    pub(crate) exit_code: u32,
    pub(crate) stderr: String,
}
