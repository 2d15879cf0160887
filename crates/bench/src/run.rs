//! Starting, measuring and stopping one configuration after the other.

use crate::prover::{Measured, Program};
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    /// Threads and core of each worker; without workers sp1-sdk's CPU prover proves, with two threads.
    workers: &'static [(u32, Option<u32>)],
    /// Trace cells after which a shard ends; `None` for the default.
    cut: Option<u64>,
}

impl Configuration {
    /// sp1-sdk's CPU prover, with two threads.
    pub(crate) const fn cpu_prover(name: &'static str, cut: Option<u64>) -> Self {
        Self { name, workers: &[], cut }
    }

    /// Workers with threads, and with a core where one is given.
    pub(crate) const fn workers(name: &'static str, workers: &'static [(u32, Option<u32>)], cut: Option<u64>) -> Self {
        Self { name, workers, cut }
    }
}

/// What is proven.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) program: Program,
    /// Of the program's own input.
    pub(crate) size: u32,
    /// Fewer shards are too few to measure.
    pub(crate) least_shards: usize,
}

/// One configuration in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// Its name.
    configuration: &'static str,
    /// The measured proof, as the process that asked for it saw it; or why there is none.
    proof: Result<Measured, String>,
}

impl Outcome {
    pub(crate) fn measured(&self) -> Option<&Measured> {
        self.proof.as_ref().ok()
    }
}

/// All configurations, once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round(pub(crate) Vec<Outcome>);

impl Round {
    /// What `configuration` came to, unless it failed.
    pub(crate) fn measured(&self, configuration: Configuration) -> Option<&Measured> {
        self.0.iter().find(|outcome| outcome.configuration == configuration.name)?.measured()
    }
}

pub(crate) fn rounds(count: u32, configurations: &[Configuration], work: Work) -> Result<Vec<Round>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(cores >= 2, "every configuration has two cores");
    pin_to_two_cores()?;
    let mut rounds = Vec::new();
    for number in 0..count {
        let mut order = configurations.to_vec();
        if number % 2 == 1 {
            order.reverse();
        }
        let mut round = Vec::new();
        for configuration in order {
            eprintln!("round {} of {count}: {}", number + 1, configuration.name);
            let proof = measure(configuration, work)?;
            match &proof {
                Ok(proof) => eprintln!("  {:.1} s for {} shards", proof.seconds, proof.shards),
                Err(reason) => eprintln!("  failed: {reason}"),
            }
            round.push(Outcome { configuration: configuration.name, proof });
        }
        rounds.push(Round(round));
    }
    Ok(rounds)
}

/// Every configuration has the same two cores, however many there are.
fn pin_to_two_cores() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0);
    cores.set(1);
    sched_setaffinity(None, &cores).context("run on cores 0 and 1 only")
}

/// The figures, or why the proof failed.
fn measure(configuration: Configuration, work: Work) -> Result<Result<Measured, String>> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let workers = start_workers(configuration, folder.path())?;
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    fs::write(folder.path().join("distributed.json"), serde_json::to_string(&addresses)?)?;
    let processes: Vec<String> = workers.iter().map(|worker| worker.process.id().to_string()).collect();
    let prover = if configuration.workers.is_empty() { "cpu" } else { "distributed" };
    let mut command = Command::new(env::current_exe().context("find this program")?);
    // Only what is set here counts.
    let set = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.starts_with("SP1_DISTRIBUTED_") || name.starts_with("SP1_WORKER_")
    };
    for name in env::vars_os().map(|(name, _)| name).filter(set) {
        command.env_remove(name);
    }
    let output = command
        .args(["prove", "--program", work.program.name(), "--size", &work.size.to_string()])
        .args(["--least-shards", &work.least_shards.to_string()])
        .args(processes.iter().flat_map(|process| ["--workers", process]))
        .current_dir(folder.path())
        .env("SP1_PROVER", prover)
        .env_remove("ELEMENT_THRESHOLD")
        .envs(configuration.cut.map(|cut| ("ELEMENT_THRESHOLD", cut.to_string())))
        .env("RAYON_NUM_THREADS", "2")
        .env("TMPDIR", folder.path())
        .env_remove("SHARD_BATCH_SIZE")
        .env_remove("HEIGHT_THRESHOLD")
        .env_remove("SHARD_SIZE")
        .stderr(Stdio::inherit())
        .output()
        .context("start the process that asks for proofs")?;
    if !output.status.success() {
        return Ok(Err(output.status.to_string()));
    }
    let text = String::from_utf8(output.stdout).context("figures are text")?;
    let proof = serde_json::from_str(text.lines().last().unwrap_or_default()).context("figures are JSON")?;
    Ok(Ok(proof))
}

/// A worker process; killed when dropped.
struct Worker {
    address: String,
    log: PathBuf,
    process: Child,
}

impl Worker {
    fn is_ready(&mut self) -> Result<bool> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if let Some(status) = self.process.try_wait()? {
            bail!("a worker ended ({status}): {log}");
        }
        Ok(log.contains("prover ready") && TcpStream::connect(&self.address).is_ok())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already gone, if all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the workers and waits until all are ready.
fn start_workers(configuration: Configuration, folder: &Path) -> Result<Vec<Worker>> {
    let program = env::current_exe().context("find this program")?.with_file_name("sp1d");
    let mut workers = Vec::new();
    for (number, (threads, core)) in configuration.workers.iter().enumerate() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
        let address = format!("127.0.0.1:{port}");
        let log = folder.join(format!("worker-{number}.log"));
        let mut command = Command::new(&program);
        command
            .args(["worker", "--listen", &address, "--orchestrator", "127.0.0.1", "--wait-memory", "600"])
            .args(["--threads", &threads.to_string(), "--name", &format!("worker-{number}"), "--with-parent"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        if let Some(core) = core {
            command.args(["--pin", &core.to_string()]);
        }
        let process = command.spawn().with_context(|| format!("start {}", program.display()))?;
        workers.push(Worker { address, log, process });
    }
    let deadline = Instant::now() + Duration::from_secs(600);
    for worker in &mut workers {
        while !worker.is_ready()? {
            ensure!(Instant::now() < deadline, "a worker did not become ready within ten minutes");
            sleep(Duration::from_millis(500));
        }
    }
    Ok(workers)
}
