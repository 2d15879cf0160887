//! `sp1d`: proves SP1 programs on many machines.

mod allocator;
mod args;
mod command;
mod console;
mod cpu;
mod exit;
mod input;
mod output;
mod panic;
mod private_folder;
mod telemetry;

use args::{Arguments, Command};
use clap::Parser;
use exit::Failure;
use std::{
    env,
    io::{self, IsTerminal},
    process::ExitCode,
};
use telemetry::Telemetry;

fn main() -> ExitCode {
    // First of all: later code may use instructions that this processor lacks.
    if let Err(code) = cpu::check() {
        return code;
    }
    let arguments = Arguments::parse();
    if let Err(error) = command::prepare(&arguments.command) {
        return exit::report(&error);
    }
    // Must live until the end of `main`: dropping it sends the remaining telemetry.
    let _telemetry = match start_logging(&arguments) {
        Ok(telemetry) => telemetry,
        Err(error) => return exit::report(&error),
    };
    panic::log_instead_of_printing();
    match panic::contain(|| command::run(arguments.command, &arguments.log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

/// Starts logging. `sp1d worker` and `sp1d serve` log at `info` and can export to a collector; other commands log
/// warnings.
fn start_logging(arguments: &Arguments) -> anyhow::Result<Option<Telemetry>> {
    let export = match &arguments.command {
        Command::Worker(arguments) => &arguments.export,
        Command::Serve(arguments) => &arguments.export,
        // A prover's log lines appear among the lines of its worker.
        Command::Prover(_) => return console::start_logging(&arguments.log, "info", None).map(|()| None),
        // Log lines would corrupt the screen.
        Command::Top(_) if io::stderr().is_terminal() => return Ok(None),
        _ => return console::start_logging(&arguments.log, "warn", None).map(|()| None),
    };
    let from_environment = || env::var(telemetry::VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
    let (telemetry, unusable) = match &export.otlp {
        Some(endpoint) => {
            let telemetry = Telemetry::start(endpoint)
                .map_err(|error| error.context(Failure::usage("cannot send telemetry to the address of --otlp")))?;
            (Some(telemetry), None)
        }
        None => match from_environment().map(|endpoint| Telemetry::start(&endpoint)).transpose() {
            Ok(telemetry) => (telemetry, None),
            // The variable may be meant for other programs, so an unusable value is not an error.
            Err(error) => (None, Some(error)),
        },
    };
    console::start_logging(&arguments.log, "info", telemetry.as_ref())?;
    if let Some(error) = unusable {
        let reason = exit::without_hints(&error);
        tracing::warn!(variable = telemetry::VARIABLE, %reason, "telemetry disabled: unusable collector address");
    }
    Ok(telemetry)
}
