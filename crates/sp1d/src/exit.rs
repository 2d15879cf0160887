//! Exit codes, and the error message on stderr.

use crate::terminal;
use sp1_distributed::{WorkerError, distributed::config::ConfigError};
use sp1d_client::ClientError;
use sp1d_engine::{MachineError, OptionsError};
use sp1d_model::hint;
use sp1d_orchestrator::{ConnectError, ProofFailure};
use std::process::ExitCode;

/// An unexpected failure.
pub(crate) const OTHER: u8 = 1;
/// Invalid arguments, files or settings.
pub(crate) const USAGE: u8 = 2;
/// The program to prove failed, ran out of input or exceeded a limit.
pub(crate) const PROGRAM: u8 = 3;
/// No worker can be reached or supports a required task, or all workers were lost.
pub(crate) const WORKERS: u8 = 4;
/// The timeout passed.
pub(crate) const TIMEOUT: u8 = 5;
/// The proof does not verify.
pub(crate) const UNVERIFIED: u8 = 6;
/// This machine lacks something, for example memory, `/dev/shm` or processor features.
pub(crate) const HOST: u8 = 7;
/// Interrupted, as shells report it: 128 plus the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// The list of exit codes in `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  success
    1  unexpected failure
    2  invalid arguments, files or settings
    3  the program to prove failed, ran out of input or exceeded a limit
    4  no worker can be reached or supports a required task, or all workers were lost
    5  the timeout passed
    6  the proof does not verify
    7  this machine lacks something, for example memory, /dev/shm or processor features
  130  interrupted";

/// An error with the exit code of the process.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct CliError {
    code: u8,
    text: String,
}

impl CliError {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }
}

/// Prints the error and its causes on one line, then its hints, and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let (text, hints) = hint::separate(error.chain().map(ToString::to_string));
    let hints: String = hints.iter().map(|hint| format!("{}{hint}\n", hint::PREFIX)).collect();
    terminal::say(format!("error: {text}\n{hints}").as_bytes());
    ExitCode::from(code_of(error))
}

/// Returns the error and its causes on one line, without hints.
pub(crate) fn without_hints(error: &anyhow::Error) -> String {
    hint::separate(error.chain().map(ToString::to_string)).0
}

fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<CliError>() {
        return failure.code;
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return match error {
            ClientError::Address { .. } => USAGE,
            ClientError::Unreachable { .. } => WORKERS,
            // Too many requests (429), service unavailable (503) and insufficient storage (507). See RFC 9110 and RFC
            // 4918.
            ClientError::Refused { status: 429 | 503, .. } => WORKERS,
            ClientError::Refused { status: 507, .. } => HOST,
            ClientError::Refused { status: 400..500, .. } => USAGE,
            _ => OTHER,
        };
    }
    if let Some(failure) = error.downcast_ref::<ProofFailure>() {
        return match failure {
            ProofFailure::Program(_) => PROGRAM,
            ProofFailure::Request(_) => USAGE,
            ProofFailure::Machine(_) | ProofFailure::Interrupted(_) => HOST,
            ProofFailure::NoWorkers { .. } | ProofFailure::Unsupported { .. } | ProofFailure::OutOfMemory(_) => WORKERS,
            ProofFailure::Timeout(_) => TIMEOUT,
            ProofFailure::Cancelled => INTERRUPTED,
            _ => OTHER,
        };
    }
    if error.is::<ConnectError>() {
        return WORKERS;
    }
    if error.is::<ConfigError>() || error.is::<OptionsError>() {
        return USAGE;
    }
    if error.is::<MachineError>() {
        return HOST;
    }
    match error.downcast_ref::<WorkerError>() {
        Some(
            WorkerError::Serve(sp1d_worker::ServeError::Engine(_)) | WorkerError::Thread(_) | WorkerError::ThreadEnded,
        ) => HOST,
        Some(_) => USAGE,
        None => OTHER,
    }
}
