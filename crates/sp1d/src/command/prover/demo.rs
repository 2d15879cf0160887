//! `sp1d demo`: a first proof, on two workers on this machine, or on one if the memory is too small for two.

use super::{
    child_worker::{self, ChildWorker},
    prove::{ProveSummary, prove},
    signals::cancelled_by_signals,
};
use crate::{
    args::DemoArguments,
    exit::{self, CliError},
    files::{InputArgument, OutputFile, read_stdin},
    terminal::{self, PhaseStarts, print},
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_engine::{CutOptions, check_executor_host, smallest_worker_bytes};
use sp1d_machine::Memory;
use sp1d_model::counted;
use sp1d_orchestrator::ProofRequest;
use sp1d_roles::{
    config::{Config, ConfigOverrides},
    start_proving_threads,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The program to prove: a Fibonacci loop that commits its last two numbers.
const PROGRAM: &[u8] = include_bytes!("../../../programs/fibonacci");

/// Trace cells per shard: the smallest cut that a worker proves. A shard then needs the least memory and time.
const ELEMENT_THRESHOLD: u64 = (1 << 25) - (1 << 22);

/// Memory of this process: it executes the program and verifies. Measured 0.6 GB.
const ORCHESTRATOR_BYTES: u64 = 600_000_000;

/// Most workers that the demo starts.
const MAX_WORKERS: u16 = 2;

/// The output of `--json`. The phases follow each other. Their times add up to the time from the start of the workers
/// to the verified proof.
#[derive(Serialize)]
struct DemoSummary {
    /// Until the first worker has loaded its prover.
    load_seconds: f64,
    /// Until all shards are proven. Another worker may still load its prover.
    prove_seconds: f64,
    verify_seconds: f64,
    #[serde(flatten)]
    proof: ProveSummary,
}

pub(crate) async fn run(arguments: DemoArguments) -> Result<()> {
    check_executor_host()?;
    let count = worker_count(Memory::now())?;
    let cancel = cancelled_by_signals()?;
    let folder = tempfile::Builder::new().prefix("demo-").tempdir().context("cannot create a temporary folder")?;
    // Outside the demo's own folder, which is deleted at the end.
    let path = arguments.output.clone().unwrap_or_else(|| std::env::temp_dir().join("demo-proof.bin"));
    let output = OutputFile::reserve(&path)?;
    let started = Instant::now();
    let mut workers = start_workers(count, folder.path())?;
    let addresses: Vec<&str> = workers.iter().map(ChildWorker::address).collect();
    let list = folder.path().join("distributed.json");
    fs::write(&list, serde_json::to_string(&addresses)?).context("cannot write the worker list")?;
    let proven = prove_on(&mut workers, &list, &arguments, output, &path, cancel).await;
    let ended = Instant::now();
    if proven.is_err() {
        workers.iter().flat_map(ChildWorker::last_lines).for_each(|line| say(&line));
    }
    child_worker::stop(workers).await;
    let (proof, phases) = proven?;
    let summary = DemoSummary::new(started, phases, ended, proof);
    if arguments.json { print(&serde_json::to_string(&summary)?) } else { summary.print_table() }
}

impl DemoSummary {
    fn new(started: Instant, phases: PhaseStarts, ended: Instant, proof: ProveSummary) -> Self {
        let [load, prove, verify] = phase_times(started, phases, ended).map(|time| time.as_secs_f64());
        Self { load_seconds: load, prove_seconds: prove, verify_seconds: verify, proof }
    }

    fn print_table(&self) -> Result<()> {
        self.proof.print_table()?;
        let Self { load_seconds, prove_seconds, verify_seconds, .. } = self;
        print(&format!("loading {load_seconds:.1} s, proving {prove_seconds:.1} s, verifying {verify_seconds:.1} s"))
    }
}

/// Returns how long loading, proving and verifying took. A phase whose start is unknown took no time.
fn phase_times(started: Instant, phases: PhaseStarts, ended: Instant) -> [Duration; 3] {
    let verifying = phases.verifying.unwrap_or(ended);
    let proving = phases.proving.unwrap_or(verifying);
    [(started, proving), (proving, verifying), (verifying, ended)].map(|(from, to)| to.saturating_duration_since(from))
}

/// Returns how many workers fit into the free memory: two, or one with a message.
///
/// # Errors
/// If not even one fits.
fn worker_count(memory: Option<Memory>) -> Result<u16> {
    // Without the system's figures, the workers find out themselves: each waits for the memory that it needs.
    let Some(Memory { available_bytes, .. }) = memory else { return Ok(MAX_WORKERS) };
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let free = gigabytes(available_bytes);
    let needed = |workers| gigabytes(demo_bytes(workers));
    match (1..=MAX_WORKERS).rev().find(|workers| demo_bytes(*workers) <= available_bytes) {
        Some(MAX_WORKERS) => Ok(MAX_WORKERS),
        Some(fewer) => {
            let two = needed(MAX_WORKERS);
            say(&format!("the demo runs one worker: two need {two:.1} GB of memory, {free:.1} GB are free"));
            Ok(fewer)
        }
        None => {
            let text = format!(
                "not enough memory: the demo needs {:.1} GB with one worker and {:.1} GB with two, {free:.1} GB are \
                 free\nhint: stop other programs, or run the workers on other machines",
                needed(1),
                needed(MAX_WORKERS),
            );
            Err(CliError::new(exit::HOST, text).into())
        }
    }
}

/// Memory that the demo needs with this number of workers.
fn demo_bytes(workers: u16) -> u64 {
    ORCHESTRATOR_BYTES + u64::from(workers) * smallest_worker_bytes()
}

/// Starts `count` workers that share the cores. Each proves one shard at a time, because a second one needs its own
/// memory.
fn start_workers(count: u16, folder: &Path) -> Result<Vec<ChildWorker>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = |number: u16| {
        let arguments = worker_arguments(usize::from(number), usize::from(count), cores);
        ChildWorker::start(format!("worker-{}", number + 1), folder, &arguments)
    };
    (0..count).map(start).collect()
}

/// Returns the flags of worker `number` of `count`, counted from 0: its part of the cores.
fn worker_arguments(number: usize, count: usize, cores: usize) -> Vec<String> {
    /// More threads do not make a shard of this size faster.
    const MAX_THREADS: usize = 8;
    let threads = (cores / count).clamp(1, MAX_THREADS);
    let mut arguments = vec!["--threads".to_owned(), threads.to_string()];
    arguments.extend(["--parallel-shards".to_owned(), "1".to_owned()]);
    if threads * count <= cores {
        let pinned: Vec<String> = (number * threads..(number + 1) * threads).map(|core| core.to_string()).collect();
        arguments.extend(["--pin".to_owned(), pinned.join(",")]);
    }
    arguments
}

async fn prove_on(
    workers: &mut [ChildWorker],
    list: &Path,
    arguments: &DemoArguments,
    output: OutputFile,
    path: &Path,
    cancel: CancellationToken,
) -> Result<(ProveSummary, PhaseStarts)> {
    say(&format!("loading the prover in {}; this takes some seconds", counted(workers.len(), "worker")));
    tokio::select! {
        () = cancel.cancelled() => return Err(sp1d_orchestrator::ProofFailure::Cancelled.into()),
        listening = child_worker::wait_until_listening(workers) => listening?,
    }
    say("proving: the run is cut into the smallest shards, and each takes about a minute of processor time");
    let options =
        CutOptions::from_variables(|name| (name == "ELEMENT_THRESHOLD").then(|| ELEMENT_THRESHOLD.to_string()))?;
    let stdin = read_stdin(None, &[InputArgument::U32(arguments.steps)])?;
    let request = ProofRequest::core(PROGRAM.into(), stdin.into(), options.encode());
    let mut overrides = ConfigOverrides::default();
    overrides.workers_file(list);
    overrides.default_spill_folder(&arguments.default_spill_folder);
    // A worker that loads first would otherwise take the shards of both.
    overrides.shard_batch_size(1);
    // Ignore the user's environment variables: they are meant for the user's own proofs.
    let config = Config::load(&overrides, |_| None)?;
    start_proving_threads(&config);
    prove(&config, request, output, path, cancel).await
}

fn say(text: &str) {
    terminal::say_text(&format!("{text}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_count(available_bytes: u64, expected: Result<u16, &str>) {
        let memory = Memory { available_bytes, total_bytes: 1 << 40 };
        match (worker_count(Some(memory)), expected) {
            (Ok(count), Ok(expected)) => assert_eq!(count, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn with_less_memory_than_two_workers_need_the_demo_runs_one() {
        check_count(u64::MAX, Ok(2));
        check_count(demo_bytes(2), Ok(2));
        check_count(demo_bytes(2) - 1, Ok(1));
        check_count(demo_bytes(1), Ok(1));
        check_count(
            demo_bytes(1) - 1,
            Err("the demo needs 5.6 GB with one worker and 10.5 GB with two, 5.6 GB are free"),
        );
        check_count(1_000_000_000, Err("1.0 GB are free"));
        assert_eq!(worker_count(None).unwrap(), 2);
    }

    /// `./x demo` checks the memory before it compiles, when nothing can call this code.
    #[test]
    fn the_script_checks_the_same_memory_before_the_build() {
        let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/demo.sh")).unwrap();
        for (name, workers) in [("one_worker_bytes", 1), ("two_workers_bytes", 2)] {
            let line = script.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap();
            let (bytes, needed) = (line.parse::<u64>().unwrap(), demo_bytes(workers));
            assert!(bytes >= needed && bytes <= needed + needed / 50, "{name}={bytes}, needed: {needed}");
        }
    }

    #[test]
    fn workers_share_the_cores() {
        let check = |number, count, cores, expected: &str| {
            assert_eq!(worker_arguments(number, count, cores).join(" "), expected);
        };
        check(0, 2, 1, "--threads 1 --parallel-shards 1");
        check(0, 2, 2, "--threads 1 --parallel-shards 1 --pin 0");
        check(1, 2, 2, "--threads 1 --parallel-shards 1 --pin 1");
        check(1, 2, 5, "--threads 2 --parallel-shards 1 --pin 2,3");
        check(0, 1, 2, "--threads 2 --parallel-shards 1 --pin 0,1");
        check(0, 1, 64, "--threads 8 --parallel-shards 1 --pin 0,1,2,3,4,5,6,7");
    }

    #[test]
    fn the_times_of_the_phases_add_up() {
        let started = Instant::now();
        let after = |seconds| started + Duration::from_secs(seconds);
        let check = |proving: Option<u64>, verifying: Option<u64>, expected: [u64; 3]| {
            let phases = PhaseStarts { proving: proving.map(after), verifying: verifying.map(after) };
            assert_eq!(phase_times(started, phases, after(10)), expected.map(Duration::from_secs));
        };
        check(Some(3), Some(9), [3, 6, 1]);
        check(None, Some(9), [9, 0, 1]);
        check(Some(3), None, [3, 7, 0]);
        check(None, None, [10, 0, 0]);
    }
}
