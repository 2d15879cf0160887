//! Measures what distribution costs and what a second worker saves. The same program is proven by sp1-sdk's CPU prover,
//! by one worker with all threads, and by two workers with one thread each. On request, a worker on GPUs proves it too.

use crate::measure::{
    BenchProgram, BenchProof, Configuration, GpuArguments, MeasuredRound, ProofFigures, WorkerSetting, gpu_peaks,
    rounds, this_machine,
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_figures::{FigureSpread, GpuMemoryFigures, MachineFacts, write_figures};
use std::fmt;

#[derive(Debug, clap::Args)]
pub(crate) struct OverheadArguments {
    /// Number of rounds, at least three.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=100))]
    rounds: u32,
    /// Steps of the measured Fibonacci loop. The default is cut into six shards.
    #[arg(long, default_value_t = 205_000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    #[command(flatten)]
    gpus: GpuArguments,
}

/// A small cut, so that even a short program has enough shards for all workers.
const CUT: u64 = 1 << 25;

const CPU_PROVER: Configuration = Configuration::cpu_prover("cpu_prover", Some(CUT));
const ONE_WORKER: Configuration =
    Configuration::workers("one_worker", &[WorkerSetting::Processor { provers: 1, threads: 2, core: None }], Some(CUT));
const TWO_WORKERS: Configuration = Configuration::workers(
    "two_workers",
    &[
        WorkerSetting::Processor { provers: 1, threads: 1, core: Some(0) },
        WorkerSetting::Processor { provers: 1, threads: 1, core: Some(1) },
    ],
    Some(CUT),
);
const GPU_WORKER: Configuration = Configuration::workers("gpu_worker", &[WorkerSetting::Gpus], Some(CUT));

pub(crate) fn run(arguments: &OverheadArguments) -> Result<()> {
    let gpus = arguments.gpus.find()?;
    let mut all = vec![CPU_PROVER, ONE_WORKER, TWO_WORKERS];
    all.extend(gpus.as_ref().map(|_| GPU_WORKER));
    let proof = BenchProof { program: BenchProgram::Fibonacci, size: arguments.steps, min_shards: 6 };
    let rounds = rounds(arguments.rounds, &all, proof, gpus.as_ref())?;
    let report = OverheadReport::of(arguments.steps, &all, &rounds)
        .context("too many proofs failed to compare the configurations")?;
    println!("{report}");
    write_figures(&arguments.gpus.output("overhead"), &report)
}

/// The content of the output file.
#[derive(Debug, Serialize)]
struct OverheadReport {
    /// Medians of the ratios of each round.
    one_worker_over_cpu_prover: f64,
    two_workers_over_cpu_prover: f64,
    ratios: Ratios,
    /// Seconds of a proof, by configuration.
    seconds: Vec<(&'static str, FigureSpread)>,
    /// CPU time of the process that requests the proof divided by the CPU time of all processes, in both cases without
    /// the executor's child. Work inside the process itself (cutting shards, writing their records) is included.
    orchestrator_share: FigureSpread,
    /// Peak memory in bytes during the measured proofs: of the process that requests them, and of each worker.
    peak_bytes: Vec<(&'static str, u64, Vec<u64>)>,
    /// The GPUs at the highest peak of their memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<GpuMemoryFigures>,
    steps: u32,
    shards: usize,
    machine: MachineFacts,
    rounds: Vec<MeasuredRound>,
}

#[derive(Debug, Serialize)]
struct Ratios {
    one_worker: FigureSpread,
    two_workers: FigureSpread,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_worker: Option<FigureSpread>,
}

impl OverheadReport {
    /// Returns `None` if one of `configurations` has no figures.
    fn of(steps: u32, configurations: &[Configuration], rounds: &[MeasuredRound]) -> Option<Self> {
        let of = |configuration: Configuration| rounds.iter().filter_map(move |round| round.measured(configuration));
        let ratio = |configuration| {
            let ratio = |round: &MeasuredRound| {
                Some(round.measured(configuration)?.seconds / round.measured(CPU_PROVER)?.seconds)
            };
            FigureSpread::of(rounds.iter().filter_map(ratio))
        };
        let share = |ProofFigures { asker, workers, .. }: &ProofFigures| {
            let of_workers: f64 = workers.iter().map(|worker| worker.cpu_seconds).sum();
            asker.cpu_seconds / (of_workers + asker.cpu_seconds)
        };
        let peak = |configuration: Configuration| {
            let of_asker = of(configuration).map(|proof| proof.asker.peak_bytes).max();
            let of_workers =
                of(configuration).map(|proof| proof.workers.iter().map(|worker| worker.peak_bytes).collect());
            let most =
                of_workers.reduce(|one: Vec<u64>, other| one.into_iter().zip(other).map(|(a, b)| a.max(b)).collect());
            (configuration.name, of_asker.unwrap_or(0), most.unwrap_or_default())
        };
        let seconds = |configuration: Configuration| {
            Some((configuration.name, FigureSpread::of(of(configuration).map(|proof| proof.seconds))?))
        };
        let (one_worker, two_workers) = (ratio(ONE_WORKER)?, ratio(TWO_WORKERS)?);
        Some(Self {
            one_worker_over_cpu_prover: one_worker.median,
            two_workers_over_cpu_prover: two_workers.median,
            ratios: Ratios { one_worker, two_workers, gpu_worker: ratio(GPU_WORKER) },
            seconds: configurations.iter().copied().map(seconds).collect::<Option<_>>()?,
            // Not with GPUs: they do the work of the others' processors.
            orchestrator_share: FigureSpread::of([ONE_WORKER, TWO_WORKERS].into_iter().flat_map(of).map(share))?,
            peak_bytes: configurations.iter().copied().map(peak).collect(),
            gpus: gpu_peaks(rounds),
            steps,
            shards: of(CPU_PROVER).next()?.shards,
            machine: this_machine(),
            rounds: rounds.to_vec(),
        })
    }
}

impl fmt::Display for OverheadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} steps, {} shards, {} rounds", self.steps, self.shards, self.rounds.len())?;
        for (name, seconds) in &self.seconds {
            writeln!(f, "{name:12} {seconds} s")?;
        }
        writeln!(f, "one worker / CPU prover:  {}", self.ratios.one_worker)?;
        writeln!(f, "two workers / CPU prover: {}", self.ratios.two_workers)?;
        if let Some(ratio) = self.ratios.gpu_worker {
            writeln!(f, "GPU worker / CPU prover:  {ratio}")?;
        }
        writeln!(f, "orchestrator's share of CPU time: {}", self.orchestrator_share)?;
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        for (name, prover, workers) in &self.peak_bytes {
            let workers: Vec<String> = workers.iter().map(|bytes| gigabytes(*bytes)).collect();
            writeln!(f, "{name:12} peak memory {}; workers: {}", gigabytes(*prover), workers.join(", "))?;
        }
        self.gpus.iter().try_for_each(|gpu| writeln!(f, "{gpu}"))
    }
}
