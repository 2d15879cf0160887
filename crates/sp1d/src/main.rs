//! `sp1d`: proves SP1 programs on many machines.
//!
//! Without the feature `prover`, this is a small client: it talks to a service, verifies on-chain proofs, and contains
//! nothing of SP1's prover.

mod args;
mod command;
mod exit;
mod files;
mod logging;
mod process;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: later code may use instructions that this processor lacks.
    #[cfg(feature = "prover")]
    if let Err(code) = process::cpu::check() {
        return code;
    }
    let arguments = args::parse();
    #[cfg(feature = "prover")]
    if let Err(error) = command::prepare(&arguments.command) {
        return exit::report(&error);
    }
    // Must live until the end of `main`: dropping it sends the remaining telemetry.
    let _telemetry = match command::start_logging(&arguments) {
        Ok(telemetry) => telemetry,
        Err(error) => return exit::report(&error),
    };
    process::panic::log_instead_of_printing();
    match process::panic::contain(|| command::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
