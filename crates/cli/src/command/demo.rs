//! `sp1d demo`: a first proof, on two workers on this machine.

use super::{
    own_worker::{self, OwnWorker},
    prove::prove,
};
use crate::{
    args::DemoArguments,
    exit::{self, Failure},
    input::{Input, read_stdin},
    output::OutputFile,
};
use anyhow::{Context, Result};
use engine::{CutOptions, check_executor_host, smallest_worker_bytes};
use machine::Memory;
use orchestrator::{ExpectedExit, ProofMode, ProofRequest};
use sp1_distributed::distributed::{
    config::{Config, Overrides},
    start_proving_threads,
};
use std::{fs, path::Path};
use tokio_util::sync::CancellationToken;

/// The program to prove: a Fibonacci loop that commits its last two numbers.
const PROGRAM: &[u8] = include_bytes!("../../../../guests/elf/fibonacci");

/// Trace elements per shard. Low enough that a short program has shards for both workers.
const ELEMENT_THRESHOLD: u64 = 1 << 25;

const WORKERS: u16 = 2;

pub(crate) async fn run(arguments: DemoArguments) -> Result<()> {
    check_executor_host()?;
    check_memory()?;
    let cancel = super::cancelled_by_signals()?;
    let folder = tempfile::Builder::new().prefix("demo-").tempdir().context("cannot create a temporary folder")?;
    // Outside the demo's own folder, which is deleted at the end.
    let path = arguments.output.clone().unwrap_or_else(|| std::env::temp_dir().join("demo-proof.bin"));
    let output = OutputFile::reserve(&path)?;
    let mut workers = start_workers(folder.path())?;
    let addresses: Vec<&str> = workers.iter().map(OwnWorker::address).collect();
    let list = folder.path().join("distributed.json");
    fs::write(&list, serde_json::to_string(&addresses)?).context("cannot write the worker list")?;
    let outcome = prove_on(&mut workers, &list, &arguments, output, &path, cancel).await;
    if outcome.is_err() {
        workers.iter().flat_map(OwnWorker::last_lines).for_each(|line| say(&line));
    }
    own_worker::stop(workers).await;
    outcome
}

fn check_memory() -> Result<()> {
    let needed = smallest_worker_bytes() * u64::from(WORKERS);
    match Memory::now() {
        Some(memory) if memory.available_bytes < needed => {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            let text = format!(
                "not enough memory: two workers need {:.1} GB, {:.1} GB are free\nhint: stop other programs, or run the \
                 workers on other machines",
                gigabytes(needed),
                gigabytes(memory.available_bytes)
            );
            Err(Failure::new(exit::HOST, text).into())
        }
        _ => Ok(()),
    }
}

fn start_workers(folder: &Path) -> Result<Vec<OwnWorker>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = |(number, port): (usize, u16)| {
        let mut arguments = vec!["--threads".to_owned(), "1".to_owned()];
        if cores > 1 {
            arguments.extend(["--pin".to_owned(), (number % cores).to_string()]);
        }
        OwnWorker::start(format!("worker-{}", number + 1), port, folder, &arguments)
    };
    own_worker::free_ports(WORKERS)?.into_iter().enumerate().map(start).collect()
}

async fn prove_on(
    workers: &mut [OwnWorker],
    list: &Path,
    arguments: &DemoArguments,
    output: OutputFile,
    path: &Path,
    cancel: CancellationToken,
) -> Result<()> {
    say("two workers with one thread each load the prover, one after the other; this takes some seconds");
    tokio::select! {
        () = cancel.cancelled() => return Err(orchestrator::ProofFailure::Cancelled.into()),
        listening = own_worker::wait_until_listening(workers) => listening?,
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
    // Ignore the user's environment variables: they are meant for the user's own proofs.
    let config = Config::load(&overrides, |_| None)?;
    start_proving_threads(&config);
    prove(&config, request, output, path, arguments.json, cancel).await
}

fn say(text: &str) {
    crate::console::say(format!("{text}\n").as_bytes());
}
