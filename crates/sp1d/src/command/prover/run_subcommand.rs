//! Runs the subcommand that the user chose.

use super::{
    computing::start_computing, config, demo, doctor, keys, program, prove, reference, restore, serve,
    service_manager::take_socket, tokens, tune, worker,
};
use crate::{
    args::{CliCommand, LogArguments, Sp1Command},
    command::runtime::block_on,
    process::use_private_folder,
};
use anyhow::Result;
use sp1d_machine::disable_core_dumps;

/// Performs the setup that needs a process with only one thread.
pub(crate) fn prepare(command: &CliCommand) -> Result<()> {
    let CliCommand::Prover(command) = command else { return Ok(()) };
    take_socket();
    // Inputs are in the memory of this process and of its children: of provers and executors.
    disable_core_dumps();
    match command {
        // Threads inherit the pinning of the thread that creates them.
        Sp1Command::Worker(arguments) => worker::pin(&arguments.pin),
        Sp1Command::Prover(arguments) => worker::pin(&arguments.pin),
        Sp1Command::Prove(_)
        | Sp1Command::Execute(_)
        | Sp1Command::Serve(_)
        | Sp1Command::Demo(_)
        | Sp1Command::Tune(_) => use_private_folder(),
        _ => Ok(()),
    }
}

/// Runs a command. [`prepare`] must have run before.
pub(in crate::command) fn run(command: Sp1Command, log: &LogArguments) -> Result<()> {
    match command {
        Sp1Command::Worker(arguments) => worker::run(arguments, log),
        Sp1Command::Prover(arguments) => worker::prove(&arguments),
        Sp1Command::Prove(arguments) => block_on(prove::run(arguments)),
        Sp1Command::Execute(arguments) => {
            start_computing()?;
            block_on(program::execute(arguments))
        }
        Sp1Command::Vkey(arguments) => {
            start_computing()?;
            block_on(program::vkey(arguments))
        }
        Sp1Command::Config(arguments) => block_on(config::show(arguments)),
        Sp1Command::Reference { page } => reference::run(page),
        Sp1Command::Serve(arguments) => serve::run(*arguments),
        Sp1Command::Restore(arguments) => block_on(restore::run(arguments)),
        Sp1Command::Keys { command } => keys::run(command),
        Sp1Command::Tokens { command } => tokens::run(command),
        Sp1Command::Doctor(arguments) => block_on(doctor::run(arguments)),
        Sp1Command::Demo(arguments) => block_on(demo::run(arguments)),
        Sp1Command::Tune(arguments) => block_on(tune::run(arguments)),
    }
}
