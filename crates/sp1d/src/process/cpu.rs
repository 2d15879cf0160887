//! Ends a program that was built for another processor, with an error instead of an illegal instruction.

use crate::exit;
use sp1d_machine::check_processor;
use std::process::ExitCode;

/// Prints an error and returns the exit code if this processor lacks features that this build uses.
#[expect(clippy::print_stderr, reason = "nothing else can be relied on yet")]
pub(crate) fn check() -> Result<(), ExitCode> {
    check_processor().map_err(|error| {
        eprintln!("error: {error}");
        ExitCode::from(exit::HOST)
    })
}
