//! Runs the subcommand that the user chose.

use super::{
    config, demo,
    docs::{manual, reference},
    doctor, program, prove,
    remote::{explain, requests, top},
    runtime::{block_on, start_computing},
    serve, tune, worker,
};
use crate::{
    args::{CliCommand, LogArguments},
    process::use_private_folder,
};
use anyhow::Result;

/// Performs the setup that needs a process with only one thread.
pub(crate) fn prepare(command: &CliCommand) -> Result<()> {
    match command {
        // Threads inherit the pinning of the thread that creates them.
        CliCommand::Worker(arguments) => worker::pin(&arguments.pin),
        CliCommand::Prover(arguments) => worker::pin(&arguments.pin),
        CliCommand::Prove(_)
        | CliCommand::Execute(_)
        | CliCommand::Serve(_)
        | CliCommand::Demo(_)
        | CliCommand::Tune(_) => use_private_folder(),
        _ => Ok(()),
    }
}

/// Runs a command. [`prepare`] must have run before.
pub(crate) fn run(command: CliCommand, log: &LogArguments) -> Result<()> {
    match command {
        CliCommand::Worker(arguments) => worker::run(arguments, log),
        CliCommand::Prover(arguments) => worker::prove(&arguments),
        CliCommand::Prove(arguments) => block_on(prove::run(arguments)),
        CliCommand::Execute(arguments) => {
            start_computing()?;
            block_on(program::execute(arguments))
        }
        CliCommand::Verify(arguments) => {
            start_computing()?;
            block_on(program::verify(arguments))
        }
        CliCommand::Vkey(arguments) => {
            start_computing()?;
            block_on(program::vkey(arguments))
        }
        CliCommand::Config(arguments) => block_on(config::show(arguments)),
        CliCommand::Reference { page } => reference::run(page),
        CliCommand::Completions(arguments) => manual::completions(&arguments),
        CliCommand::Man(arguments) => manual::pages(&arguments),
        CliCommand::Serve(arguments) => serve::run(arguments),
        CliCommand::Doctor(arguments) => block_on(doctor::run(arguments)),
        CliCommand::Status(arguments) => block_on(requests::status(arguments)),
        CliCommand::Top(arguments) => block_on(top::run(arguments)),
        CliCommand::Proofs(arguments) => block_on(requests::proofs(arguments)),
        CliCommand::Workers(arguments) => block_on(requests::workers(arguments)),
        CliCommand::Submit(arguments) => block_on(requests::submit(arguments)),
        CliCommand::Wait(arguments) => block_on(requests::wait(arguments)),
        CliCommand::Cancel(arguments) => block_on(requests::cancel(arguments)),
        CliCommand::Fetch(arguments) => block_on(requests::fetch(arguments)),
        CliCommand::Logs(arguments) => block_on(requests::logs(arguments)),
        CliCommand::Explain(arguments) => block_on(explain::run(arguments)),
        CliCommand::Drain(arguments) => block_on(requests::drain(arguments)),
        CliCommand::Resume(arguments) => block_on(requests::resume(arguments)),
        CliCommand::Forget(arguments) => block_on(requests::forget(arguments)),
        CliCommand::Demo(arguments) => block_on(demo::run(arguments)),
        CliCommand::Tune(arguments) => block_on(tune::run(arguments)),
    }
}
