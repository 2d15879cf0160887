//! Starts, measures and stops the configurations, one after the other.

use super::{BenchGpus, BenchMode, BenchProgram, ProofFigures};
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use sp1d_figures::{GpuMemoryFigures, end_process};
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A configuration to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    /// The workers. Without workers, sp1-sdk's CPU prover proves, with two threads.
    workers: &'static [WorkerSetting],
    /// Number of trace cells after which a shard ends. With `None`, the prover's default.
    cut: Option<u64>,
}

impl Configuration {
    /// Returns a configuration with sp1-sdk's CPU prover and two threads.
    pub(crate) const fn cpu_prover(name: &'static str, cut: Option<u64>) -> Self {
        Self { name, workers: &[], cut }
    }

    pub(crate) const fn workers(name: &'static str, workers: &'static [WorkerSetting], cut: Option<u64>) -> Self {
        Self { name, workers, cut }
    }

    fn is_on_gpus(&self) -> bool {
        self.workers.contains(&WorkerSetting::Gpus)
    }
}

/// How a worker proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerSetting {
    Processor {
        provers: u32,
        /// Threads of each prover.
        threads: u32,
        /// The core that the worker is pinned to. With `None`, it uses all cores.
        core: Option<u32>,
    },
    /// One prover on each of the bench's GPUs. The processor traces for them on all cores of the machine.
    Gpus,
}

/// The proof to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BenchProof {
    pub(crate) program: BenchProgram,
    /// Size of the program's input.
    pub(crate) size: u32,
    pub(crate) mode: BenchMode,
    /// A core proof with fewer shards is too short to measure.
    pub(crate) min_shards: usize,
    /// Whether a short proof comes before the measured one.
    pub(crate) warms_up: bool,
}

/// The result of one configuration in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConfigurationOutcome {
    /// Name of the configuration.
    configuration: &'static str,
    /// Figures of the measured proof, from the process that requested it, or the reason why the proof failed.
    proof: Result<ProofFigures, String>,
    /// The memory of the GPUs from the start of the workers to the end of the proof.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<GpuMemoryFigures>,
}

impl ConfigurationOutcome {
    pub(crate) fn measured(&self) -> Option<&ProofFigures> {
        self.proof.as_ref().ok()
    }
}

/// The results of all configurations in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MeasuredRound(pub(crate) Vec<ConfigurationOutcome>);

impl MeasuredRound {
    /// Returns the figures of `configuration`, or `None` if its proof failed.
    pub(crate) fn measured(&self, configuration: Configuration) -> Option<&ProofFigures> {
        self.0.iter().find(|outcome| outcome.configuration == configuration.name)?.measured()
    }
}

/// Returns the figures of each GPU at the highest peak of its memory in all rounds.
pub(crate) fn gpu_peaks(rounds: &[MeasuredRound]) -> Vec<GpuMemoryFigures> {
    let mut highest: BTreeMap<u32, GpuMemoryFigures> = BTreeMap::new();
    for figures in rounds.iter().flat_map(|round| &round.0).flat_map(|outcome| &outcome.gpus) {
        let kept = highest.entry(figures.index).or_insert_with(|| figures.clone());
        if figures.peak_bytes > kept.peak_bytes {
            *kept = figures.clone();
        }
    }
    highest.into_values().collect()
}

/// Measures `configurations` in `count` rounds. `gpus` are the GPUs of the configurations that use some.
pub(crate) fn rounds(
    count: u32,
    configurations: &[Configuration],
    wanted: BenchProof,
    gpus: Option<&BenchGpus>,
) -> Result<Vec<MeasuredRound>> {
    let all_cores = sched_getaffinity(None).context("cannot read the list of cores")?;
    let mut rounds = Vec::new();
    for number in 0..count {
        let mut order = configurations.to_vec();
        if number % 2 == 1 {
            order.reverse();
        }
        let mut round = Vec::new();
        for configuration in order {
            eprintln!("round {} of {count}: {}", number + 1, configuration.name);
            if configuration.is_on_gpus() {
                sched_setaffinity(None, &all_cores).context("cannot use all cores")?;
            } else {
                pin_to_two_cores()?;
            }
            let outcome = measure(configuration, wanted, gpus)?;
            match &outcome.proof {
                Ok(proof) => eprintln!("  {}", proof.words()),
                Err(reason) => eprintln!("  failed: {reason}"),
            }
            outcome.gpus.iter().for_each(|gpu| eprintln!("  {gpu}"));
            round.push(outcome);
        }
        rounds.push(MeasuredRound(round));
    }
    sched_setaffinity(None, &all_cores).context("cannot use all cores")?;
    Ok(rounds)
}

/// Pins this process to cores 0 and 1, so that every configuration on the processor has the same two cores on any
/// machine.
pub(crate) fn pin_to_two_cores() -> Result<()> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(count >= 2, "this machine has {count} core, and the bench needs two");
    let mut cores = CpuSet::new();
    cores.set(0);
    cores.set(1);
    sched_setaffinity(None, &cores).context("cannot pin this process to cores 0 and 1")
}

/// Measures one configuration.
fn measure(configuration: Configuration, wanted: BenchProof, gpus: Option<&BenchGpus>) -> Result<ConfigurationOutcome> {
    let gpus = gpus.filter(|_| configuration.is_on_gpus());
    let watch = gpus.map(BenchGpus::watch).transpose()?;
    let proof = prove_once(configuration, wanted, gpus)?;
    let gpus = watch.map(|watch| watch.figures()).unwrap_or_default();
    Ok(ConfigurationOutcome { configuration: configuration.name, proof, gpus })
}

/// Starts the workers, makes the measured proof, and stops the workers. The inner error is the reason why the proof
/// failed.
fn prove_once(
    configuration: Configuration,
    wanted: BenchProof,
    gpus: Option<&BenchGpus>,
) -> Result<Result<ProofFigures, String>> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let workers = start_workers(configuration.workers, gpus, &[], folder.path())?;
    let threads = (!configuration.is_on_gpus()).then_some(("RAYON_NUM_THREADS", 2));
    let cut = configuration.cut.map(|cut| ("ELEMENT_THRESHOLD", cut));
    let variables: Vec<_> = threads.into_iter().chain(cut).collect();
    request_proof(wanted, &workers.iter().collect::<Vec<_>>(), &variables, folder.path())
}

/// Requests the proof in a process of its own, and returns its figures. Without workers, sp1-sdk's CPU prover proves.
/// `variables` are environment variables of the process. The inner error is the reason why the proof failed.
pub(crate) fn request_proof(
    wanted: BenchProof,
    workers: &[&WorkerProcess],
    variables: &[(&str, u64)],
    folder: &Path,
) -> Result<Result<ProofFigures, String>> {
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address()).collect();
    fs::write(folder.join("distributed.json"), serde_json::to_string(&addresses)?)?;
    let processes: Vec<String> = workers.iter().map(|worker| worker.process.id().to_string()).collect();
    let prover = if workers.is_empty() { "cpu" } else { "distributed" };
    let mut command = Command::new(env::current_exe().context("cannot find the path of this program")?);
    let output = without_settings(&mut command)
        .args(["prove", "--program", wanted.program.name(), "--size", &wanted.size.to_string()])
        .args(["--mode", wanted.mode.name(), "--min-shards", &wanted.min_shards.to_string()])
        .args((!wanted.warms_up).then_some("--no-warm-up"))
        .args(processes.iter().flat_map(|process| ["--workers", process]))
        .current_dir(folder)
        .env("SP1_PROVER", prover)
        .envs(variables.iter().map(|(name, value)| (name, value.to_string())))
        .env("TMPDIR", folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the process that requests the proofs")?;
    if !output.status.success() {
        return Ok(Err(output.status.to_string()));
    }
    let text = String::from_utf8(output.stdout).context("the figures are not text")?;
    let proof = serde_json::from_str(text.lines().last().unwrap_or_default()).context("cannot decode the figures")?;
    Ok(Ok(proof))
}

/// Removes the user's settings from the environment of `command`, so that only the settings of the bench apply.
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

/// How long a worker may take to end: it ends its provers first, and waits until they have freed their memory.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A worker process. Dropping it ends the worker and its provers, and blocks until then.
pub(crate) struct WorkerProcess {
    address: String,
    /// Number of prover processes. They load one after the other.
    provers: usize,
    log: PathBuf,
    process: Child,
}

impl WorkerProcess {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns what the worker has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn is_ready(&mut self) -> Result<bool> {
        let log = self.log();
        if let Some(status) = self.process.try_wait()? {
            bail!("a worker ended ({status}), its log: {log}");
        }
        Ok(log.matches("prover ready").count() >= self.provers && TcpStream::connect(&self.address).is_ok())
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Not SIGKILL: the provers of a killed worker would still use memory of the GPU when the next measurement
        // starts.
        end_process(&mut self.process, END_TIMEOUT);
    }
}

/// Returns the number of provers of a worker, and the flags that select them.
fn prover_flags(setting: WorkerSetting, gpus: Option<&BenchGpus>) -> Result<(usize, Vec<String>)> {
    let (provers, flags) = match setting {
        WorkerSetting::Processor { provers, threads, core } => {
            let mut flags = vec![("--provers", provers.to_string()), ("--threads", threads.to_string())];
            flags.extend(core.map(|core| ("--pin", core.to_string())));
            (provers as usize, flags)
        }
        WorkerSetting::Gpus => {
            let gpus = gpus.context("a worker on GPUs needs --gpus")?;
            (gpus.count(), vec![("--gpus", gpus.flag())])
        }
    };
    Ok((provers, flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()))
}

/// Starts workers with additional arguments, and waits until all of them are ready. `gpus` are the GPUs of workers on
/// GPUs.
pub(crate) fn start_workers(
    settings: &[WorkerSetting],
    gpus: Option<&BenchGpus>,
    more: &[&str],
    folder: &Path,
) -> Result<Vec<WorkerProcess>> {
    let program = env::current_exe().context("cannot find the path of this program")?.with_file_name("sp1d");
    let mut workers = Vec::new();
    for (number, setting) in settings.iter().enumerate() {
        let (provers, flags) = prover_flags(*setting, gpus)?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
        let address = format!("127.0.0.1:{port}");
        let log = folder.join(format!("worker-{number}.log"));
        let mut command = Command::new(&program);
        command
            .args(["worker", "--listen", &address, "--orchestrator", "127.0.0.1", "--wait-memory", "600"])
            .args(["--name", &format!("worker-{number}"), "--with-parent", "--grace", "0"])
            .args(flags)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        workers.push(WorkerProcess { address, provers, log, process });
    }
    let deadline = Instant::now() + Duration::from_secs(600);
    for worker in &mut workers {
        while !worker.is_ready()? {
            ensure!(Instant::now() < deadline, "worker {} did not become ready within 10 minutes", worker.address);
            sleep(Duration::from_millis(500));
        }
    }
    Ok(workers)
}
