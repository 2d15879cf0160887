//! Measures real proofs, with commands that everyone can repeat. Each part prints a table and writes its figures as
//! JSON.
//!
//! Configurations are measured in rounds, and every second round runs them in reverse order. For each configuration:
//! start it, make a short proof to warm up, make the measured proof, stop it. Other load on the machine then affects
//! all configurations alike. A ratio compares two configurations of the same round.
//!
//! With `--gpus`, a worker on GPUs is measured too, or instead. That needs a build with GPU support, which `./x bench`
//! makes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, progress to stderr")]

mod measure;
mod part;

use anyhow::Result;
use clap::{Parser, Subcommand};
use measure::MeasureArguments;
use part::{cuts, evm, memory, overhead, scaling, setup};

#[derive(Debug, Parser)]
#[command(about = "Measure proofs on this machine")]
struct BenchArguments {
    #[command(subcommand)]
    part: BenchPart,
}

#[derive(Debug, Subcommand)]
enum BenchPart {
    /// Measure what distribution costs and what a second worker saves: sp1-sdk's CPU prover, one worker, and two
    /// workers with one core each. With --gpus, also a worker on GPUs. Takes about 40 minutes.
    Overhead(overhead::OverheadArguments),
    /// Measure how much faster two provers of one thread are than one, each on a core of its own, and why. Takes about
    /// 15 minutes.
    Scaling(scaling::ScalingArguments),
    /// Compare a real program with sp1-sdk's CPU prover, at the same cut and each at its best cut. With --gpus, also a
    /// worker on GPUs. Takes about 70 minutes per round.
    Evm(evm::EvmArguments),
    /// Measure the proving time of a million cycles and the peak memory at each cut. With --gpus, on the first of these
    /// GPUs instead of the processor. Takes about 15 minutes.
    Cuts(cuts::CutsArguments),
    /// Measure how much memory attempts take, compared to the estimate. With --gpus, on the first of these GPUs instead
    /// of the processor. Takes about 30 minutes.
    Memory(memory::MemoryArguments),
    /// Measure how long a verifying key takes. Takes about a minute.
    Setup(setup::SetupArguments),
    /// Prove with the prover that SP1_PROVER names. The bench starts this itself.
    #[command(hide = true)]
    Prove(MeasureArguments),
}

fn main() -> Result<()> {
    match BenchArguments::parse().part {
        BenchPart::Overhead(arguments) => overhead::run(&arguments),
        BenchPart::Scaling(arguments) => scaling::run(&arguments),
        BenchPart::Evm(arguments) => evm::run(&arguments),
        BenchPart::Cuts(arguments) => cuts::run(&arguments),
        BenchPart::Memory(arguments) => memory::run(&arguments),
        BenchPart::Setup(arguments) => setup::run(&arguments),
        BenchPart::Prove(arguments) => measure::prove(&arguments),
    }
}
