//! Executes programs without proving, and explains failures.

use crate::{
    execution::{Ended, Leash, supervise},
    host::little_shared_memory,
};
use futures::future::BoxFuture;
use orchestrator::ProofFailure;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::SP1PublicValues;
use std::sync::Arc;
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
}

/// Executes `program` on one of SP1's nodes, as SP1's own clients do. Executions of this process start one at a time,
/// because their child processes are told apart by the order in which they start. Dropping the future stops the
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
    Box::pin(async move { Runner(node.clone()).run_in(program, stdin, context, &CancellationToken::new()).await })
}

/// Executes programs without proving.
#[derive(Clone)]
pub(crate) struct Runner(pub(crate) SP1NodeCore);

impl Runner {
    /// Does the same as SP1's `execute`. Cancelling `stop` ends the execution. An exit code other than 0 is not an
    /// error.
    pub(crate) async fn run_in(
        &self,
        program: &[u8],
        stdin: SP1Stdin,
        context: SP1Context<'static>,
        stop: &CancellationToken,
    ) -> Result<(SP1PublicValues, ExecutionReport), ProofFailure> {
        let cycle_limit = context.max_cycles;
        let (node, owned) = (self.0.clone(), program.to_vec());
        let work = async move { node.execute(&owned, stdin, context).await };
        // Estimating gas processes the whole trace, at some million cycles per second.
        let leash = Leash { cycle_limit, chunks: Arc::default(), slowest_cycles_per_second: 2_000_000 };
        match supervise(work, stop, leash).await {
            Ended::Done(Ok((public_values, _digest, report))) => Ok((public_values, report)),
            Ended::Done(Err(error)) => Err(execution_failure(error.downcast_ref(), &error)),
            Ended::Panicked(error) => Err(ProofFailure::Internal(format!("the execution panicked: {error}"))),
            Ended::RanAway => Err(ran_away(cycle_limit)),
            Ended::Stopped => Err(ProofFailure::Cancelled),
        }
    }

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
        let (public_values, report) = self.run_in(program, stdin, context, stop).await?;
        let stderr = stderr.borrow().clone();
        let executed = Executed {
            public_values: public_values.to_vec(),
            cycles: report.total_instruction_count(),
            gas: report.gas(),
        };
        Ok(ProgramRun { executed, exit_code: u32::try_from(report.exit_code).unwrap_or(u32::MAX), stderr })
    }
}

/// The result of an execution that ended with any exit code.
pub(crate) struct ProgramRun {
    pub(crate) executed: Executed,
    pub(crate) exit_code: u32,
    pub(crate) stderr: String,
}

/// Returns the failure of an execution that was killed because it certainly exceeded its cycle limit.
pub(crate) fn ran_away(cycle_limit: Option<u64>) -> ProofFailure {
    let limit = cycle_limit.unwrap_or_default();
    ProofFailure::Guest(format!(
        "the program exceeded its limit of {limit} cycles and did not end\n\
         hint: raise the cycle limit (`--cycle-limit`), or look for an endless loop in the program"
    ))
}

/// Returns the failure of an execution that SP1 stopped at its cycle limit.
fn passed_limit(limit: u64) -> ProofFailure {
    ProofFailure::Guest(format!(
        "the program exceeded its limit of {limit} cycles\n\
         hint: raise the cycle limit (`--cycle-limit`), or give the program a smaller input"
    ))
}

/// Returns the failure of an execution that ended with an error. `typed` is the error if SP1 kept its type.
pub(crate) fn execution_failure(typed: Option<&ExecutionError>, error: &dyn std::fmt::Display) -> ProofFailure {
    match typed {
        Some(ExecutionError::ExceededCycleLimit(limit)) => passed_limit(*limit),
        Some(ExecutionError::KilledByMemoryMonitor(_) | ExecutionError::ChildKilled()) => killed_from_outside(error),
        Some(ExecutionError::Other(_)) | None => untyped_failure(error),
        Some(guest) => ProofFailure::Guest(format!("the execution of the program failed: {guest}")),
    }
}

/// Returns the failure of an executor that the operating system or another process killed. Another try may succeed.
pub(crate) fn killed_from_outside(error: &dyn std::fmt::Display) -> ProofFailure {
    ProofFailure::Interrupted(format!(
        "the executor process was killed from outside ({error}), most likely because this machine has too little \
         memory for the program"
    ))
}

/// Returns the failure of an execution that has no typed error. If `/dev/shm` is full, the executor is killed by a
/// signal that does not name the cause, and the memory is free again by now. So check whether `/dev/shm` is small.
fn untyped_failure(error: &dyn std::fmt::Display) -> ProofFailure {
    match little_shared_memory() {
        Some(free_mb) => ProofFailure::Host(format!(
            "the execution of the program failed ({error}), most likely because /dev/shm has only {free_mb} MB free\n\
             hint: enlarge it with `mount -o remount,size=6G /dev/shm`, or start the container with `--shm-size=6g`"
        )),
        None => ProofFailure::Guest(format!("the execution of the program failed: {error}")),
    }
}

/// Explains the exit code of a program. The message contains what the program wrote to stderr.
pub(crate) fn program_failure(code: u32, stderr: &str) -> ProofFailure {
    let mut words: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // A panic message is written twice.
    words.dedup();
    let words = words.join(" | ");
    // SP1's exit code for any invalid hint. Most often the program reads beyond the end of its input. SP1's patched
    // crates also use the code if a value from the prover fails their check.
    const INVALID_HINT: u32 = 3;
    let (what, hint) = match code {
        INVALID_HINT => (
            "the program ran out of input or received an invalid hint",
            "\nhint: check that the stdin contains every value that the program reads",
        ),
        1 => ("the program panicked", ""),
        _ => ("the program failed", ""),
    };
    ProofFailure::Guest(if words.is_empty() {
        format!("{what} (exit code {code}){hint}")
    } else {
        format!("{what} (exit code {code}): {words}{hint}")
    })
}
