//! Proves a block of Ethereum transactions with sp1-sdk's CPU prover and with a worker, both on the same two cores.
//! Each is measured at the largest cut that both can prove and at its own best cut. On request, sp1-sdk's defaults are
//! tried too, and a worker on GPUs with all cores of the machine.

use crate::measure::{
    BenchMode, BenchProgram, BenchProof, Configuration, GpuArguments, MeasuredRound, WorkerSetting, cuts, gpu_peaks,
    rounds, this_machine,
};
use anyhow::Result;
use serde::Serialize;
use sp1d_figures::{FigureSpread, GpuMemoryFigures, MachineFacts, write_figures};

const ONE_PROVER: WorkerSetting = WorkerSetting::Processor { provers: 1, threads: 2, core: None };
const TWO_PROVERS: WorkerSetting = WorkerSetting::Processor { provers: 2, threads: 1, core: None };

#[derive(Debug, clap::Args)]
pub(crate) struct EvmArguments {
    /// Number of rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Transactions in the block. The default takes 20 million cycles: one million for the start, and 85,000
    /// for each transaction.
    #[arg(long, default_value_t = 220, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    transactions: u32,
    /// The largest cut that sp1-sdk's CPU prover can prove on this machine. The default suits 24 GB: with the next
    /// larger cut, the kernel killed the CPU prover at 23.8 GB.
    #[arg(long, default_value_t = (1 << 25) - (1 << 22), value_parser = cuts())]
    common_cut: u64,
    /// Try sp1-sdk's default cut once as well. If it takes more memory than there is, the kernel kills a process, so
    /// use this only on a machine of your own.
    #[arg(long)]
    defaults: bool,
    /// Leave out the worker with two provers.
    #[arg(long)]
    one_prover: bool,
    /// Measure only the worker on GPUs.
    #[arg(long, requires = "gpus", conflicts_with_all = ["defaults", "one_prover"])]
    only_gpus: bool,
    #[command(flatten)]
    gpus: GpuArguments,
}

/// The content of the output file.
#[derive(Debug, Serialize)]
struct EvmReport {
    transactions: u32,
    machine: MachineFacts,
    /// Seconds by configuration. `None` for a configuration that failed.
    seconds: Vec<(&'static str, Option<FigureSpread>)>,
    /// Time of one prover divided by time of the CPU prover, both at the common cut. Ratios of each round.
    same_cut: Option<FigureSpread>,
    /// Time of one prover at the automatic cut divided by time of the CPU prover at the common cut, which is its best.
    best_cuts: Option<FigureSpread>,
    /// The same for two provers of one thread each, the setting that `sp1d tune` finds.
    tuned: Option<FigureSpread>,
    /// Time of a worker on the GPUs, with all cores, divided by time of the CPU prover at the common cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_gpus: Option<FigureSpread>,
    /// The GPUs at the highest peak of their memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<GpuMemoryFigures>,
    /// The CPU prover at its default cut, if that was requested.
    defaults: Option<MeasuredRound>,
    rounds: Vec<MeasuredRound>,
}

pub(crate) fn run(arguments: &EvmArguments) -> Result<()> {
    let gpus = arguments.gpus.find()?;
    let cut = Some(arguments.common_cut);
    let cpu_prover = Configuration::cpu_prover("cpu_prover, common cut", cut);
    let worker = Configuration::workers("one_prover, common cut", &[ONE_PROVER], cut);
    let automatic = Configuration::workers("one_prover, automatic cut", &[ONE_PROVER], None);
    let tuned = Configuration::workers("two_provers, automatic cut", &[TWO_PROVERS], None);
    let on_gpus = Configuration::workers("gpus, automatic cut", &[WorkerSetting::Gpus], None);
    let mut all = if arguments.only_gpus { Vec::new() } else { vec![cpu_prover, worker, automatic] };
    if !arguments.only_gpus && !arguments.one_prover {
        all.push(tuned);
    }
    all.extend(gpus.as_ref().map(|_| on_gpus));
    let proof = BenchProof {
        program: BenchProgram::Evm,
        size: arguments.transactions,
        mode: BenchMode::Core,
        min_shards: 2,
        warms_up: true,
    };
    let defaults = match arguments.defaults {
        true => rounds(1, &[Configuration::cpu_prover("cpu_prover, defaults", None)], proof, None)?.pop(),
        false => None,
    };
    let rounds = rounds(arguments.rounds, &all, proof, gpus.as_ref())?;
    let ratio = |configuration: Configuration| {
        let ratio =
            |round: &MeasuredRound| Some(round.measured(configuration)?.seconds / round.measured(cpu_prover)?.seconds);
        FigureSpread::of(rounds.iter().filter_map(ratio))
    };
    let seconds = |configuration: Configuration| {
        let measured = rounds.iter().filter_map(|round| round.measured(configuration));
        (configuration.name, FigureSpread::of(measured.map(|proof| proof.seconds)))
    };
    let report = EvmReport {
        transactions: arguments.transactions,
        machine: this_machine(),
        seconds: all.iter().copied().map(seconds).collect(),
        same_cut: ratio(worker),
        best_cuts: ratio(automatic),
        tuned: ratio(tuned),
        on_gpus: ratio(on_gpus),
        gpus: gpu_peaks(&rounds),
        defaults,
        rounds,
    };
    let words =
        |spread: &Option<FigureSpread>| spread.map_or_else(|| "no figures".to_owned(), |spread| spread.to_string());
    for (name, seconds) in &report.seconds {
        println!("{name:28} {} s", words(seconds));
    }
    if !arguments.only_gpus {
        println!("one prover / CPU prover, same cut:          {}", words(&report.same_cut));
        println!("one prover / CPU prover, each at its best:  {}", words(&report.best_cuts));
        println!("two provers / CPU prover, each at its best: {}", words(&report.tuned));
    }
    if let Some(ratio) = report.on_gpus {
        println!("GPUs / CPU prover, each at its best:        {ratio}");
    }
    report.gpus.iter().for_each(|gpu| println!("{gpu}"));
    write_figures(&arguments.gpus.output("evm"), &report)
}
