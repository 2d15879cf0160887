//! Measures a setting: starts a worker with it, lets the worker prove the first shards of a program, and stops it.

use super::{
    search::{TuneFigures, TuneSetting},
    shard_counter::ShardCounter,
};
use crate::{
    command::prover::child_worker::{self, ChildWorker},
    exit::{self, CliError},
};
use anyhow::{Context, Result};
use sp1d_engine::{CutOptions, Sp1ProofRunner};
use sp1d_machine::{GpuLibrary, GpuMemoryPeaks, child_processes, live_bytes};
use sp1d_orchestrator::{ProbeError, ProofFailure, ProofRequest};
use sp1d_roles::{
    WorkerPool,
    config::{Config, ConfigOverrides},
};
use std::{
    fs,
    path::{Path, PathBuf},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};
use tokio_util::{bytes::Bytes, sync::CancellationToken, task::AbortOnDropHandle};

/// The program and input to prove.
pub(super) struct TuneWorkload {
    pub(super) program: Bytes,
    pub(super) stdin: Bytes,
    pub(super) runner: Arc<Sp1ProofRunner>,
    /// Numbers of the GPUs to measure. Empty: the provers compute on the processor.
    pub(super) gpus: Vec<u32>,
    /// The library of their driver.
    pub(super) gpu_library: Option<Arc<dyn GpuLibrary>>,
    /// Folder for artifacts that do not fit in memory.
    pub(super) spill_folder: PathBuf,
}

/// How long all provers of a worker may take to load. They load one after another.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Time between two probes of a worker that loads its provers.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two readings of the provers' memory.
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Proves as many shards as [`TuneSetting::shards`] says. `say` receives messages about the progress.
///
/// # Errors
///
/// A [`ProofFailure`] if the proof fails or the user cancels it. Other errors if the worker does not start, an attempt
/// fails or no shard can be measured.
pub(super) async fn measure(
    setting: TuneSetting,
    work: &TuneWorkload,
    timeout: Duration,
    say: &impl Fn(&str),
    cancel: &CancellationToken,
) -> Result<TuneFigures> {
    let folder = tempfile::Builder::new().prefix("tune-").tempdir().context("cannot create a temporary folder")?;
    let flags = worker_flags(setting, &work.gpus).into_iter().chain(["--log".to_owned(), "info".to_owned()]);
    let mut worker = ChildWorker::start("worker".to_owned(), folder.path(), &flags.collect::<Vec<_>>())?;
    let outcome = tokio::select! {
        () = cancel.cancelled() => Err(ProofFailure::Cancelled.into()),
        outcome = prove_on(&mut worker, folder.path(), setting, work, timeout, say) => outcome,
    };
    if outcome.is_err() && !cancel.is_cancelled() {
        worker.last_lines().iter().for_each(|line| say(line));
    }
    child_worker::stop(vec![worker]).await;
    outcome
}

/// Returns the flags of `sp1d worker` for a setting. `gpus` are the numbers of the GPUs that it may use.
pub(super) fn worker_flags(setting: TuneSetting, gpus: &[u32]) -> Vec<String> {
    let TuneSetting { provers, threads, parallel_shards, .. } = setting;
    let mut flags = match threads {
        Some(threads) => vec![("--provers", provers.to_string()), ("--threads", threads.to_string())],
        None => {
            let used: Vec<String> = used_gpus(setting, gpus).iter().map(u32::to_string).collect();
            vec![("--gpus", used.join(","))]
        }
    };
    flags.push(("--parallel-shards", parallel_shards.to_string()));
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// Returns those of `gpus` that a setting uses.
fn used_gpus(setting: TuneSetting, gpus: &[u32]) -> &[u32] {
    &gpus[..gpus.len().min(setting.provers.into())]
}

async fn prove_on(
    worker: &mut ChildWorker,
    folder: &Path,
    setting: TuneSetting,
    work: &TuneWorkload,
    timeout: Duration,
    say: &impl Fn(&str),
) -> Result<TuneFigures> {
    child_worker::wait_until_listening(slice::from_mut(worker)).await?;
    wait_until_loaded(worker, setting.provers).await?;
    let list = folder.join("distributed.json");
    fs::write(&list, serde_json::to_string(&[worker.address()])?).context("cannot write the worker list")?;
    let mut overrides = ConfigOverrides::default();
    overrides.workers_file(&list);
    overrides.default_spill_folder(&work.spill_folder);
    // Ignore the user's environment variables: they are meant for the user's own proofs.
    let config = Config::load(&overrides, |_| None)?;
    let pool = WorkerPool::open(&config).await?;
    let peak = ProverMemoryPeak::start(worker);
    let gpus = used_gpus(setting, &work.gpus);
    let gpu_peaks = work.gpu_library.clone().map(|library| GpuMemoryPeaks::start(library, gpus.to_vec()));
    let gpu_peaks = gpu_peaks.transpose().context("cannot read the memory of the GPUs")?;
    let counter = ShardCounter::new(setting.shards(), setting.cut);
    let counted = prove_first_shards(&pool, work, setting.cut, counter, timeout, say).await;
    pool.shutdown().await;
    let gpu_peak = gpu_peaks.and_then(|peaks| gpus.iter().filter_map(|gpu| peaks.bytes(*gpu)).max());
    counted?.figures(peak.bytes(), gpu_peak).map_err(|reason| CliError::new(exit::OTHER, reason).into())
}

/// Proves until all wanted shards are done, or until the program ends.
async fn prove_first_shards(
    pool: &WorkerPool,
    work: &TuneWorkload,
    cut: Option<u64>,
    mut counter: ShardCounter,
    timeout: Duration,
    say: &impl Fn(&str),
) -> Result<ShardCounter> {
    let cut = cut.map(|cut| cut.to_string());
    let options = CutOptions::from_variables(|name| cut.clone().filter(|_| name == "ELEMENT_THRESHOLD"))?;
    let request = ProofRequest {
        timeout: Some(timeout),
        ..ProofRequest::core(work.program.clone(), work.stdin.clone(), options.encode())
    };
    let (progress, mut events) = broadcast::channel(4096);
    let stop = CancellationToken::new();
    let mut proof = std::pin::pin!(pool.prove(request, work.runner.clone(), progress, stop.clone()));
    let mut on_event = |event| {
        if let Some(text) = counter.on_event(event, Instant::now()) {
            say(&text);
        }
        counter.is_complete() || counter.has_failed()
    };
    let ended = loop {
        tokio::select! {
            proven = &mut proof => break Some(proven),
            event = events.recv() => match event {
                Ok(event) => if on_event(event) {
                    stop.cancel();
                    let _ = proof.await;
                    break None;
                },
                Err(RecvError::Lagged(_)) => {}
                // The channel closes just before the proof ends.
                Err(RecvError::Closed) => break Some((&mut proof).await),
            },
        }
    };
    if let Some(proven) = ended {
        // Read the last events.
        while let Ok(event) = events.try_recv() {
            on_event(event);
        }
        proven?;
    }
    Ok(counter)
}

/// Returns when all provers of the worker are loaded. A session would already be ready when the first prover is.
async fn wait_until_loaded(worker: &mut ChildWorker, provers: u16) -> Result<()> {
    let deadline = Instant::now() + LOAD_TIMEOUT;
    loop {
        match worker.probe().await? {
            Ok(probed) if probed.ready_provers >= u32::from(provers) => return Ok(()),
            Ok(probed) => {
                anyhow::ensure!(probed.failed_provers == 0, "the worker cannot load a prover");
            }
            Err(error @ (ProbeError::Build(_) | ProbeError::NoAddress(_))) => return Err(error.into()),
            // The worker is still busy with the previous probe, or it has ended.
            Err(ProbeError::Busy(_) | ProbeError::Unreachable(_)) => {}
        }
        worker.check_runs()?;
        anyhow::ensure!(Instant::now() < deadline, "the provers did not load within {} s", LOAD_TIMEOUT.as_secs());
        sleep(PROBE_INTERVAL).await;
    }
}

/// Records the peak of the live memory of all provers of a worker together.
struct ProverMemoryPeak {
    bytes: Arc<AtomicU64>,
    _polling: AbortOnDropHandle<()>,
}

impl ProverMemoryPeak {
    fn start(worker: &ChildWorker) -> Self {
        let bytes: Arc<AtomicU64> = Arc::default();
        let (process, max) = (worker.process(), bytes.clone());
        let polling = tokio::spawn(async move {
            while let Some(process) = process {
                let sum = move || child_processes(process).into_iter().filter_map(live_bytes).sum();
                // Takes milliseconds per prover, so it runs on a blocking thread.
                let now: u64 = tokio::task::spawn_blocking(sum).await.unwrap_or(0);
                max.fetch_max(now, Ordering::Relaxed);
                sleep(MEMORY_POLL_INTERVAL).await;
            }
        });
        Self { bytes, _polling: AbortOnDropHandle::new(polling) }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provers: u16, threads: Option<u16>, expected: &str) {
        let setting = TuneSetting { provers, threads, parallel_shards: 2, cut: None };
        assert_eq!(worker_flags(setting, &[0, 2, 5]).join(" "), expected);
    }

    #[test]
    fn flags_select_gpus_or_divide_the_processor() {
        check(2, Some(4), "--provers 2 --threads 4 --parallel-shards 2");
        check(1, None, "--gpus 0 --parallel-shards 2");
        check(3, None, "--gpus 0,2,5 --parallel-shards 2");
    }
}
