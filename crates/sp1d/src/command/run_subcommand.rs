//! Runs the subcommand that the user chose.

#[cfg(feature = "prover")]
use super::prover;
use super::{
    manual,
    remote::{explain, requests, top},
    runtime::block_on,
    verify,
};
use crate::args::{CliArguments, CliCommand, ServiceCommand};
use anyhow::Result;

/// Runs the command. With the prover, `prepare` must have run before.
pub(crate) fn run(arguments: CliArguments) -> Result<()> {
    match arguments.command {
        #[cfg(feature = "prover")]
        CliCommand::Prover(command) => prover::run(command, &arguments.log),
        CliCommand::Verify(arguments) => verify::run(&arguments),
        CliCommand::Completions(arguments) => manual::completions(&arguments),
        CliCommand::Man(arguments) => manual::pages(&arguments),
        CliCommand::Service(command) => block_on(ask_service(command)),
    }
}

async fn ask_service(command: ServiceCommand) -> Result<()> {
    match command {
        ServiceCommand::Status(arguments) => requests::status(arguments).await,
        ServiceCommand::Top(arguments) => top::run(arguments).await,
        ServiceCommand::Proofs(arguments) => requests::proofs(arguments).await,
        ServiceCommand::Workers(arguments) => requests::workers(arguments).await,
        ServiceCommand::Submit(arguments) => requests::submit(arguments).await,
        ServiceCommand::Wait(arguments) => requests::wait(arguments).await,
        ServiceCommand::Cancel(arguments) => requests::cancel(arguments).await,
        ServiceCommand::Delete(arguments) => requests::delete(arguments).await,
        ServiceCommand::Fetch(arguments) => requests::fetch(arguments).await,
        ServiceCommand::Logs(arguments) => requests::logs(arguments).await,
        ServiceCommand::Explain(arguments) => explain::run(arguments).await,
        ServiceCommand::Drain(arguments) => requests::drain(arguments).await,
        ServiceCommand::Resume(arguments) => requests::resume(arguments).await,
        ServiceCommand::Forget(arguments) => requests::forget(arguments).await,
    }
}
