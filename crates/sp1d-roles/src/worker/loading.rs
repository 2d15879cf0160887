//! Loads the prover of a worker, in this process or in prover processes.

use sp1d_engine::{LOAD_BYTES, ProverSettings, REST_BYTES, load_prover, start_estimate, start_thread_pool};
use sp1d_machine::{check_processor, unused_processor_feature};
use sp1d_worker::{
    EngineState, LoadError, MemoryPlan, ProverCommand, ProverRules, Provers, StartLock, StateSender, wait_for_memory,
};
use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How a prover is loaded and run.
#[derive(Debug, Clone)]
pub(super) struct EngineOptions {
    /// Proving threads of each prover. `None`: the available cores, divided by the number of provers.
    pub(super) threads: Option<usize>,
    pub(super) parallel_shards: Option<usize>,
    pub(super) wait_memory: Duration,
    /// `nice` increment of the proving threads. A higher value means a lower priority than the rest of the process.
    pub(super) niceness: i32,
    /// Returns freed memory to the system. `None`: the engine's default.
    pub(super) release_memory: Option<fn()>,
    /// Commands that start prover processes. Empty: the only prover is in this process.
    pub(super) commands: Vec<ProverCommand>,
}

impl EngineOptions {
    /// Returns the proving threads of each prover. The default respects CPU affinity and control group limits.
    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| (cores() / self.provers()).max(1))
    }

    pub(super) fn provers(&self) -> usize {
        self.commands.len().max(1)
    }

    /// Returns the settings of each prover.
    fn settings(&self) -> ProverSettings {
        let mut settings = ProverSettings::for_threads(self.threads());
        settings.niceness = self.niceness;
        settings.release_memory = self.release_memory.unwrap_or(settings.release_memory);
        if let Some(shards) = self.parallel_shards {
            (settings.slots, settings.permits) = (shards, shards);
        }
        settings
    }

    pub(super) fn plan(&self) -> MemoryPlan {
        let stages = self.provers() * self.settings().permits;
        let rest_bytes = REST_BYTES * self.provers() as u64;
        MemoryPlan { rest_bytes, stages: u32::try_from(stages).unwrap_or(u32::MAX) }
    }
}

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Logs a warning if another build would prove faster on this processor.
pub(super) fn warn_of_unused_feature() {
    if let Some(feature) = unused_processor_feature() {
        tracing::warn!(
            feature,
            "this build does not use a feature of this processor: proving takes up to four times as long; build it \
             with RUSTFLAGS=\"-C target-cpu=native\""
        );
    }
}

/// Starts the engine in this process or in prover processes, and publishes its state. In this process, the engine
/// starts when no other prover of this user is loading and enough memory is free.
pub(super) async fn start_engine(sender: StateSender, options: EngineOptions, stop: CancellationToken) {
    if !options.commands.is_empty() {
        return run_provers(sender, options, &stop).await;
    }
    let state = tokio::select! {
        () = stop.cancelled() => return,
        started = try_start(&sender, options) => started.unwrap_or_else(EngineState::Failed),
    };
    sender.send_replace(state);
}

/// Keeps the prover processes running, and publishes their state.
async fn run_provers(sender: StateSender, options: EngineOptions, stop: &CancellationToken) {
    let rules = ProverRules {
        places: options.settings().slots,
        threads: options.threads(),
        needed_bytes: LOAD_BYTES,
        wait_memory: options.wait_memory,
        load_estimate: start_estimate(),
        start_lock: StartLock::default_path(),
    };
    let (mut states, processes) = Provers::start(options.commands, &rules, stop);
    while !stop.is_cancelled() {
        sender.send_replace(states.borrow_and_update().clone());
        if states.changed().await.is_err() {
            break;
        }
    }
    processes.wait().await;
}

async fn try_start(sender: &StateSender, options: EngineOptions) -> Result<EngineState, LoadError> {
    let threads = options.threads();
    if start_thread_pool(threads, options.niceness).is_err() {
        tracing::debug!("proving threads exist already");
    }
    let settings = options.settings();
    let path = StartLock::default_path();
    let lock = StartLock::take(&path, || {
        tracing::info!("waiting for another prover on this machine to load: two at a time need too much memory");
    });
    let lock = lock.await;
    wait_for_memory(LOAD_BYTES, options.wait_memory).await?;
    let estimate = start_estimate();
    sender.send_replace(EngineState::Starting { ready_at: tokio::time::Instant::now() + estimate, failed_provers: 0 });
    tracing::info!(about_seconds = estimate.as_secs(), threads, parallel_shards = settings.slots, "loading the prover");
    let started = std::time::Instant::now();
    // The loader cannot be interrupted, so it holds the lock until it ends.
    let load = move || {
        let _lock = lock;
        load_prover(settings)
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let engine = loaded.unwrap_or(Err(LoadError::Panicked))?;
    tracing::info!(seconds = started.elapsed().as_secs(), "prover ready");
    Ok(EngineState::Ready(engine))
}

/// Runs the prover of a prover process until the worker that started this process disconnects. The standard input is
/// the connection to the worker, see [`WorkerBuilder::provers`]. `threads` is the number of proving threads,
/// `parallel_shards` the number of shards at a time. `release_memory` is described at
/// [`WorkerBuilder::release_memory`].
///
/// [`WorkerBuilder::provers`]: crate::WorkerBuilder::provers
/// [`WorkerBuilder::release_memory`]: crate::WorkerBuilder::release_memory
///
/// # Errors
/// If this processor lacks features that the program was compiled for, if the standard input is not a socket, or if the
/// threads cannot be started.
pub async fn serve_prover(
    threads: usize,
    parallel_shards: Option<usize>,
    release_memory: Option<fn()>,
) -> io::Result<()> {
    // Later code may use instructions that this processor lacks.
    check_processor().map_err(io::Error::other)?;
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let options = EngineOptions {
        threads: Some(threads),
        parallel_shards,
        wait_memory: Duration::ZERO,
        niceness: 0,
        release_memory,
        commands: Vec::new(),
    };
    start_thread_pool(threads, 0).map_err(io::Error::other)?;
    let load = move || load_prover(options.settings());
    sp1d_worker::serve_prover(tokio::net::UnixStream::from_std(stream)?, load).await
}
