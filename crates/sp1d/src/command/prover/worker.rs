//! `sp1d worker`, and `sp1d prover`, which runs one of its provers.

use super::{
    exposure::check_exposure,
    prover_commands::{ProverCommands, prover_commands},
    service_manager::{report_ready, report_stopping},
    signals::cancelled_by_signals,
};
use crate::{
    args::{LogArguments, ProverArguments, WorkerArguments},
    exit::CliError,
    process::allocator,
    terminal::spinner,
};
use anyhow::{Context, Result};
use rustix::{
    fs::{FileType, fstat},
    process::{Signal, set_parent_process_death_signal},
    thread::{CpuSet, sched_setaffinity},
};
use sp1d_identity::{PeerRole, TlsIdentity};
use sp1d_roles::{WorkerBuilder, serve_gpu_prover, serve_prover};
use sp1d_worker::{EngineState, WorkerStop};
use std::{fs, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

pub(crate) fn run(arguments: WorkerArguments, log: &LogArguments) -> Result<()> {
    if arguments.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM))
            .context("cannot request a signal for the end of the parent process")?;
    }
    // This runtime only handles signals and the spinner: the worker has its own threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let provers = prover_commands(&arguments, log)?;
    let outcome = runtime.block_on(serve(arguments, provers));
    runtime.shutdown_background();
    outcome
}

/// Pins the calling thread, and all threads that it creates later, to `cores`. If `cores` is empty, nothing changes.
pub(super) fn pin(cores: &[u16]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores {
        if usize::from(*core) >= CpuSet::MAX_CPU {
            return Err(CliError::usage(format!("invalid --pin: core {core} does not exist")).into());
        }
        set.set((*core).into());
    }
    sched_setaffinity(None, &set).map_err(|error| {
        let text = format!("cannot run on the cores {cores:?} of --pin: {error}");
        CliError::usage(format!("{text}\nhint: pass cores that this machine has; `lscpu` lists them")).into()
    })
}

/// `sp1d prover`: runs one of a worker's provers.
pub(crate) fn prove(arguments: &ProverArguments) -> Result<()> {
    let stdin = fstat(std::io::stdin()).context("cannot inspect the standard input")?;
    if FileType::from_raw_mode(stdin.st_mode) != FileType::Socket {
        let text = "`sp1d prover` is not for direct use\nhint: run `sp1d worker` instead; it starts its own provers";
        return Err(CliError::usage(text).into());
    }
    // When memory runs out, the kernel should kill the prover rather than the worker. See proc(5), `oom_score_adj`.
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "800") {
        tracing::debug!(%error, "cannot raise the out-of-memory score");
    }
    // The signal is sent when the worker's thread that started this prover ends. That thread lives as long as the
    // worker.
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot request a signal for the end of the worker")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    // A service manager may send SIGTERM to all processes of the worker. The worker finishes its attempts then, so its
    // provers must continue. They end with the worker.
    let ignored = runtime
        .block_on(async { [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal) });
    for handler in &ignored {
        if let Err(error) = handler {
            tracing::debug!(%error, "cannot ignore a signal");
        }
    }
    let shards = arguments.parallel_shards.map(usize::from);
    let (threads, release_memory) = (arguments.threads.into(), Some(allocator::release_memory as fn()));
    let served = runtime.block_on(async {
        if arguments.gpu {
            serve_gpu_prover(threads, shards, release_memory).await
        } else {
            serve_prover(threads, shards, release_memory).await
        }
    });
    let outcome = served.context("cannot serve the worker that started this prover");
    // Do not wait for a running stage: its result is no longer needed.
    runtime.shutdown_background();
    outcome
}

async fn serve(arguments: WorkerArguments, provers: ProverCommands) -> Result<()> {
    let signaled = cancelled_by_signals()?;
    let tls = match &arguments.tls {
        Some(path) => {
            Some(TlsIdentity::load(path, PeerRole::Worker).map_err(|error| CliError::usage(error.to_string()))?)
        }
        None => None,
    };
    if tls.is_none() {
        let ports = [(&arguments.listen, "--listen"), (&arguments.join, "--join"), (&arguments.health, "--health")];
        for (address, flag) in ports.into_iter().filter_map(|(address, flag)| Some((address.as_ref()?, flag))) {
            check_exposure(address, flag, arguments.insecure).await?;
        }
    }
    let grace = Duration::from_secs(arguments.grace);
    let allowed = arguments.orchestrator.clone();
    let builder = match (arguments.join.clone(), arguments.listen, arguments.orchestrator) {
        (Some(orchestrator), _, _) => WorkerBuilder::joining(orchestrator),
        (None, Some(listen), Some(orchestrators)) => WorkerBuilder::at(listen, orchestrators),
        (None, _, _) => {
            let text = "the worker has no address\nhint: pass `--listen` and `--orchestrator`, or `--join`";
            return Err(CliError::usage(text).into());
        }
    };
    let mut builder =
        builder.wait_memory(Duration::from_secs(arguments.wait_memory)).release_memory(allocator::release_memory);
    builder = builder.provers(provers.commands).gpus(provers.gpus);
    if let Some(tls) = tls {
        tracing::info!(identity = %tls.identity(), "connections use TLS");
        builder = builder.tls(tls);
    } else if !arguments.insecure {
        builder = builder.only_loopback();
    }
    if let Some(health) = arguments.health {
        builder = builder.health(health);
    }
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
    // The prover is still loading, which takes long if the memory is in use. The worker is a running service meanwhile.
    report_ready();
    tokio::spawn(show_loading(worker.state()));
    let stop = WorkerStop::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            signaled.cancelled().await;
            report_stopping();
            if !grace.is_zero() {
                tracing::info!(
                    grace_s = grace.as_secs(),
                    "taking no more tasks, and finishing those that have started"
                );
            }
            stop.leave_within(grace).await;
            tracing::warn!("unfinished tasks go to other workers");
        }
    });
    worker.serve(stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Shows a spinner until the prover is loaded.
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
