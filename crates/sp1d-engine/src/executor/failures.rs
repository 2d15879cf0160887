//! Explains why executions failed.

use super::{
    child_use::{MAX_OUTPUT_BYTES, MAX_OUTPUT_LINE_BYTES},
    executor_error::ErrorOrigin,
    machine_check::little_shared_memory,
};
use sp1_core_executor::ExecutionError;
use sp1d_model::{clean_line, counted};
use sp1d_orchestrator::ProofFailure;

sp1d_model::limits! {
    /// Maximum number of characters of a program's output in the error of its proof. A panic message is much shorter.
    const MAX_OUTPUT_CHARACTERS: usize = 4000; Count by Program;
}

/// Returns the failure of an execution that was killed because it certainly exceeded its cycle limit.
pub(crate) fn ran_away(cycle_limit: Option<u64>) -> ProofFailure {
    let limit = counted(cycle_limit.unwrap_or_default(), "cycle");
    ProofFailure::Program(format!(
        "the program exceeded its limit of {limit} and did not end\n\
         hint: raise the cycle limit (`--cycle-limit`), or look for an endless loop in the program"
    ))
}

/// The hint for a program that exceeds its memory limit.
const MEMORY_HINT: &str = "\nhint: raise the limit with `MEMORY_LIMIT` or the setting `memory_limit`, or give the program \
                           a smaller input";

/// Returns the failure of an execution whose program used more than `limit_bytes` of memory.
pub(super) fn too_much_memory(limit_bytes: u64) -> ProofFailure {
    ProofFailure::Program(format!(
        "the program used more memory than its limit of {} MB{MEMORY_HINT}",
        limit_bytes >> 20
    ))
}

/// Returns the failure of an execution whose program wrote a line of `bytes` bytes, which is too long.
pub(super) fn too_long_line_written(bytes: u64) -> ProofFailure {
    ProofFailure::Program(format!(
        "the program wrote a line of {} MB to its stdout or stderr; at most {} MB are allowed\n\
         hint: write shorter lines, or commit the data as public values",
        bytes >> 20,
        MAX_OUTPUT_LINE_BYTES >> 20
    ))
}

/// Returns the failure of an execution whose program wrote too much.
pub(super) fn too_much_output() -> ProofFailure {
    ProofFailure::Program(format!(
        "the program wrote more than {} MB of lines and public values\n\
         hint: write fewer lines, or commit the hash of the data instead of the data",
        MAX_OUTPUT_BYTES >> 20
    ))
}

/// Returns the failure of an execution that SP1 stopped at its cycle limit.
pub(super) fn passed_limit(limit: u64) -> ProofFailure {
    let limit = counted(limit, "cycle");
    ProofFailure::Program(format!(
        "the program exceeded its limit of {limit}\n\
         hint: raise the cycle limit (`--cycle-limit`), or give the program a smaller input"
    ))
}

/// Returns the failure of an execution that ended with an error. `typed` is the error if SP1 kept its type.
pub(crate) fn execution_failure(typed: Option<&ExecutionError>, error: &dyn std::fmt::Display) -> ProofFailure {
    match typed {
        Some(ExecutionError::ExceededCycleLimit(limit)) => passed_limit(*limit),
        // SP1 checks the memory too, and may be first.
        Some(ExecutionError::KilledByMemoryMonitor(used_mb)) => {
            ProofFailure::Program(format!("the program used {used_mb} MB of memory, more than its limit{MEMORY_HINT}"))
        }
        Some(ExecutionError::ChildKilled()) => killed_from_outside(error),
        Some(ExecutionError::Other(text)) => match ErrorOrigin::of(text) {
            ErrorOrigin::Process => untyped_failure(error),
            ErrorOrigin::Outside => killed_from_outside(error),
            ErrorOrigin::Start => not_started(error),
            ErrorOrigin::Unknown => {
                ProofFailure::Machine(format!("this machine failed to execute the program: {error}"))
            }
        },
        None => untyped_failure(error),
        Some(guest) => {
            let text = clean_line(&guest.to_string(), MAX_OUTPUT_CHARACTERS);
            ProofFailure::Program(format!("the execution of the program failed: {text}"))
        }
    }
}

/// Returns true if `error` names no cause: one part of the executor may only have noticed the failure of another.
pub(crate) fn is_unexplained(error: &ExecutionError) -> bool {
    matches!(error, ExecutionError::Other(text) if ErrorOrigin::of(text) == ErrorOrigin::Unknown)
}

/// Returns the failure of an executor that could not be started. The next try finds its program again.
fn not_started(error: &dyn std::fmt::Display) -> ProofFailure {
    ProofFailure::Interrupted(format!(
        "this machine could not start the executor of the program ({error})\n\
         hint: `sp1d doctor` checks the temporary folder and the memory"
    ))
}

/// Returns the failure of an executor that the operating system or another process killed. Another try may succeed.
pub(crate) fn killed_from_outside(error: &dyn std::fmt::Display) -> ProofFailure {
    ProofFailure::Interrupted(format!(
        "the executor process was killed from outside ({error}), most likely because this machine has too little \
         memory for the program"
    ))
}

/// Returns the failure of an execution that has no typed error. If `/dev/shm` is full, the executor is killed by a
/// signal that does not name the cause. Most of the memory is free again by now. So check whether little is free even
/// now.
fn untyped_failure(error: &dyn std::fmt::Display) -> ProofFailure {
    match little_shared_memory() {
        Some(free_mb) => ProofFailure::Machine(format!(
            "the execution of the program failed ({error}), most likely because /dev/shm has only {free_mb} MB free\n\
             hint: enlarge it with `mount -o remount,size=6G /dev/shm`, or start the container with `--shm-size=6g`"
        )),
        None => ProofFailure::Program(format!("the execution of the program failed: {error}")),
    }
}

/// SP1 keeps this much of a program's output, and up to three bytes less because it keeps whole characters.
const SP1_OUTPUT_BYTES: usize = 2 * 1024 - 3;

/// Explains the exit code of a program. The message contains what the program wrote to stderr. An ellipsis
/// replaces its start if it is long.
pub(crate) fn program_failure(code: u32, stderr: &str) -> ProofFailure {
    let mut words: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // A panic message is written twice.
    words.dedup();
    let words = words.join(" | ");
    // The last words are those of the panic.
    let left_out = words.chars().count().saturating_sub(MAX_OUTPUT_CHARACTERS);
    let last: String = words.chars().skip(left_out).collect();
    let words = clean_line(&last, MAX_OUTPUT_CHARACTERS);
    let is_cut = left_out > 0 || stderr.len() >= SP1_OUTPUT_BYTES;
    let words = if is_cut { format!("… {words}") } else { words };
    // SP1's exit code for any invalid hint. Most often the program reads beyond the end of its input. SP1's patched
    // crates also use the code if a value from the prover fails their check.
    const INVALID_HINT: u32 = 3;
    let (what, hint) = match code {
        INVALID_HINT => (
            "the program ran out of input or received an invalid hint",
            "\nhint: check the number, the order and the types of the input values against each read of the program",
        ),
        1 => ("the program panicked", ""),
        _ => ("the program failed", ""),
    };
    ProofFailure::Program(if words.is_empty() {
        format!("{what} (exit code {code}){hint}")
    } else {
        format!("{what} (exit code {code}): {words}{hint}")
    })
}
