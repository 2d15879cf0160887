//! Measures how long a task stands still after a loss: of a worker process, of a silent worker, and of a connection.
//!
//! Each round has processes of its own, and a task that takes longer than the recovery. A worker that is lost is one
//! of two; the other one is idle. A connection that is lost belongs to the only worker.

use crate::{
    pool::{FleetProcess, LoadPool},
    proof::{LoadChecks, OpenProof},
    report::spread_of,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts, plot_bars, write_figures};
use sp1d_model::TaskId;
use sp1d_orchestrator::{AttemptInfo, ProofEvent, TaskOutcome, TaskSpec};
use sp1d_protocol::{TaskPayload, WrapTask};
use sp1d_testing::record;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{sync::broadcast::Receiver, time::timeout};

#[derive(Debug, clap::Args)]
pub(crate) struct RecoveryArguments {
    /// Number of rounds.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure one round. A silent worker takes most of its time.
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/recovery.json")]
    output: PathBuf,
}

/// Heartbeats of a second that a worker may miss, as by default.
const MISSED_HEARTBEATS: u32 = 3;

/// Time of a task whose worker is lost. It never ends before the recovery.
const LONG_TASK: Duration = Duration::from_secs(600);

/// Time of a task whose connection is lost.
const SHORT_TASK: Duration = Duration::from_secs(3);

/// Longest wait for an event. Only a fault takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Size of a result.
const RESULT_BYTES: usize = 8;

/// The content of the output file. All times are in seconds.
#[derive(Debug, Serialize)]
struct RecoveryReport {
    machine: MachineFacts,
    rounds: u32,
    heartbeat_seconds: f64,
    missed_heartbeats: u32,
    rows: Vec<RecoveryRow>,
}

#[derive(Debug, Serialize)]
struct RecoveryRow {
    loss: LossKind,
    /// From the loss to the start of the next attempt, or to the continuation of the attempt.
    seconds: FigureSpread,
    /// Number of attempts of the task. 1 means that the attempt continued.
    attempts: u32,
}

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum LossKind {
    /// SIGKILL ends the process of the worker, and the kernel closes its connection.
    KilledWorker,
    /// SIGSTOP freezes the process of the worker. Its connection stays open.
    SilentWorker,
    /// The connection closes. The worker continues.
    LostConnection,
}

impl LossKind {
    const ALL: [Self; 3] = [Self::KilledWorker, Self::SilentWorker, Self::LostConnection];

    const fn name(self) -> &'static str {
        match self {
            Self::KilledWorker => "killed worker",
            Self::SilentWorker => "silent worker",
            Self::LostConnection => "lost connection",
        }
    }
}

struct RecoveryRound {
    seconds: f64,
    attempts: u32,
}

pub(crate) async fn run(arguments: &RecoveryArguments) -> Result<()> {
    let rounds = if arguments.quick { 1 } else { arguments.rounds };
    let mut rows = Vec::new();
    for loss in LossKind::ALL {
        let mut measured = Vec::new();
        for round in 0..rounds {
            eprintln!("round {} of {rounds}: {}", round + 1, loss.name());
            measured.push(match loss {
                LossKind::KilledWorker => lose_worker(Signal::KILL).await?,
                LossKind::SilentWorker => lose_worker(Signal::STOP).await?,
                LossKind::LostConnection => lose_connection().await?,
            });
        }
        let attempts = measured.iter().map(|round| round.attempts).max().unwrap_or_default();
        rows.push(RecoveryRow { loss, seconds: spread_of(&measured, |round| round.seconds)?, attempts });
    }
    println!("{:16} {:>26} {:>9}", "loss", "seconds (range)", "attempts");
    for row in &rows {
        println!("{:16} {:>26} {:>9}", row.loss.name(), row.seconds.to_string(), row.attempts);
    }
    let bars: Vec<(String, f64)> = rows.iter().map(|row| (row.loss.name().to_owned(), row.seconds.median)).collect();
    plot_bars(&arguments.output.with_extension("svg"), "Time until work continues", "seconds", &bars)?;
    let report = RecoveryReport {
        machine: MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned()),
        rounds,
        heartbeat_seconds: 1.0,
        missed_heartbeats: MISSED_HEARTBEATS,
        rows,
    };
    write_figures(&arguments.output, &report)
}

/// A proof with one task, which a worker has started.
struct StartedTask {
    pool: LoadPool,
    proof: OpenProof,
    events: Receiver<ProofEvent>,
    task: TaskId,
    first: AttemptInfo,
}

impl StartedTask {
    async fn start(fleets: Vec<FleetProcess>) -> Result<Self> {
        let pool = LoadPool::start(fleets, MISSED_HEARTBEATS).await?;
        let checks = LoadChecks::new(&record(0, RESULT_BYTES));
        let (proof, mut events) = OpenProof::open(&pool.orchestrator, checks).await?;
        let stored = proof.handle.put("input", b"input".to_vec()).await;
        stored.map_err(|error| anyhow!("cannot store the input: {error}"))?;
        let task = WrapTask { proof: "input".to_owned(), result: "result".to_owned() };
        let payload = TaskPayload::ShrinkWrap(task);
        let task = proof.handle.submit(TaskSpec { payload, needed_bytes: 0, cycles: 0 }).await;
        let first = next_start(&mut events, task).await?;
        Ok(Self { pool, proof, events, task, first })
    }
}

/// Waits for an event that `find` accepts. Returns what it found.
async fn wait_for<T>(events: &mut Receiver<ProofEvent>, find: impl Fn(ProofEvent) -> Option<T>) -> Result<T> {
    let found = async {
        loop {
            let event = events.recv().await.context("the proof has ended")?;
            if let Some(found) = find(event) {
                return anyhow::Ok(found);
            }
        }
    };
    match timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => bail!("an event did not come within {} s", PATIENCE.as_secs()),
    }
}

/// Waits until a worker starts the task.
async fn next_start(events: &mut Receiver<ProofEvent>, task: TaskId) -> Result<AttemptInfo> {
    wait_for(events, |event| match event {
        ProofEvent::Proving(attempt) if attempt.task == task => Some(attempt),
        _ => None,
    })
    .await
}

/// Sends `signal` to the worker of a running task. Measures the time until the other worker has started the task.
async fn lose_worker(signal: Signal) -> Result<RecoveryRound> {
    let fleet = |name: &str| {
        let time = ("milliseconds", LONG_TASK.as_millis().to_string());
        FleetProcess::start(1, &[("name", name.to_owned()), time])
    };
    let names = ["left", "right"];
    let mut started = StartedTask::start(vec![fleet(names[0])?, fleet(names[1])?]).await?;
    let place = names.iter().position(|name| started.first.worker.starts_with(*name));
    let place = place.context("an unknown worker started the task")?;
    let start = Instant::now();
    started.pool.fleets[place].signal(signal)?;
    let next = next_start(&mut started.events, started.task).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(next.worker != started.first.worker, "the lost worker started the task again");
    started.pool.end().await;
    Ok(RecoveryRound { seconds, attempts: 2 })
}

/// Closes the connection of the only worker during a task. Measures the time until its session continues. The attempt
/// must then end without another one.
async fn lose_connection() -> Result<RecoveryRound> {
    let time = ("milliseconds", SHORT_TASK.as_millis().to_string());
    let mut started = StartedTask::start(vec![FleetProcess::start(1, &[time, ("link", String::new())])?]).await?;
    let start = Instant::now();
    started.pool.fleets[0].disconnect()?;
    wait_for(&mut started.events, |event| matches!(event, ProofEvent::WorkerLost { .. }).then_some(())).await?;
    wait_for(&mut started.events, |event| matches!(event, ProofEvent::WorkerReady { .. }).then_some(())).await?;
    let seconds = start.elapsed().as_secs_f64();
    let done = wait_for(&mut started.events, |event| match event {
        ProofEvent::Done(attempt) => Some(attempt),
        _ => None,
    });
    let done = done.await?;
    let outcome = started.proof.handle.watch(started.task).await;
    ensure!(outcome == Ok(TaskOutcome::Succeeded), "the task failed after the connection was lost");
    let attempts = if done.attempt == started.first.attempt { 1 } else { 2 };
    started.proof.close().await?;
    started.pool.end().await;
    Ok(RecoveryRound { seconds, attempts })
}
