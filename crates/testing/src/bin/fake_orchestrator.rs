//! An orchestrator process whose proofs mean nothing. What happens goes to stdout, a line each: `done WORKER`, `lost
//! WORKER`, `restarted`, and at the end `proven` or `failed REASON`, for each proof in turn.

#![expect(clippy::print_stdout, reason = "the tests read it")]

use anyhow::Result;
use artifacts::Limits;
use clap::Parser;
use orchestrator::{Holdings, Orchestrator, Progress, Settings, Verify, WorkerList};
use sp1_distributed_testing::{FakeController, fake_build, request};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct Arguments {
    /// Addresses of workers.
    #[arg(required = true)]
    workers: Vec<String>,
    #[arg(long, default_value_t = 12)]
    shards: u64,
    /// Proofs, all at once.
    #[arg(long, default_value_t = 1)]
    proofs: u32,
    #[arg(long, default_value_t = 8)]
    record_bytes: usize,
    #[arg(long, default_value_t = 1000)]
    heartbeat_ms: u64,
    #[arg(long, default_value_t = 60)]
    patience_s: u64,
    #[arg(long, default_value_t = 600)]
    timeout_s: u64,
    #[arg(long, default_value_t = 2)]
    batch: u32,
    #[arg(long)]
    verify_final: bool,
    /// A last shard is made of the events of all others.
    #[arg(long)]
    precompiles: bool,
    /// The results of all shards are folded into one.
    #[arg(long)]
    folds: bool,
    /// Memory for artifacts.
    #[arg(long)]
    memory_bytes: Option<u64>,
    /// Disk for artifacts.
    #[arg(long, default_value_t = 1 << 30)]
    disk_bytes: u64,
    #[arg(long)]
    spill_folder: Option<PathBuf>,
}

async fn show(number: u32, mut events: broadcast::Receiver<Progress>) {
    while let Ok(event) = events.recv().await {
        match event {
            Progress::Done { worker, .. } => println!("done {worker} {number}"),
            Progress::WorkerLost { worker, .. } => println!("lost {worker} {number}"),
            Progress::WorkerReady(worker) => println!("ready {worker} {number}"),
            Progress::Restarted { .. } => println!("restarted {number}"),
            Progress::Submitted(_)
            | Progress::Remembered(_)
            | Progress::Attempt(_)
            | Progress::Executed { .. }
            | Progress::Cut { .. }
            | Progress::Verifying => {}
        }
    }
}

/// Lines of stdin. On a thread of its own, which ends with the process: tokio would wait for one more line.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A line `cancel` on stdin cancels every proof, `drain WORKER` and `resume WORKER` do what they say.
async fn obey(orchestrator: Arc<Orchestrator>, cancel: CancellationToken) {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        match line.split_once(' ') {
            Some(("drain", worker)) => match orchestrator.drain(worker).await {
                Ok(()) => println!("drained {worker}"),
                Err(error) => println!("error {error}"),
            },
            Some(("resume", worker)) => match orchestrator.resume(worker).await {
                Ok(()) => println!("resumed {worker}"),
                Err(error) => println!("error {error}"),
            },
            _ => cancel.cancel(),
        }
    }
}

/// What is left when everything has had its time to go.
async fn left(orchestrator: &Orchestrator) -> Holdings {
    for _ in 0..100 {
        if orchestrator.holdings() == Holdings::default() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    orchestrator.holdings()
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter("info").init();
    let arguments = Arguments::parse();
    let mut settings = Settings::new(fake_build());
    settings.heartbeat = Duration::from_millis(arguments.heartbeat_ms);
    settings.patience = Duration::from_secs(arguments.patience_s);
    settings.shard_batch_size = arguments.batch;
    if arguments.verify_final {
        settings.verify = Verify::Final;
    }
    if let Some(memory_bytes) = arguments.memory_bytes {
        settings.store =
            Limits { memory_bytes, disk_bytes: arguments.disk_bytes, spill_folder: arguments.spill_folder.clone() };
    }
    let members = arguments.workers.iter().map(|worker| worker.parse()).collect::<Result<Vec<_>, _>>();
    let list = WorkerList(members.map_err(anyhow::Error::msg)?);
    let orchestrator = Arc::new(Orchestrator::connect(&list, settings, None).await?);
    let cancel = CancellationToken::new();
    let obeying = tokio::spawn(obey(orchestrator.clone(), cancel.clone()));
    let proofs = (0..arguments.proofs).map(|number| {
        let (orchestrator, cancel) = (orchestrator.clone(), cancel.clone());
        let request = request(arguments.shards, Duration::from_secs(arguments.timeout_s));
        let controller = Arc::new(FakeController {
            record_bytes: arguments.record_bytes,
            precompiles: arguments.precompiles,
            folds: arguments.folds,
        });
        tokio::spawn(async move {
            let (progress, events) = broadcast::channel(4096);
            let shown = tokio::spawn(show(number, events));
            let outcome = orchestrator.prove(request, controller, progress, cancel).await;
            let _ = shown.await;
            match outcome {
                Ok(proven) => println!("proven {number} {}", proven.shards),
                Err(failure) => println!("failed {number} {failure}"),
            }
        })
    });
    for proof in proofs.collect::<Vec<_>>() {
        proof.await?;
    }
    let left = left(&orchestrator).await;
    println!("left {} attempts {} artifacts {} bytes", left.attempts, left.artifacts, left.bytes);
    obeying.abort();
    let _ = obeying.await;
    if let Some(orchestrator) = Arc::into_inner(orchestrator) {
        orchestrator.shutdown().await;
    }
    Ok(())
}
