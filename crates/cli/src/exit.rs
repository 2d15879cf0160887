//! Exit codes and the last line on stderr.

use crate::console;
use client::ClientError;
use engine::{HostError, OptionsError};
use orchestrator::{ConnectError, ProofFailure};
use sp1_distributed::{WorkerError, distributed::config::ConfigError};
use std::process::ExitCode;

/// Something unexpected.
pub(crate) const OTHER: u8 = 1;
/// Arguments, files or settings are wrong.
pub(crate) const USAGE: u8 = 2;
/// The program to be proven is at fault.
pub(crate) const PROGRAM: u8 = 3;
/// No worker can be reached, or all were lost.
pub(crate) const WORKERS: u8 = 4;
/// The time was up.
pub(crate) const TIMEOUT: u8 = 5;
/// The proof does not verify.
pub(crate) const UNVERIFIED: u8 = 6;
/// This machine lacks something.
pub(crate) const HOST: u8 = 7;
/// Interrupted, as shells count it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Shown by `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done
    1  something unexpected failed
    2  arguments, files or settings are wrong
    3  the program to be proven failed, ran out of input or passed a limit
    4  no worker can be reached or does what is needed, or all were lost
    5  the timeout passed
    6  the proof does not verify
    7  this machine lacks something: memory, /dev/shm, processor features
  130  interrupted";

/// An error that says with which code to end.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }
}

/// Prints the error as one sentence and gives its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    console::say(format!("error: {}\n", causes.join(": ")).as_bytes());
    ExitCode::from(code_of(error))
}

fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return match error {
            ClientError::Address { .. } => USAGE,
            ClientError::Unreachable { .. } => WORKERS,
            ClientError::Foreign { .. } => OTHER,
            // Too many requests; a service that is too busy; no room on its disk. See RFC 9110 and RFC 4918.
            ClientError::Refused { status: 429 | 503, .. } => WORKERS,
            ClientError::Refused { status: 507, .. } => HOST,
            ClientError::Refused { status: 400..500, .. } => USAGE,
            ClientError::Refused { .. } => OTHER,
        };
    }
    if let Some(failure) = error.downcast_ref::<ProofFailure>() {
        return match failure {
            ProofFailure::Guest(_) => PROGRAM,
            ProofFailure::Request(_) => USAGE,
            ProofFailure::Host(_) | ProofFailure::Interrupted(_) => HOST,
            ProofFailure::NoWorkers { .. } | ProofFailure::Unable { .. } | ProofFailure::Memory(_) => WORKERS,
            ProofFailure::Timeout(_) => TIMEOUT,
            ProofFailure::Cancelled => INTERRUPTED,
            ProofFailure::Task { .. } | ProofFailure::Unverified(_) | ProofFailure::Internal(_) => OTHER,
        };
    }
    if error.is::<ConnectError>() {
        return WORKERS;
    }
    if error.is::<ConfigError>() || error.is::<OptionsError>() {
        return USAGE;
    }
    if error.is::<HostError>() {
        return HOST;
    }
    match error.downcast_ref::<WorkerError>() {
        Some(WorkerError::Serve(worker::Error::Engine(_)) | WorkerError::Thread(_)) => HOST,
        Some(_) => USAGE,
        None => OTHER,
    }
}
