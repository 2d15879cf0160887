//! Running programs without proving, and what it means when that fails.

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

/// What an execution without proof came to.
#[derive(Debug, Clone)]
pub struct Executed {
    /// What the program committed.
    pub public_values: Vec<u8>,
    /// Cycles it took.
    pub cycles: u64,
    /// SP1's measure of proving cost.
    pub gas: Option<u64>,
}

/// Executes on any of SP1's nodes, as SP1's own clients do, and in turn with all executions of this process: they are
/// told apart by the order in which they begin. Dropping the future stops it. To be called within a tokio runtime.
///
/// # Errors
/// When the program cannot be run, or passes the limit.
pub fn execute_on<'a>(
    node: &'a SP1NodeCore,
    program: &'a [u8],
    stdin: SP1Stdin,
    context: SP1Context<'static>,
) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ProofFailure>> {
    Box::pin(async move { Runner(node.clone()).run_in(program, stdin, context, &CancellationToken::new()).await })
}

/// Runs programs without proving.
#[derive(Clone)]
pub(crate) struct Runner(pub(crate) SP1NodeCore);

impl Runner {
    /// As SP1's own `execute`, until `stop`: a program that ends with another code than 0 has been executed too.
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
        // Estimating gas goes over the whole trace, at some million cycles a second.
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

pub(crate) struct ProgramRun {
    pub(crate) executed: Executed,
    pub(crate) exit_code: u32,
    pub(crate) stderr: String,
}

pub(crate) fn ran_away(cycle_limit: Option<u64>) -> ProofFailure {
    let limit = cycle_limit.unwrap_or_default();
    ProofFailure::Guest(format!(
        "the program passed its limit of {limit} cycles without coming to an end; raise the limit or mend its loop"
    ))
}

fn passed_limit(limit: u64) -> ProofFailure {
    ProofFailure::Guest(format!(
        "the program passed its limit of {limit} cycles; raise the limit or give it less to do"
    ))
}

pub(crate) fn execution_failure(typed: Option<&ExecutionError>, error: &dyn std::fmt::Display) -> ProofFailure {
    match typed {
        Some(ExecutionError::ExceededCycleLimit(limit)) => passed_limit(*limit),
        Some(ExecutionError::KilledByMemoryMonitor(_) | ExecutionError::ChildKilled()) => killed_from_outside(error),
        Some(ExecutionError::Other(_)) | None => untyped_failure(error),
        Some(guest) => ProofFailure::Guest(format!("the program could not be run to its end: {guest}")),
    }
}

/// By the system, or by somebody: another try may come through.
pub(crate) fn killed_from_outside(error: &dyn std::fmt::Display) -> ProofFailure {
    ProofFailure::Interrupted(format!(
        "the executor's process was killed from outside ({error}), most likely because this machine has too little memory for the program"
    ))
}

/// A full /dev/shm kills the executor by a signal that says nothing more, and by now it is empty again.
fn untyped_failure(error: &dyn std::fmt::Display) -> ProofFailure {
    match little_shared_memory() {
        Some(free_mb) => ProofFailure::Host(format!(
            "the program could not be run to its end ({error}), most likely because /dev/shm has only {free_mb} MB: enlarge it \
             (`mount -o remount,size=6G /dev/shm`, in containers --shm-size=6g)"
        )),
        None => ProofFailure::Guest(format!("the program could not be run to its end: {error}")),
    }
}

/// What a program's exit code means, with the last words it said.
pub(crate) fn program_failure(code: u32, stderr: &str) -> ProofFailure {
    let mut words: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // A panic's message is written twice.
    words.dedup();
    let words = words.join(" | ");
    // SP1's code for input that was not there.
    const INVALID_HINT: u32 = 3;
    let what = match code {
        INVALID_HINT => "the program ran out of input: it reads more values than its stdin holds",
        1 => "the program panicked",
        _ => "the program failed",
    };
    ProofFailure::Guest(if words.is_empty() {
        format!("{what} (exit code {code})")
    } else {
        format!("{what} (exit code {code}): {words}")
    })
}
