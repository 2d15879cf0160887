//! `sp1d`: proves SP1 programs on many machines.

mod args;
mod command;
mod exit;
mod files;
mod logging;
mod process;
mod terminal;

use args::{CliArguments, CliCommand};
use clap::Parser;
use exit::CliError;
use logging::{ENDPOINT_VARIABLE, Telemetry};
use std::{
    env,
    io::{self, IsTerminal},
    process::ExitCode,
};

fn main() -> ExitCode {
    // First of all: later code may use instructions that this processor lacks.
    if let Err(code) = process::cpu::check() {
        return code;
    }
    let arguments = CliArguments::parse();
    if let Err(error) = command::prepare(&arguments.command) {
        return exit::report(&error);
    }
    // Must live until the end of `main`: dropping it sends the remaining telemetry.
    let _telemetry = match start_logging(&arguments) {
        Ok(telemetry) => telemetry,
        Err(error) => return exit::report(&error),
    };
    process::panic::log_instead_of_printing();
    match process::panic::contain(|| command::run(arguments.command, &arguments.log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

/// Starts logging. `sp1d worker` and `sp1d serve` log at `info` and can export to a collector; other commands log
/// warnings.
fn start_logging(arguments: &CliArguments) -> anyhow::Result<Option<Telemetry>> {
    let export = match &arguments.command {
        CliCommand::Worker(arguments) => &arguments.export,
        CliCommand::Serve(arguments) => &arguments.export,
        // A prover's log lines appear among the lines of its worker.
        CliCommand::Prover(_) => return logging::start_logging(&arguments.log, "info", None).map(|()| None),
        // Log lines would corrupt the screen.
        CliCommand::Top(_) if io::stderr().is_terminal() => return Ok(None),
        _ => return logging::start_logging(&arguments.log, "warn", None).map(|()| None),
    };
    let from_environment = || env::var(ENDPOINT_VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
    let (telemetry, unusable) = match &export.otlp {
        Some(endpoint) => {
            let telemetry = Telemetry::start(endpoint)
                .map_err(|error| error.context(CliError::usage("cannot send telemetry to the address of --otlp")))?;
            (Some(telemetry), None)
        }
        None => match from_environment().map(|endpoint| Telemetry::start(&endpoint)).transpose() {
            Ok(telemetry) => (telemetry, None),
            // The variable may be meant for other programs, so an unusable value is not an error.
            Err(error) => (None, Some(error)),
        },
    };
    logging::start_logging(&arguments.log, "info", telemetry.as_ref())?;
    if let Some(error) = unusable {
        let reason = exit::without_hints(&error);
        tracing::warn!(variable = ENDPOINT_VARIABLE, %reason, "telemetry disabled: unusable collector address");
    }
    Ok(telemetry)
}
