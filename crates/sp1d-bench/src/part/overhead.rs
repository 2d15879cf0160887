//! Measures what distribution costs and what a second worker saves. The same program is proven by sp1-sdk's CPU prover,
//! by one worker with all threads, and by two workers with one thread each. On request, a worker on GPUs proves it too.

use crate::measure::{
    BenchMode, BenchProgram, BenchProof, Configuration, GpuArguments, MeasuredRound, ProofFigures, WorkerSetting, cuts,
    gpu_peaks, rounds, this_machine,
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_figures::{FigureSpread, GpuMemoryFigures, MachineFacts, write_figures};
use std::{fmt, path::PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct OverheadArguments {
    /// Number of rounds, at least three.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=100))]
    rounds: u32,
    /// Program to prove.
    #[arg(long, default_value = "fibonacci")]
    program: BenchProgram,
    /// Steps of the measured Fibonacci loop. The default is cut into six shards.
    #[arg(long, default_value_t = 205_000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Transactions in the block of `evm`. Each takes 85,000 cycles, and the start of the program one million.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    transactions: u32,
    /// Kind of the proofs. Except for core proofs of `fibonacci`, the default file for the figures has program and kind
    /// in its name.
    #[arg(long, default_value = "core")]
    mode: BenchMode,
    /// Number of trace cells after which a shard ends, for all configurations [default: 33554432 for `fibonacci`;
    /// 29360128 for `evm`, the largest cut that sp1-sdk's CPU prover can prove with 24 GB].
    #[arg(long, value_parser = cuts())]
    cut: Option<u64>,
    #[command(flatten)]
    gpus: GpuArguments,
}

impl OverheadArguments {
    fn proof(&self) -> BenchProof {
        let (size, min_shards) = match self.program {
            BenchProgram::Fibonacci => (self.steps, 6),
            BenchProgram::Evm => (self.transactions, 2),
        };
        BenchProof { program: self.program, size, mode: self.mode, min_shards, warms_up: true }
    }

    /// Returns the cut. It is small, so that even a short program has enough shards for all workers.
    fn cut(&self) -> u64 {
        self.cut.unwrap_or(match self.program {
            BenchProgram::Fibonacci => 1 << 25,
            BenchProgram::Evm => (1 << 25) - (1 << 22),
        })
    }

    /// Returns the file for the figures.
    fn output(&self) -> PathBuf {
        match (self.program, self.mode) {
            (BenchProgram::Fibonacci, BenchMode::Core) => self.gpus.output("overhead"),
            (program, mode) => self.gpus.output(&format!("overhead-{}-{}", program.name(), mode.name())),
        }
    }
}

/// What is compared, at one cut.
struct OverheadConfigurations {
    cpu_prover: Configuration,
    one_worker: Configuration,
    two_workers: Configuration,
    /// `None` without `--gpus`.
    gpu_worker: Option<Configuration>,
}

impl OverheadConfigurations {
    fn at(cut: u64, has_gpus: bool) -> Self {
        const ALL_CORES: &[WorkerSetting] = &[WorkerSetting::Processor { provers: 1, threads: 2, core: None }];
        const ONE_CORE_EACH: &[WorkerSetting] = &[
            WorkerSetting::Processor { provers: 1, threads: 1, core: Some(0) },
            WorkerSetting::Processor { provers: 1, threads: 1, core: Some(1) },
        ];
        const GPUS: &[WorkerSetting] = &[WorkerSetting::Gpus];
        Self {
            cpu_prover: Configuration::cpu_prover("cpu_prover", Some(cut)),
            one_worker: Configuration::workers("one_worker", ALL_CORES, Some(cut)),
            two_workers: Configuration::workers("two_workers", ONE_CORE_EACH, Some(cut)),
            gpu_worker: has_gpus.then(|| Configuration::workers("gpu_worker", GPUS, Some(cut))),
        }
    }

    fn all(&self) -> Vec<Configuration> {
        [self.cpu_prover, self.one_worker, self.two_workers].into_iter().chain(self.gpu_worker).collect()
    }
}

pub(crate) fn run(arguments: &OverheadArguments) -> Result<()> {
    let gpus = arguments.gpus.find()?;
    let (proof, cut) = (arguments.proof(), arguments.cut());
    let compared = OverheadConfigurations::at(cut, gpus.is_some());
    let rounds = rounds(arguments.rounds, &compared.all(), proof, gpus.as_ref())?;
    let report = OverheadReport::of(proof, cut, &compared, &rounds)
        .context("too many proofs failed to compare the configurations")?;
    println!("{report}");
    write_figures(&arguments.output(), &report)
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
    program: &'static str,
    /// Steps or transactions.
    size: u32,
    mode: BenchMode,
    element_threshold: u64,
    /// `None` for compressed proofs, which do not contain the shards.
    shards: Option<usize>,
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
    /// Returns `None` if a configuration has no figures.
    fn of(proof: BenchProof, cut: u64, compared: &OverheadConfigurations, rounds: &[MeasuredRound]) -> Option<Self> {
        let of = |configuration: Configuration| rounds.iter().filter_map(move |round| round.measured(configuration));
        let ratio = |configuration| {
            let ratio = |round: &MeasuredRound| {
                Some(round.measured(configuration)?.seconds / round.measured(compared.cpu_prover)?.seconds)
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
        let (one_worker, two_workers) = (ratio(compared.one_worker)?, ratio(compared.two_workers)?);
        Some(Self {
            one_worker_over_cpu_prover: one_worker.median,
            two_workers_over_cpu_prover: two_workers.median,
            ratios: Ratios { one_worker, two_workers, gpu_worker: compared.gpu_worker.and_then(ratio) },
            seconds: compared.all().into_iter().map(seconds).collect::<Option<_>>()?,
            // Not with GPUs: they do the work of the others' processors.
            orchestrator_share: FigureSpread::of(
                [compared.one_worker, compared.two_workers].into_iter().flat_map(of).map(share),
            )?,
            peak_bytes: compared.all().into_iter().map(peak).collect(),
            gpus: gpu_peaks(rounds),
            program: proof.program.name(),
            size: proof.size,
            mode: proof.mode,
            element_threshold: cut,
            shards: of(compared.cpu_prover).next()?.shards,
            machine: this_machine(),
            rounds: rounds.to_vec(),
        })
    }
}

impl fmt::Display for OverheadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = self.shards.map(|shards| format!(", {shards} shards")).unwrap_or_default();
        writeln!(
            f,
            "{} of size {}, {}{shards}, {} rounds",
            self.program,
            self.size,
            self.mode.name(),
            self.rounds.len()
        )?;
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
