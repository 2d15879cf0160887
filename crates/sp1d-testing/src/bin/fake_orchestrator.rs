//! An orchestrator process whose proofs prove nothing. Tests follow it on stdout, one line per event. N is the number
//! of a proof, starting at 0.
//!
//! - During a proof: `ready WORKER N`, `proving WORKER N`, `done WORKER N`, `lost WORKER N`, `restarted N`.
//! - At the end of a proof: `proven N SHARDS` or `failed N REASON`.
//! - At the end of all proofs: `left A attempts B artifacts C bytes`.
//! - For a command on stdin: `drained WORKER`, `resumed WORKER` or `error REASON`.

#![expect(clippy::print_stdout, reason = "the tests read it")]

use anyhow::Result;
use clap::Parser;
use sp1d_artifacts::StoreLimits;
use sp1d_orchestrator::{AttemptInfo, Holdings, Orchestrator, OrchestratorSettings, ProofEvent, Verify, WorkerList};
use sp1d_testing::{FakeRunner, fake_build, request};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct FakeOrchestratorArguments {
    /// Addresses of the workers.
    #[arg(required = true)]
    workers: Vec<String>,
    #[arg(long, default_value_t = 12)]
    shards: u64,
    /// Number of proofs. They all run at the same time.
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
    /// Submit a last shard with the deferred events of all other shards.
    #[arg(long)]
    precompiles: bool,
    /// Fold the results of all shards into one.
    #[arg(long)]
    folds: bool,
    /// Memory for artifacts, in bytes.
    #[arg(long)]
    memory_bytes: Option<u64>,
    /// Disk space for artifacts, in bytes.
    #[arg(long, default_value_t = 1 << 30)]
    disk_bytes: u64,
    #[arg(long)]
    spill_folder: Option<PathBuf>,
}

async fn show(number: u32, mut events: broadcast::Receiver<ProofEvent>) {
    while let Ok(event) = events.recv().await {
        match event {
            ProofEvent::Proving(AttemptInfo { worker, .. }) => println!("proving {worker} {number}"),
            ProofEvent::Done(AttemptInfo { worker, .. }) => println!("done {worker} {number}"),
            ProofEvent::WorkerLost { worker, .. } => println!("lost {worker} {number}"),
            ProofEvent::WorkerReady { worker } => println!("ready {worker} {number}"),
            ProofEvent::Restarted { .. } => println!("restarted {number}"),
            _ => {}
        }
    }
}

/// Returns the lines of stdin. A separate thread reads them and ends with the process. Tokio would wait for one more
/// line before it shuts down.
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

/// Carries out the commands on stdin: `drain WORKER`, `resume WORKER`, or any other line (such as `cancel`) to cancel
/// every proof.
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

/// Waits up to one second until no proof, attempt or artifact is left. Returns what is left.
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
    let arguments = FakeOrchestratorArguments::parse();
    let mut settings = OrchestratorSettings::new(fake_build());
    settings.heartbeat = Duration::from_millis(arguments.heartbeat_ms);
    settings.patience = Duration::from_secs(arguments.patience_s);
    settings.shard_batch_size = arguments.batch;
    if arguments.verify_final {
        settings.verify = Verify::Final;
    }
    if let Some(memory_bytes) = arguments.memory_bytes {
        settings.store = StoreLimits {
            memory_bytes,
            disk_bytes: arguments.disk_bytes,
            spill_folder: arguments.spill_folder.clone(),
        };
    }
    let members = arguments.workers.iter().map(|worker| worker.parse()).collect::<Result<Vec<_>, _>>();
    let list = WorkerList(members.map_err(anyhow::Error::msg)?);
    let orchestrator = Arc::new(Orchestrator::connect(&list, settings, None).await?);
    let cancel = CancellationToken::new();
    let obeying = tokio::spawn(obey(orchestrator.clone(), cancel.clone()));
    let proofs = (0..arguments.proofs).map(|number| {
        let (orchestrator, cancel) = (orchestrator.clone(), cancel.clone());
        let request = request(arguments.shards, Duration::from_secs(arguments.timeout_s));
        let runner = Arc::new(FakeRunner {
            record_bytes: arguments.record_bytes,
            precompiles: arguments.precompiles,
            folds: arguments.folds,
            ..FakeRunner::default()
        });
        tokio::spawn(async move {
            let (progress, events) = broadcast::channel(4096);
            let shown = tokio::spawn(show(number, events));
            let outcome = orchestrator.prove(request, runner, progress, cancel).await;
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
