//! Proves a block of Ethereum transactions with sp1-sdk's CPU prover and with a worker, both on the same two cores.
//! Each is measured at the largest cut that both can prove and at its own best cut. On request, sp1-sdk's defaults are
//! tried too.

use crate::measure::{
    BenchMode, BenchProgram, BenchProof, Configuration, MeasuredRound, WorkerSetting, cuts, rounds, this_machine,
};
use anyhow::Result;
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts, write_figures};
use std::path::PathBuf;

const ONE_PROVER: WorkerSetting = WorkerSetting { provers: 1, threads: 2, core: None };
const TWO_PROVERS: WorkerSetting = WorkerSetting { provers: 2, threads: 1, core: None };

#[derive(Debug, clap::Args)]
pub(crate) struct EvmArguments {
    /// Number of rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Transactions in the block. Each takes 93,000 cycles, so the default is about 20 million cycles.
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
    /// File for the figures.
    #[arg(long, default_value = "docs/bench/evm.json")]
    output: PathBuf,
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
    /// The CPU prover at its default cut, if that was requested.
    defaults: Option<MeasuredRound>,
    rounds: Vec<MeasuredRound>,
}

pub(crate) fn run(arguments: &EvmArguments) -> Result<()> {
    let cut = Some(arguments.common_cut);
    let cpu_prover = Configuration::cpu_prover("cpu_prover, common cut", cut);
    let worker = Configuration::workers("one_prover, common cut", &[ONE_PROVER], cut);
    let automatic = Configuration::workers("one_prover, automatic cut", &[ONE_PROVER], None);
    let tuned = Configuration::workers("two_provers, automatic cut", &[TWO_PROVERS], None);
    let mut all = vec![cpu_prover, worker, automatic];
    if !arguments.one_prover {
        all.push(tuned);
    }
    let proof = BenchProof {
        program: BenchProgram::Evm,
        size: arguments.transactions,
        mode: BenchMode::Core,
        min_shards: 2,
        warms_up: true,
    };
    let defaults = match arguments.defaults {
        true => rounds(1, &[Configuration::cpu_prover("cpu_prover, defaults", None)], proof)?.pop(),
        false => None,
    };
    let rounds = rounds(arguments.rounds, &all, proof)?;
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
        defaults,
        rounds,
    };
    let words =
        |spread: &Option<FigureSpread>| spread.map_or_else(|| "no figures".to_owned(), |spread| spread.to_string());
    for (name, seconds) in &report.seconds {
        println!("{name:28} {} s", words(seconds));
    }
    println!("one prover / CPU prover, same cut:          {}", words(&report.same_cut));
    println!("one prover / CPU prover, each at its best:  {}", words(&report.best_cuts));
    println!("two provers / CPU prover, each at its best: {}", words(&report.tuned));
    write_figures(&arguments.output, &report)
}
