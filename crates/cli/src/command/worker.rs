//! `sp1d worker`.

use crate::{args::WorkerArguments, console::spinner, cpu, exit::Failure};
use anyhow::{Context, Result};
use engine::{ProverSettings, build_identity, load_prover, start_estimate, start_thread_pool};
use protocol::wire::Machine;
use rustix::{
    process::{Signal, set_parent_process_death_signal},
    system::uname,
    thread::{CpuSet, sched_setaffinity},
};
use std::{fs, time::Duration};
use tokio_util::sync::CancellationToken;
use worker::{EngineState, Memory, Settings, StartLock, StateSender, Worker, engine_state, wait_for_memory};

pub(crate) fn run(arguments: WorkerArguments) -> Result<()> {
    if arguments.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM)).context("follow the parent process")?;
    }
    pin(&arguments.pin)?;
    cpu::warn_if_slow();
    let threads = arguments.threads.map_or_else(
        // Counts the cores it is pinned to, and those a control group allows.
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    start_thread_pool(threads).context("start the proving threads")?;
    // One thread for sessions and heartbeats: nothing heavy shares it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the session's thread")?;
    let outcome = runtime.block_on(serve(arguments, threads));
    // An engine that is still starting is not waited for.
    runtime.shutdown_background();
    outcome
}

fn pin(cores: &[u16]) -> Result<()> {
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

async fn serve(arguments: WorkerArguments, threads: usize) -> Result<()> {
    let stop = super::cancelled_by_signals()?;
    let settings = Settings {
        name: arguments.name.unwrap_or_else(|| default_name(arguments.listen.port())),
        listen: arguments.listen,
        orchestrators: arguments.orchestrator,
        build: build_identity(),
        machine: machine(threads),
    };
    let (name, allowed) = (settings.name.clone(), settings.orchestrators.clone());
    let worker = Worker::bind(settings).await?;
    let address = worker.local_addr().context("read the listening address")?;
    tracing::info!(%address, %name, threads, orchestrators = %allowed, "listening");

    let mut prover = ProverSettings::for_threads(threads);
    if let Some(slots) = arguments.parallel_shards {
        prover = ProverSettings { slots: slots.into(), permits: slots.into() };
    }
    let (sender, state) = engine_state(start_estimate(threads));
    let wait = Duration::from_secs(arguments.wait_memory);
    tokio::spawn(start_engine(sender, threads, prover, wait, stop.clone()));
    worker.serve(state, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

fn default_name(port: u16) -> String {
    format!("{}:{port}", uname().nodename().to_string_lossy())
}

fn machine(threads: usize) -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let model = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
    });
    Machine {
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        memory_bytes: Memory::now().map_or(0, |memory| memory.total_bytes),
        cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
    }
}

/// Starts the engine when it is this worker's turn and there is room, and says so all along.
async fn start_engine(
    sender: StateSender,
    threads: usize,
    settings: ProverSettings,
    wait: Duration,
    stop: CancellationToken,
) {
    let state = tokio::select! {
        () = stop.cancelled() => return,
        started = try_start(&sender, threads, settings, wait) => match started {
            Ok(engine) => engine,
            Err(error) => EngineState::Failed(format!("{error:#}")),
        },
    };
    sender.send_replace(state);
}

async fn try_start(
    sender: &StateSender,
    threads: usize,
    settings: ProverSettings,
    wait: Duration,
) -> Result<EngineState> {
    let estimate = start_estimate(threads);
    let starting = || {
        let ready_at = tokio::time::Instant::now() + estimate;
        sender.send_replace(EngineState::Starting { ready_at });
    };
    let bar = spinner(format!("loading the prover, about {} s", estimate.as_secs()));
    let lock = StartLock::take(&StartLock::default_path(), || {
        bar.set_message("waiting for another prover on this machine to finish loading");
        tracing::info!(
            "waiting for another prover on this machine to finish loading: two at once take too much memory"
        );
    })
    .await?;
    wait_for_memory(threads, wait).await?;
    starting();
    bar.set_message(format!("loading the prover, about {} s", estimate.as_secs()));
    tracing::info!(about_seconds = estimate.as_secs(), threads, "loading the prover");
    let began = std::time::Instant::now();
    let engine =
        tokio::task::spawn_blocking(move || load_prover(settings)).await.context("the prover's loader panicked")??;
    drop(lock);
    bar.finish_and_clear();
    tracing::info!(seconds = began.elapsed().as_secs(), "prover ready");
    Ok(EngineState::Ready(engine))
}
