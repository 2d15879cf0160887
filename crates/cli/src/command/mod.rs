//! The subcommands.

mod config;
mod demo;
mod doctor;
mod explain;
mod manual;
mod own_worker;
mod program;
mod prove;
mod reference;
mod remote;
mod serve;
mod top;
mod tune;
mod worker;

use crate::{
    args::{Command, Log},
    private_folder::use_private_folder,
};
use anyhow::{Context, Result};
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Performs the setup that needs a process with only one thread.
pub(crate) fn prepare(command: &Command) -> Result<()> {
    match command {
        // Threads inherit the pinning of the thread that creates them.
        Command::Worker(arguments) => worker::pin(&arguments.pin),
        Command::Prover(arguments) => worker::pin(&arguments.pin),
        Command::Prove(_) | Command::Execute(_) | Command::Serve(_) | Command::Demo(_) | Command::Tune(_) => {
            use_private_folder()
        }
        _ => Ok(()),
    }
}

/// Runs a command. [`prepare`] must have run before.
pub(crate) fn run(command: Command, log: &Log) -> Result<()> {
    match command {
        Command::Worker(arguments) => worker::run(arguments, log),
        Command::Prover(arguments) => worker::prove(&arguments),
        Command::Prove(arguments) => block_on(prove::run(arguments)),
        Command::Execute(arguments) => {
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
        Command::Config(arguments) => block_on(config::show(arguments)),
        Command::Reference { page } => reference::run(page),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::pages(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Doctor(arguments) => block_on(doctor::run(arguments)),
        Command::Status(arguments) => block_on(remote::status(arguments)),
        Command::Top(arguments) => block_on(top::run(arguments)),
        Command::Proofs(arguments) => block_on(remote::proofs(arguments)),
        Command::Workers(arguments) => block_on(remote::workers(arguments)),
        Command::Submit(arguments) => block_on(remote::submit(arguments)),
        Command::Wait(arguments) => block_on(remote::wait(arguments)),
        Command::Cancel(arguments) => block_on(remote::cancel(arguments)),
        Command::Fetch(arguments) => block_on(remote::fetch(arguments)),
        Command::Logs(arguments) => block_on(remote::logs(arguments)),
        Command::Explain(arguments) => block_on(explain::run(arguments)),
        Command::Drain(arguments) => block_on(remote::drain(arguments)),
        Command::Resume(arguments) => block_on(remote::resume(arguments)),
        Command::Forget(arguments) => block_on(remote::forget(arguments)),
        Command::Demo(arguments) => block_on(demo::run(arguments)),
        Command::Tune(arguments) => block_on(tune::run(arguments)),
    }
}

pub(crate) fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = Ending(Some(tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?));
    runtime.0.as_ref().expect("only `drop` takes the runtime").block_on(work)
}

/// A runtime that shuts down without waiting for its threads, also after a panic. Executions are killed first:
/// otherwise they would continue, and so would the threads that wait for them.
struct Ending(Option<tokio::runtime::Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        engine::kill_executions();
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts the computing threads for a command that uses no worker pool.
fn start_computing() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    engine::start_thread_pool(threads, 0).context("cannot start the computing threads")
}

/// Returns a token that the first SIGINT, SIGTERM or SIGHUP cancels. A further SIGINT or SIGTERM ends the process at
/// once.
pub(crate) fn cancelled_by_signals() -> Result<CancellationToken> {
    // A process that was started to outlive its terminal, for example with nohup, ignores SIGHUP.
    cancelled_by(!ignores_hangups())
}

/// Like [`cancelled_by_signals`], but without SIGHUP: it makes a service read its worker list again.
pub(crate) fn cancelled_by_signals_but_hangups() -> Result<CancellationToken> {
    cancelled_by(false)
}

fn cancelled_by(hangups: bool) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangups = if hangups { Some(signal(SignalKind::hangup())?) } else { None };
    let cancel = token.clone();
    tokio::spawn(async move {
        loop {
            let hung_up = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            let again = cancel.is_cancelled();
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                // A closed terminal can cause two of these signals, from the shell and from the kernel. So they never
                // end the process at once.
                _ = hung_up => {
                    cancel.cancel();
                    continue;
                }
            }
            if again {
                engine::kill_executions();
                std::process::exit(crate::exit::INTERRUPTED.into());
            }
            cancel.cancel();
            tracing::warn!("stopping; send the signal again to stop at once");
        }
    });
    Ok(token)
}

/// Returns whether the process was started with SIGHUP ignored. See proc(5), `SigIgn`.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // SIGHUP is signal 1, which is the lowest bit.
    ignored.unwrap_or(0) & 1 != 0
}
