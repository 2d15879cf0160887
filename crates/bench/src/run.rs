//! Starting, measuring and stopping one configuration after the other.

use crate::prover::{Measured, Program};
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::{
    env,
    ffi::OsString,
    fs,
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
    /// Without workers sp1-sdk's CPU prover proves, with two threads.
    workers: &'static [WorkerSetting],
    /// Trace cells after which a shard ends; `None` for the default.
    cut: Option<u64>,
}

impl Configuration {
    /// sp1-sdk's CPU prover, with two threads.
    pub(crate) const fn cpu_prover(name: &'static str, cut: Option<u64>) -> Self {
        Self { name, workers: &[], cut }
    }

    pub(crate) const fn workers(name: &'static str, workers: &'static [WorkerSetting], cut: Option<u64>) -> Self {
        Self { name, workers, cut }
    }
}

/// How a worker proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerSetting {
    pub(crate) provers: u32,
    /// Of each prover.
    pub(crate) threads: u32,
    /// The one core that it runs on; `None` for all.
    pub(crate) core: Option<u32>,
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
pub(crate) fn pin_to_two_cores() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0);
    cores.set(1);
    sched_setaffinity(None, &cores).context("run on cores 0 and 1 only")
}

/// The figures, or why the proof failed.
fn measure(configuration: Configuration, work: Work) -> Result<Result<Measured, String>> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let workers = start_workers(configuration.workers, &[], folder.path())?;
    let addresses: Vec<&str> = workers.iter().map(Worker::address).collect();
    fs::write(folder.path().join("distributed.json"), serde_json::to_string(&addresses)?)?;
    let processes: Vec<String> = workers.iter().map(|worker| worker.process.id().to_string()).collect();
    let prover = if configuration.workers.is_empty() { "cpu" } else { "distributed" };
    let mut command = Command::new(env::current_exe().context("find this program")?);
    let output = without_settings(&mut command)
        .args(["prove", "--program", work.program.name(), "--size", &work.size.to_string()])
        .args(["--least-shards", &work.least_shards.to_string()])
        .args(processes.iter().flat_map(|process| ["--workers", process]))
        .current_dir(folder.path())
        .env("SP1_PROVER", prover)
        .envs(configuration.cut.map(|cut| ("ELEMENT_THRESHOLD", cut.to_string())))
        .env("RAYON_NUM_THREADS", "2")
        .env("TMPDIR", folder.path())
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

/// Removes what the user has set for proofs of their own: only what the bench sets counts.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    const OF_SP1: [&str; 4] = ["ELEMENT_THRESHOLD", "HEIGHT_THRESHOLD", "SHARD_BATCH_SIZE", "SHARD_SIZE"];
    let is_set = |name: &OsString| {
        let name = name.to_string_lossy();
        ["SP1_DISTRIBUTED_", "SP1_WORKER_"].iter().any(|prefix| name.starts_with(prefix)) || OF_SP1.contains(&&*name)
    };
    for name in env::vars_os().map(|(name, _)| name).filter(is_set) {
        command.env_remove(name);
    }
    command
}

/// A worker process; killed when dropped.
pub(crate) struct Worker {
    address: String,
    /// Its provers load one after another.
    provers: usize,
    log: PathBuf,
    process: Child,
}

impl Worker {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn is_ready(&mut self) -> Result<bool> {
        let log = self.log();
        if let Some(status) = self.process.try_wait()? {
            bail!("a worker ended ({status}): {log}");
        }
        Ok(log.matches("prover ready").count() >= self.provers && TcpStream::connect(&self.address).is_ok())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already gone, if all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts workers with further arguments, and waits until all are ready.
pub(crate) fn start_workers(settings: &[WorkerSetting], more: &[&str], folder: &Path) -> Result<Vec<Worker>> {
    let program = env::current_exe().context("find this program")?.with_file_name("sp1d");
    let mut workers = Vec::new();
    for (number, WorkerSetting { provers, threads, core }) in settings.iter().enumerate() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
        let address = format!("127.0.0.1:{port}");
        let log = folder.join(format!("worker-{number}.log"));
        let mut command = Command::new(&program);
        command
            .args(["worker", "--listen", &address, "--orchestrator", "127.0.0.1", "--wait-memory", "600"])
            .args([
                "--provers",
                &provers.to_string(),
                "--threads",
                &threads.to_string(),
                "--name",
                &format!("worker-{number}"),
                "--with-parent",
            ])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        if let Some(core) = core {
            command.args(["--pin", &core.to_string()]);
        }
        let process = command.spawn().with_context(|| format!("start {}", program.display()))?;
        workers.push(Worker { address, provers: *provers as usize, log, process });
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
