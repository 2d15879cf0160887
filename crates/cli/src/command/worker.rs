//! `sp1d worker`.

use crate::{args::WorkerArguments, console::spinner, cpu, exit::Failure};
use anyhow::{Context, Result};
use rustix::{
    process::{Signal, set_parent_process_death_signal},
    thread::{CpuSet, sched_setaffinity},
};
use sp1_distributed::distributed::{EngineState, WorkerBuilder};
use std::time::Duration;
use tokio::sync::watch;

pub(crate) fn run(arguments: WorkerArguments) -> Result<()> {
    if arguments.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM)).context("follow the parent process")?;
    }
    cpu::warn_if_slow();
    // Only signals and the spinner: the worker brings threads of its own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the signals' thread")?;
    let outcome = runtime.block_on(serve(arguments));
    runtime.shutdown_background();
    outcome
}

/// Keeps the calling thread, and those that come from it, on these cores; on all where none is named.
pub(super) fn pin(cores: &[u16]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores {
        if usize::from(*core) >= CpuSet::MAX_CPU {
            return Err(Failure::usage(format!("--pin {core}: there is no such core")).into());
        }
        set.set((*core).into());
    }
    sched_setaffinity(None, &set)
        .map_err(|error| Failure::usage(format!("--pin {cores:?}: {error}; name cores that this machine has")).into())
}

async fn serve(arguments: WorkerArguments) -> Result<()> {
    let stop = super::cancelled_by_signals()?;
    let allowed = arguments.orchestrator.clone();
    let builder = match (arguments.join.clone(), arguments.listen, arguments.orchestrator) {
        (Some(orchestrator), _, _) => WorkerBuilder::joining(orchestrator),
        (None, Some(listen), Some(orchestrators)) => WorkerBuilder::at(listen, orchestrators),
        (None, _, _) => return Err(Failure::usage("name --listen and --orchestrator, or --join").into()),
    };
    let mut builder =
        builder.wait_memory(Duration::from_secs(arguments.wait_memory)).give_back(crate::allocator::give_back);
    if let Some(name) = arguments.name {
        builder = builder.name(name);
    }
    if let Some(threads) = arguments.threads {
        builder = builder.threads(threads.into());
    }
    if let Some(shards) = arguments.parallel_shards {
        builder = builder.parallel_shards(shards.into());
    }
    let worker = builder.bind().await?;
    match (worker.local_addr(), allowed, arguments.join) {
        (Some(address), Some(allowed), _) => tracing::info!(%address, orchestrators = %allowed, "listening"),
        (_, _, Some(orchestrator)) => tracing::info!(%orchestrator, "joining"),
        _ => {}
    }
    tokio::spawn(show_loading(worker.state()));
    worker.serve(stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// A moving sign as long as the prover loads.
async fn show_loading(mut state: watch::Receiver<EngineState>) {
    let bar = spinner(String::new());
    loop {
        match &*state.borrow_and_update() {
            EngineState::Starting { .. } => {}
            EngineState::Ready(_) | EngineState::Failed(_) => break,
        }
        let left = state.borrow().seconds_left();
        bar.set_message(format!("loading the prover, about {left} s left"));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            changed = state.changed() => if changed.is_err() { break },
        }
    }
    bar.finish_and_clear();
}
