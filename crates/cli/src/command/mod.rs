//! The subcommands.

mod config;
mod demo;
mod program;
mod prove;
mod worker;

use crate::{args::Command, private_folder::use_private_folder};
use anyhow::{Context, Result};
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Carries out a command.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Worker(arguments) => worker::run(arguments),
        Command::Prove(arguments) => {
            use_private_folder()?;
            block_on(prove::run(arguments))
        }
        Command::Execute(arguments) => {
            use_private_folder()?;
            start_computing()?;
            block_on(program::execute(arguments))
        }
        Command::Verify(arguments) => {
            start_computing()?;
            block_on(program::verify(arguments))
        }
        Command::Vkey(arguments) => {
            start_computing()?;
            block_on(program::vkey(arguments))
        }
        Command::Config(arguments) => config::show(&arguments),
        Command::Reference => config::print_reference(),
        Command::Demo(arguments) => {
            use_private_folder()?;
            block_on(demo::run(arguments))
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("start the asynchronous threads")?;
    let outcome = runtime.block_on(work);
    // What still runs in the background is on its own by now.
    runtime.shutdown_background();
    outcome
}

/// Starts the computing threads of a command that has no pool of workers.
fn start_computing() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    engine::start_thread_pool(threads, 0).context("start the computing threads")
}

/// Cancelled by the first SIGINT or SIGTERM; the second ends the process at once.
pub(crate) fn cancelled_by_signals() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if round > 0 {
                engine::kill_executions();
                std::process::exit(crate::exit::INTERRUPTED.into());
            }
            tracing::warn!("stopping; once more to stop at once");
            cancel.cancel();
        }
    });
    Ok(token)
}
