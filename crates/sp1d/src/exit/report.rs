//! The error message on stderr, and the exit code of an error.

use super::codes::{HOST, OTHER, USAGE, WORKERS};
#[cfg(feature = "prover")]
use super::prover_errors;
use crate::terminal;
use sp1d_client::ClientError;
use sp1d_model::hint;
use std::process::ExitCode;

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

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }
}

/// Prints the error and its causes on one line, then its hints, and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let (text, hints) = hint::separate(error.chain().map(ToString::to_string));
    let hints: String = hints.iter().map(|hint| format!("{}{hint}\n", hint::PREFIX)).collect();
    terminal::say_text(&format!("error: {text}\n{hints}"));
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
            ClientError::Address { .. } | ClientError::File { .. } | ClientError::Redirected { .. } => USAGE,
            ClientError::Unreachable { .. } | ClientError::Encryption { .. } => WORKERS,
            // Too many requests (429), service unavailable (503) and insufficient storage (507). See RFC 9110 and RFC
            // 4918.
            ClientError::Refused { status: 429 | 503, .. } => WORKERS,
            ClientError::Refused { status: 507, .. } => HOST,
            ClientError::Refused { status: 400..500, .. } => USAGE,
            _ => OTHER,
        };
    }
    #[cfg(feature = "prover")]
    if let Some(code) = prover_errors::code_of(error) {
        return code;
    }
    OTHER
}
