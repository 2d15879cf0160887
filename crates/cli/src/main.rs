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
    // Before anything else: the rest of the program may use instructions that this processor lacks.
    if let Err(code) = cpu::check() {
        return code;
    }
    let arguments = Arguments::parse();
    if let Err(error) = command::prepare(&arguments.command) {
        return exit::report(&error);
    }
    // What it sends it sends until the end.
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

/// What runs for long tells what it does and may tell a collector; of the rest only what is wrong is told.
fn start_logging(arguments: &Arguments) -> anyhow::Result<Option<Telemetry>> {
    let export = match &arguments.command {
        Command::Worker(arguments) => &arguments.export,
        Command::Serve(arguments) => &arguments.export,
        // Its lines stand among those of its worker.
        Command::Prover(_) => return console::start_logging(&arguments.log, "info", None).map(|()| None),
        // Lines would stand in the middle of what is drawn.
        Command::Top(_) if io::stderr().is_terminal() => return Ok(None),
        _ => return console::start_logging(&arguments.log, "warn", None).map(|()| None),
    };
    let from_environment = || env::var(telemetry::VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
    let (telemetry, unusable) = match &export.otlp {
        Some(endpoint) => {
            let telemetry = Telemetry::start(endpoint).map_err(|error| Failure::usage(format!("--otlp: {error:#}")))?;
            (Some(telemetry), None)
        }
        None => match from_environment().map(|endpoint| Telemetry::start(&endpoint)).transpose() {
            Ok(telemetry) => (telemetry, None),
            // It may be meant for other programs.
            Err(error) => (None, Some(error)),
        },
    };
    console::start_logging(&arguments.log, "info", telemetry.as_ref())?;
    if let Some(error) = unusable {
        tracing::warn!("no telemetry is sent to where {} says: {error:#}", telemetry::VARIABLE);
    }
    Ok(telemetry)
}
