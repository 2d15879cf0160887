//! Exit codes, and the error message on stderr.

use crate::console;
use client::ClientError;
use engine::{HostError, OptionsError};
use orchestrator::{ConnectError, ProofFailure};
use sp1_distributed::{WorkerError, distributed::config::ConfigError};
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

/// The start of a line that tells the user what to do about an error.
const HINT: &str = "hint: ";

/// Prints the error and its causes on one line, then its hints, and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let (text, hints) = split_hints(error.chain().map(ToString::to_string));
    let hints: String = hints.iter().map(|hint| format!("{HINT}{hint}\n")).collect();
    console::say(format!("error: {text}\n{hints}").as_bytes());
    ExitCode::from(code_of(error))
}

/// Returns the error and its causes on one line, without hints.
pub(crate) fn without_hints(error: &anyhow::Error) -> String {
    split_hints(error.chain().map(ToString::to_string)).0
}

/// Separates the lines that start with `hint: ` from the texts of an error and its causes. Returns the other lines,
/// joined with `: `, and the hints in order, without their prefix and without duplicates.
pub(crate) fn split_hints(texts: impl IntoIterator<Item = String>) -> (String, Vec<String>) {
    let (mut causes, mut hints): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for text in texts {
        let mut rest: Vec<&str> = Vec::new();
        for line in text.lines() {
            match line.strip_prefix(HINT) {
                Some(hint) if hints.iter().any(|known| known == hint) => {}
                Some(hint) => hints.push(hint.to_owned()),
                None => rest.push(line),
            }
        }
        if !rest.is_empty() {
            causes.push(rest.join("\n"));
        }
    }
    (causes.join(": "), hints)
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
            // Too many requests (429), service unavailable (503) and insufficient storage (507). See RFC 9110 and RFC
            // 4918.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the error line and the hints of an error with these texts.
    #[track_caller]
    fn check(texts: &[&str], line: &str, hints: &[&str]) {
        let (found_line, found_hints) = split_hints(texts.iter().map(ToString::to_string));
        assert_eq!(found_line, line);
        assert_eq!(found_hints, hints);
    }

    #[test]
    fn hints_of_all_causes_follow_the_error_line() {
        check(&["cannot read a: not found"], "cannot read a: not found", &[]);
        check(&["cannot read a\nhint: create a"], "cannot read a", &["create a"]);
        check(&["first\nhint: one", "second", "third\nhint: two"], "first: second: third", &["one", "two"]);
        check(&["first\nhint: one", "second\nhint: one\nhint: two"], "first: second", &["one", "two"]);
        check(&["hint: one", "second"], "second", &["one"]);
        check(&["a hint: is part of this text"], "a hint: is part of this text", &[]);
    }
}
