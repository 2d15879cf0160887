//! The exit codes of errors of the orchestrator, the worker and SP1.

use super::codes::{HOST, INTERRUPTED, OTHER, PROGRAM, TIMEOUT, USAGE, WORKERS};
use sp1d_engine::{MachineError, OptionsError};
use sp1d_orchestrator::{ConnectError, ProofFailure};
use sp1d_roles::{WorkerError, config::ConfigError};
use sp1d_worker::MemoryError;

/// Returns the exit code of `error`. Returns `None` if the error is of another kind.
pub(super) fn code_of(error: &anyhow::Error) -> Option<u8> {
    if let Some(failure) = error.downcast_ref::<ProofFailure>() {
        return Some(match failure {
            ProofFailure::Program(_) | ProofFailure::GasLimit { .. } => PROGRAM,
            ProofFailure::Request(_) => USAGE,
            ProofFailure::Machine(_) | ProofFailure::Interrupted(_) => HOST,
            ProofFailure::NoWorkers { .. }
            | ProofFailure::WorkersTaken { .. }
            | ProofFailure::WorkersNotReady { .. }
            | ProofFailure::Unsupported { .. }
            | ProofFailure::ShardTooLarge(_)
            | ProofFailure::TaskOutOfMemory { .. }
            | ProofFailure::NoLargeWorkerRemains { .. } => WORKERS,
            ProofFailure::Timeout(_) | ProofFailure::LateStart { .. } => TIMEOUT,
            ProofFailure::Cancelled => INTERRUPTED,
            _ => OTHER,
        });
    }
    if error.is::<ConnectError>() {
        return Some(WORKERS);
    }
    if error.is::<ConfigError>() || error.is::<OptionsError>() {
        return Some(USAGE);
    }
    if error.is::<MachineError>() || error.is::<MemoryError>() {
        return Some(HOST);
    }
    error.downcast_ref::<WorkerError>().map(|error| match error {
        WorkerError::Processor(_)
        | WorkerError::Serve(sp1d_worker::ServeError::Engine(_))
        | WorkerError::Thread(_)
        | WorkerError::ThreadEnded => HOST,
        _ => USAGE,
    })
}
