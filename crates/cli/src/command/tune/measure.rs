//! Measures a setting: starts a worker with it, lets the worker prove the first shards of a program, and stops it.

use super::search::{Figures, Setting};
use crate::{
    command::own_worker::{self, OwnWorker},
    exit::{self, Failure},
};
use anyhow::{Context, Result};
use engine::{Controller, CutOptions};
use machine::{child_processes, live_bytes};
use orchestrator::{AttemptNews, AttemptStep, ExpectedExit, Progress, ProofFailure, ProofMode, ProofRequest};
use scheduler::TaskId;
use sp1_distributed::distributed::{
    Pool,
    config::{Config, Overrides},
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
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
pub(super) struct Work {
    pub(super) program: Bytes,
    pub(super) stdin: Bytes,
    pub(super) controller: Arc<Controller>,
}

/// How long all provers of a worker may take to load. They load one after another.
const TO_LOAD: Duration = Duration::from_secs(15 * 60);

/// Time between two readings of the provers' memory.
const LOOK: Duration = Duration::from_millis(500);

/// Proves as many shards as the setting proves at the same time. `say` receives messages about the progress.
///
/// # Errors
///
/// A [`ProofFailure`] if the proof fails or the user cancels it. Other errors if the worker does not start, an attempt
/// fails or no shard can be measured.
pub(super) async fn measure(
    setting: Setting,
    work: &Work,
    timeout: Duration,
    say: &impl Fn(&str),
    cancel: &CancellationToken,
) -> Result<Figures> {
    let folder = tempfile::Builder::new().prefix("tune-").tempdir().context("cannot create a temporary folder")?;
    let flags = worker_flags(setting).into_iter().chain(["--log".to_owned(), "info".to_owned()]);
    let port = own_worker::free_ports(1)?[0];
    let mut worker = OwnWorker::start("worker".to_owned(), port, folder.path(), &flags.collect::<Vec<_>>())?;
    let outcome = tokio::select! {
        () = cancel.cancelled() => Err(ProofFailure::Cancelled.into()),
        outcome = prove_on(&mut worker, folder.path(), setting, work, timeout, say) => outcome,
    };
    if outcome.is_err() && !cancel.is_cancelled() {
        worker.last_lines().iter().for_each(|line| say(line));
    }
    own_worker::stop(vec![worker]).await;
    outcome
}

/// Returns the flags of `sp1d worker` for a setting.
pub(super) fn worker_flags(setting: Setting) -> Vec<String> {
    let Setting { provers, threads, parallel_shards, .. } = setting;
    let flags = [("--provers", provers), ("--threads", threads), ("--parallel-shards", parallel_shards)];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]).collect()
}

async fn prove_on(
    worker: &mut OwnWorker,
    folder: &Path,
    setting: Setting,
    work: &Work,
    timeout: Duration,
    say: &impl Fn(&str),
) -> Result<Figures> {
    own_worker::wait_until_listening(slice::from_mut(worker)).await?;
    wait_until_loaded(worker, setting.provers).await?;
    let list = folder.join("distributed.json");
    fs::write(&list, serde_json::to_string(&[worker.address()])?).context("cannot write the worker list")?;
    let mut overrides = Overrides::default();
    overrides.workers_file(&list);
    // Ignore the user's environment variables: they are meant for the user's own proofs.
    let config = Config::load(&overrides, |_| None)?;
    let pool = Pool::open(&config).await?;
    let peak = Peak::begin(worker);
    let count = Count { wanted: setting.shards(), cut: setting.cut, ..Count::default() };
    let counted = prove_first_shards(&pool, work, setting.cut, count, timeout, say).await;
    pool.shutdown().await;
    counted?.figures(peak.bytes()).map_err(|reason| Failure::new(exit::OTHER, reason).into())
}

/// Proves until all wanted shards are done, or until the program ends.
async fn prove_first_shards(
    pool: &Pool,
    work: &Work,
    cut: Option<u64>,
    mut count: Count,
    timeout: Duration,
    say: &impl Fn(&str),
) -> Result<Count> {
    let cut = cut.map(|cut| cut.to_string());
    let options = CutOptions::from_variables(|name| cut.clone().filter(|_| name == "ELEMENT_THRESHOLD"))?;
    let request = ProofRequest {
        elf: work.program.clone(),
        stdin: work.stdin.clone(),
        mode: ProofMode::Core,
        cycle_limit: None,
        expected_exit: ExpectedExit::Success,
        check_input_proofs: true,
        nonce: [0; 4],
        options: options.encode(),
        timeout: Some(timeout),
        label: String::new(),
    };
    let (progress, mut events) = broadcast::channel(4096);
    let stop = CancellationToken::new();
    let mut proof = std::pin::pin!(pool.prove(request, work.controller.clone(), progress, stop.clone()));
    let mut note = |event| {
        if let Some(text) = count.on_event(event, Instant::now()) {
            say(&text);
        }
        count.is_complete() || count.failure.is_some()
    };
    let ended = loop {
        tokio::select! {
            proven = &mut proof => break Some(proven),
            event = events.recv() => match event {
                Ok(event) => if note(event) {
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
            note(event);
        }
        proven?;
    }
    Ok(count)
}

/// Returns when all provers of the worker are loaded. This function reads the worker's log, because the session is
/// already ready when the first prover is.
async fn wait_until_loaded(worker: &mut OwnWorker, provers: u16) -> Result<()> {
    let deadline = Instant::now() + TO_LOAD;
    loop {
        let log = worker.log();
        let is_ready = |prover: &u16| log.contains(&format!("prover ready prover={prover} "));
        if (0..provers).all(|prover| is_ready(&prover)) {
            return Ok(());
        }
        worker.check_runs()?;
        anyhow::ensure!(!log.contains("the prover is given up"), "the worker cannot load a prover");
        anyhow::ensure!(Instant::now() < deadline, "the provers did not load within {} s", TO_LOAD.as_secs());
        sleep(Duration::from_millis(200)).await;
    }
}

/// Records the peak of the live memory of all provers of a worker together.
struct Peak {
    bytes: Arc<AtomicU64>,
    _looking: AbortOnDropHandle<()>,
}

impl Peak {
    fn begin(worker: &OwnWorker) -> Self {
        let bytes: Arc<AtomicU64> = Arc::default();
        let (process, most) = (worker.process(), bytes.clone());
        let looking = tokio::spawn(async move {
            while let Some(process) = process {
                let sum = move || child_processes(process).into_iter().filter_map(live_bytes).sum();
                // Takes milliseconds per prover, so it runs on a blocking thread.
                let now: u64 = tokio::task::spawn_blocking(sum).await.unwrap_or(0);
                most.fetch_max(now, Ordering::Relaxed);
                sleep(LOOK).await;
            }
        });
        Self { bytes, _looking: AbortOnDropHandle::new(looking) }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Counts the first shards of a proof.
#[derive(Debug, Default)]
struct Count {
    /// Number of shards to count.
    wanted: usize,
    cut: Option<u64>,
    /// The first shards that started.
    begun: BTreeMap<TaskId, Shard>,
    failure: Option<String>,
}

#[derive(Debug)]
struct Shard {
    cycles: u64,
    begin: Instant,
    end: Option<Instant>,
}

impl Count {
    /// Processes an event. Returns a message if there is progress to report.
    fn on_event(&mut self, event: Progress, now: Instant) -> Option<String> {
        match event {
            Progress::Cut { name, reason, .. } => {
                self.cut = name.rsplit_once('=').and_then(|(_, cut)| cut.parse().ok());
                Some(format!("cut {name}: {reason}"))
            }
            // Shards of precompiles and of memory have no cycles.
            Progress::Attempt(AttemptNews { task, cycles, step, .. }) if cycles > 0 => match step {
                AttemptStep::Started => {
                    if self.begun.len() < self.wanted {
                        self.begun.entry(task).or_insert(Shard { cycles, begin: now, end: None });
                    }
                    None
                }
                AttemptStep::Done => {
                    let shard = self.begun.get_mut(&task)?;
                    shard.end.get_or_insert(now);
                    let seconds = now.duration_since(shard.begin).as_secs_f64();
                    let done = self.begun.values().filter(|shard| shard.end.is_some()).count();
                    Some(format!("{done} of {} shards proven ({cycles} cycles in {seconds:.1} s)", self.wanted))
                }
                AttemptStep::Failed(reason) => {
                    self.failure.get_or_insert(reason);
                    None
                }
                AttemptStep::Assigned | AttemptStep::Dropped => None,
            },
            Progress::WorkerLost { reason, .. } | Progress::Restarted { reason } => {
                self.failure.get_or_insert(reason);
                None
            }
            _ => None,
        }
    }

    fn is_complete(&self) -> bool {
        self.begun.len() == self.wanted && self.begun.values().all(|shard| shard.end.is_some())
    }

    /// Returns the figures of all shards that are done. A program may have fewer shards than wanted.
    fn figures(self, peak_bytes: u64) -> Result<Figures, String> {
        if let Some(reason) = self.failure {
            return Err(reason);
        }
        let done = || self.begun.values().filter_map(|shard| Some((shard, shard.end?)));
        let begin = done().map(|(shard, _)| shard.begin).min();
        let end = done().map(|(_, end)| end).max();
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err("the program has no shard that can be measured".to_owned());
        };
        Ok(Figures {
            element_threshold: self.cut.unwrap_or_default(),
            shards: done().count(),
            cycles: done().map(|(shard, _)| shard.cycles).sum(),
            seconds: end.duration_since(begin).as_secs_f64(),
            peak_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scheduler::{AttemptId, TaskKind};

    /// Runs attempt steps, given as task, cycles, step and second, and counts `wanted` shards. Expects the number of
    /// shards, their cycles and their seconds.
    #[track_caller]
    fn check(wanted: usize, steps: &[(u64, u64, AttemptStep, u64)], expected: Result<(usize, u64, f64), &str>) {
        let mut count = Count { wanted, cut: Some(1), ..Count::default() };
        let begin = Instant::now();
        for (task, cycles, step, second) in steps {
            assert!(!count.is_complete());
            let news = AttemptNews {
                task: TaskId(*task),
                attempt: AttemptId(*task),
                kind: TaskKind::ProveShard,
                cycles: *cycles,
                worker: "worker".to_owned(),
                step: step.clone(),
            };
            count.on_event(Progress::Attempt(news), begin + Duration::from_secs(*second));
        }
        let found = count.figures(0).map(|figures| (figures.shards, figures.cycles, figures.seconds));
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn figures_cover_the_first_shards_from_first_start_to_last_end() {
        use AttemptStep::{Done, Failed, Started};
        let two =
            [(1, 10, Started, 5), (2, 30, Started, 6), (1, 10, Done, 15), (3, 50, Started, 15), (2, 30, Done, 25)];
        check(2, &two, Ok((2, 40, 20.0)));
        let precompiles = [(1, 0, Started, 1), (1, 0, Done, 2), (2, 10, Started, 5), (2, 10, Done, 6)];
        check(1, &precompiles, Ok((1, 10, 1.0)));
        // The program ends before the second shard.
        check(2, &[(1, 10, Started, 0), (1, 10, Done, 5)], Ok((1, 10, 5.0)));
        check(1, &[], Err("the program has no shard that can be measured"));
        check(1, &[(1, 10, Started, 0), (1, 10, Failed("out of memory".to_owned()), 5)], Err("out of memory"));
    }
}
