//! Loads the prover of a worker, in this process or in prover processes.

use sp1d_engine::{
    GPU_ATTEMPT_BYTES, LOAD_BYTES, ProverDevice, ProverSettings, REST_BYTES, largest_gpu_cut, load_prover,
    pinned_bytes, start_estimate, start_thread_pool,
};
use sp1d_machine::{GpuDevice, check_processor, unused_processor_feature};
use sp1d_worker::{
    EngineState, LoadError, MemoryPlan, ProverCommand, ProverRules, Provers, StartLock, StateSender, wait_for_memory,
};
use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Maximum time that a stopping worker waits for the ends of its prover processes. The kernel frees some gigabytes per
/// second of a killed process. The systemd unit of a worker leaves 30 s for everything that follows the grace period.
const PROVERS_END_TIMEOUT: Duration = Duration::from_secs(20);

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
    /// What the provers compute on.
    pub(super) device: ProverDevice,
    /// The GPU of each prover process, for a worker whose provers compute on GPUs.
    pub(super) gpus: Vec<GpuDevice>,
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
        let mut settings = match self.device {
            ProverDevice::Processor => ProverSettings::for_threads(self.threads()),
            ProverDevice::Gpu => ProverSettings::for_gpu(),
        };
        settings.niceness = self.niceness;
        settings.release_memory = self.release_memory.unwrap_or(settings.release_memory);
        if let Some(shards) = self.parallel_shards {
            settings.places = shards;
            if self.device == ProverDevice::Processor {
                settings.permits = shards;
            }
        }
        settings
    }

    /// Returns the largest cut whose shards all provers prove. `None` if only their memory bounds it.
    pub(super) fn largest_cut(&self) -> Option<u64> {
        self.gpus.iter().filter_map(|gpu| largest_gpu_cut(gpu.memory_bytes)).min()
    }

    /// Returns the memory of the machine that all provers together pin.
    pub(super) fn pinned_bytes(&self) -> u64 {
        self.each_pinned_bytes().sum()
    }

    /// Returns the memory of the machine that each prover pins while it loads.
    fn each_pinned_bytes(&self) -> impl Iterator<Item = u64> {
        self.gpus.iter().filter_map(|gpu| largest_gpu_cut(gpu.memory_bytes)).map(pinned_bytes)
    }

    /// Returns the memory that must be free for each of the provers to load. The provers load one after the other.
    pub(super) fn load_bytes(&self) -> u64 {
        LOAD_BYTES + self.each_pinned_bytes().max().unwrap_or(0)
    }

    pub(super) fn plan(&self) -> MemoryPlan {
        let settings = self.settings();
        let rest_bytes = REST_BYTES * self.provers() as u64 + self.pinned_bytes();
        let (each, max_attempt_bytes) = match self.device {
            ProverDevice::Processor => (settings.permits, None),
            // The machine holds the records of all shards in the prover. Their traces are pinned already.
            ProverDevice::Gpu => (settings.places, Some(GPU_ATTEMPT_BYTES)),
        };
        let parallel_attempts = u32::try_from(self.provers() * each).unwrap_or(u32::MAX);
        MemoryPlan { rest_bytes, parallel_attempts, max_attempt_bytes }
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
        places: options.settings().places,
        threads: options.threads(),
        needed_bytes: options.load_bytes(),
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

/// Ends what [`start_engine`] has started with the token `stop`. Returns when the prover processes are gone, so that
/// the next worker of this machine finds their memory free, or after 20 s with a warning.
pub(super) async fn end_engine(engine: JoinHandle<()>, stop: &CancellationToken) {
    stop.cancel();
    match timeout(PROVERS_END_TIMEOUT, engine).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the supervisor of the provers ended unexpectedly"),
        Err(_) => {
            tracing::warn!(
                seconds = PROVERS_END_TIMEOUT.as_secs(),
                "stopping although prover processes have not ended"
            );
        }
    }
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
    tracing::info!(
        about_seconds = estimate.as_secs(),
        threads,
        parallel_shards = settings.places,
        "loading the prover"
    );
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
    serve_prover_on(ProverDevice::Processor, threads, parallel_shards, release_memory).await
}

/// Same as [`serve_prover`], for a prover on the first GPU that this process sees. Without GPU support in the build,
/// the prover cannot be loaded, and the worker gets the reason.
///
/// # Errors
/// If the standard input is not a socket, or the threads cannot be started.
pub async fn serve_gpu_prover(
    threads: usize,
    parallel_shards: Option<usize>,
    release_memory: Option<fn()>,
) -> io::Result<()> {
    serve_prover_on(ProverDevice::Gpu, threads, parallel_shards, release_memory).await
}

async fn serve_prover_on(
    device: ProverDevice,
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
        device,
        gpus: Vec::new(),
    };
    start_thread_pool(threads, 0).map_err(io::Error::other)?;
    let load = move || load_prover(options.settings());
    sp1d_worker::serve_prover(tokio::net::UnixStream::from_std(stream)?, load).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    /// Checks how long a worker waits for provers that end `seconds` after it asks them to.
    async fn check(seconds: u64, expected_seconds: u64) {
        let (stop, started) = (CancellationToken::new(), Instant::now());
        let stopped = stop.clone();
        let engine = tokio::spawn(async move {
            stopped.cancelled().await;
            sleep(Duration::from_secs(seconds)).await;
        });
        end_engine(engine, &stop).await;
        assert_eq!(started.elapsed().as_secs(), expected_seconds, "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_waits_for_the_ends_of_its_provers_within_a_bound() {
        check(0, 0).await;
        check(3, 3).await;
        check(3600, PROVERS_END_TIMEOUT.as_secs()).await;
    }
}
