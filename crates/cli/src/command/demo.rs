//! `sp1d demo`: a first proof on two workers of this machine.

use super::prove::prove;
use crate::{
    args::DemoArguments,
    exit::{self, Failure},
    input::{Input, read_stdin},
    output::OutputFile,
};
use anyhow::{Context, Result};
use engine::{CutOptions, build_identity, check_executor_host, smallest_worker_bytes};
use orchestrator::{ExpectedExit, Member, ProbeError, ProofMode, ProofRequest, probe};
use rustix::process::{Pid, Signal, kill_process};
use sp1_distributed::distributed::{
    config::{Config, Overrides},
    start_proving_threads,
};
use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use worker::Memory;

/// The program: a Fibonacci loop that commits its last two numbers.
const PROGRAM: &[u8] = include_bytes!("../../../../guests/elf/fibonacci");

/// Low enough that a short program has shards for both workers.
const ELEMENT_THRESHOLD: u64 = 1 << 25;

const WORKERS: u16 = 2;

pub(crate) async fn run(arguments: DemoArguments) -> Result<()> {
    check_executor_host()?;
    check_memory()?;
    let cancel = super::cancelled_by_signals()?;
    let folder = tempfile::Builder::new().prefix("demo-").tempdir().context("make a folder for the demo")?;
    // Beside the demo's own folder, which goes when the demo ends.
    let path = arguments.output.clone().unwrap_or_else(|| std::env::temp_dir().join("demo-proof.bin"));
    let output = OutputFile::reserve(&path)?;
    let mut workers = start_workers(folder.path())?;
    let addresses: Vec<String> = workers.iter().map(|worker| worker.address.clone()).collect();
    let list = folder.path().join("distributed.json");
    fs::write(&list, serde_json::to_string(&addresses)?).context("write distributed.json")?;
    let outcome = prove_on(&mut workers, &list, &arguments, output, &path, cancel).await;
    stop(workers).await;
    if outcome.is_err() {
        show_logs(folder.path());
    }
    outcome
}

fn check_memory() -> Result<()> {
    let needed = smallest_worker_bytes() * u64::from(WORKERS);
    match Memory::now() {
        Some(memory) if memory.available_bytes < needed => {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            let text = format!(
                "two workers need {:.1} GB of free memory, {:.1} GB are free; stop something else, or run workers on other machines",
                gigabytes(needed),
                gigabytes(memory.available_bytes)
            );
            Err(Failure::new(exit::HOST, text).into())
        }
        _ => Ok(()),
    }
}

struct DemoWorker {
    address: String,
    process: Child,
}

fn start_workers(folder: &Path) -> Result<Vec<DemoWorker>> {
    let program = std::env::current_exe().context("find this program")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Held together until all are chosen, so that they differ.
    let ports: Vec<TcpListener> =
        (0..WORKERS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().context("find a free port")?;
    let ports = ports.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<Result<Vec<u16>>>()?;
    let mut workers = Vec::new();
    for (number, port) in ports.into_iter().enumerate() {
        let address = format!("127.0.0.1:{port}");
        let log = File::create(folder.join(format!("worker-{}.log", number + 1))).context("make a log file")?;
        let mut command = Command::new(&program);
        command
            .args(["worker", "--threads", "1", "--orchestrator", "127.0.0.1", "--with-parent", "--wait-memory", "600"])
            .args(["--listen", &address, "--name", &format!("worker-{}", number + 1)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if cores > 1 {
            command.args(["--pin", &(number % cores).to_string()]);
        }
        let process = command.spawn().context("start a worker")?;
        workers.push(DemoWorker { address, process });
    }
    Ok(workers)
}

async fn prove_on(
    workers: &mut [DemoWorker],
    list: &Path,
    arguments: &DemoArguments,
    output: OutputFile,
    path: &Path,
    cancel: CancellationToken,
) -> Result<()> {
    say("two workers of one thread each are loading the prover, one after the other: some seconds");
    tokio::select! {
        () = cancel.cancelled() => return Err(orchestrator::ProofFailure::Cancelled.into()),
        listening = wait_until_listening(workers) => listening?,
    }
    let options =
        CutOptions::from_variables(|name| (name == "ELEMENT_THRESHOLD").then(|| ELEMENT_THRESHOLD.to_string()))?;
    let request = ProofRequest {
        elf: PROGRAM.into(),
        stdin: read_stdin(None, &[Input::U32(arguments.steps)])?.into(),
        mode: ProofMode::Core,
        cycle_limit: None,
        expected_exit: ExpectedExit::Success,
        check_input_proofs: true,
        nonce: [0; 4],
        options: options.encode(),
        timeout: None,
        label: String::new(),
    };
    let mut overrides = Overrides::default();
    overrides.workers_file(list);
    // What is set for proofs of one's own does not count for the demo.
    let config = Config::load(&overrides, |_| None)?;
    start_proving_threads(&config);
    prove(&config, request, output, path, arguments.json, cancel).await
}

async fn wait_until_listening(workers: &mut [DemoWorker]) -> Result<()> {
    let (build, deadline) = (build_identity(), Instant::now() + Duration::from_secs(10));
    for worker in workers {
        let member: Member = worker.address.parse()?;
        // An open port alone may belong to another program.
        while let Err(ProbeError::Unreachable(_)) = probe(&member, &build).await {
            if let Some(status) = worker.process.try_wait().context("look after a worker")? {
                return Err(Failure::new(exit::OTHER, format!("a worker ended at once ({status})")).into());
            }
            anyhow::ensure!(Instant::now() < deadline, "a worker does not listen on {}", worker.address);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Asks the workers to stop, and ends those that do not.
async fn stop(mut workers: Vec<DemoWorker>) {
    for worker in &workers {
        let id = worker.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::TERM);
        }
    }
    for worker in &mut workers {
        if tokio::time::timeout(Duration::from_secs(5), worker.process.wait()).await.is_err() {
            let _ = worker.process.kill().await;
        }
    }
}

/// The ends of the workers' logs, where the reason of a failure may stand.
fn show_logs(folder: &Path) {
    for number in 1..=WORKERS {
        let log = fs::read_to_string(folder.join(format!("worker-{number}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(5)..] {
            say(&format!("worker-{number}: {line}"));
        }
    }
}

fn say(text: &str) {
    use std::io::Write;
    // A reader that has gone does not stop the demo.
    let _ = writeln!(std::io::stderr(), "{text}");
}
