//! Exit codes, and the error message on stderr.

mod codes;
#[cfg(feature = "prover")]
mod prover_errors;
mod report;

pub(crate) use codes::{HELP, HOST, INTERRUPTED, OTHER, PROGRAM, TIMEOUT, UNVERIFIED, USAGE, WORKERS};
pub(crate) use report::{CliError, report, without_hints};
