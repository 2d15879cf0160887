//! `sp1d demo`: a first proof, on two workers on this machine.

use super::{
    child_worker::{self, ChildWorker},
    prove::prove,
    signals::cancelled_by_signals,
};
use crate::{
    args::DemoArguments,
    exit::{self, CliError},
    files::{InputArgument, OutputFile, read_stdin},
    terminal,
};
use anyhow::{Context, Result};
use sp1_distributed::distributed::{
    config::{Config, ConfigOverrides},
    start_proving_threads,
};
use sp1d_engine::{CutOptions, check_executor_host, smallest_worker_bytes};
use sp1d_machine::Memory;
use sp1d_orchestrator::{ExpectedExit, ProofMode, ProofRequest};
use std::{fs, path::Path};
use tokio_util::sync::CancellationToken;

/// The program to prove: a Fibonacci loop that commits its last two numbers.
const PROGRAM: &[u8] = include_bytes!("../../programs/fibonacci");

/// Trace elements per shard. Low enough that a short program has shards for both workers.
const ELEMENT_THRESHOLD: u64 = 1 << 25;

const WORKER_COUNT: u16 = 2;

pub(crate) async fn run(arguments: DemoArguments) -> Result<()> {
    check_executor_host()?;
    check_memory()?;
    let cancel = cancelled_by_signals()?;
    let folder = tempfile::Builder::new().prefix("demo-").tempdir().context("cannot create a temporary folder")?;
    // Outside the demo's own folder, which is deleted at the end.
    let path = arguments.output.clone().unwrap_or_else(|| std::env::temp_dir().join("demo-proof.bin"));
    let output = OutputFile::reserve(&path)?;
    let mut workers = start_workers(folder.path())?;
    let addresses: Vec<&str> = workers.iter().map(ChildWorker::address).collect();
    let list = folder.path().join("distributed.json");
    fs::write(&list, serde_json::to_string(&addresses)?).context("cannot write the worker list")?;
    let outcome = prove_on(&mut workers, &list, &arguments, output, &path, cancel).await;
    if outcome.is_err() {
        workers.iter().flat_map(ChildWorker::last_lines).for_each(|line| say(&line));
    }
    child_worker::stop(workers).await;
    outcome
}

fn check_memory() -> Result<()> {
    let needed = smallest_worker_bytes() * u64::from(WORKER_COUNT);
    match Memory::now() {
        Some(memory) if memory.available_bytes < needed => {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            let text = format!(
                "not enough memory: two workers need {:.1} GB, {:.1} GB are free\nhint: stop other programs, or run the \
                 workers on other machines",
                gigabytes(needed),
                gigabytes(memory.available_bytes)
            );
            Err(CliError::new(exit::HOST, text).into())
        }
        _ => Ok(()),
    }
}

fn start_workers(folder: &Path) -> Result<Vec<ChildWorker>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = |(number, port): (usize, u16)| {
        let mut arguments = vec!["--threads".to_owned(), "1".to_owned()];
        if cores > 1 {
            arguments.extend(["--pin".to_owned(), (number % cores).to_string()]);
        }
        ChildWorker::start(format!("worker-{}", number + 1), port, folder, &arguments)
    };
    child_worker::free_ports(WORKER_COUNT)?.into_iter().enumerate().map(start).collect()
}

async fn prove_on(
    workers: &mut [ChildWorker],
    list: &Path,
    arguments: &DemoArguments,
    output: OutputFile,
    path: &Path,
    cancel: CancellationToken,
) -> Result<()> {
    say("two workers with one thread each load the prover, one after the other; this takes some seconds");
    tokio::select! {
        () = cancel.cancelled() => return Err(sp1d_orchestrator::ProofFailure::Cancelled.into()),
        listening = child_worker::wait_until_listening(workers) => listening?,
    }
    let options =
        CutOptions::from_variables(|name| (name == "ELEMENT_THRESHOLD").then(|| ELEMENT_THRESHOLD.to_string()))?;
    let request = ProofRequest {
        elf: PROGRAM.into(),
        stdin: read_stdin(None, &[InputArgument::U32(arguments.steps)])?.into(),
        mode: ProofMode::Core,
        cycle_limit: None,
        expected_exit: ExpectedExit::Success,
        check_input_proofs: true,
        nonce: [0; 4],
        options: options.encode(),
        timeout: None,
        label: String::new(),
    };
    let mut overrides = ConfigOverrides::default();
    overrides.workers_file(list);
    // Ignore the user's environment variables: they are meant for the user's own proofs.
    let config = Config::load(&overrides, |_| None)?;
    start_proving_threads(&config);
    prove(&config, request, output, path, arguments.json, cancel).await
}

fn say(text: &str) {
    terminal::say(format!("{text}\n").as_bytes());
}
