//! Measures real proofs, with commands that everyone can repeat. Each part prints a table and writes its figures as
//! JSON.
//!
//! Configurations are measured in rounds, and every second round runs them in reverse order. For each configuration:
//! start it, make a short proof to warm up, make the measured proof, stop it. Other load on the machine then affects
//! all configurations alike. A ratio compares two configurations of the same round.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, progress to stderr")]

mod cuts;
mod evm;
mod host;
mod memory;
mod overhead;
mod prover;
mod run;
mod setup;
mod spread;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::{fs, path::Path};

#[derive(Debug, Parser)]
#[command(about = "Measure proofs on this machine")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measure what distribution costs and what a second worker saves: sp1-sdk's CPU prover, one worker, and two
    /// workers with one core each. Takes about 40 minutes.
    Overhead(overhead::Arguments),
    /// Compare a real program with sp1-sdk's CPU prover, at the same cut and each at its best cut. Takes about 70
    /// minutes per round.
    Evm(evm::Arguments),
    /// Measure the proving time of a million cycles and the peak memory at each cut. Takes about 15 minutes.
    Cuts(cuts::Arguments),
    /// Measure how much memory attempts take, compared to the estimate. Takes about 30 minutes.
    Memory(memory::Arguments),
    /// Measure how long a verifying key takes. Takes about a minute.
    Setup(setup::Arguments),
    /// Prove with the prover that SP1_PROVER names. The bench starts this itself.
    #[command(hide = true)]
    Prove(prover::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().part {
        Part::Overhead(arguments) => overhead::run(&arguments),
        Part::Evm(arguments) => evm::run(&arguments),
        Part::Cuts(arguments) => cuts::run(&arguments),
        Part::Memory(arguments) => memory::run(&arguments),
        Part::Setup(arguments) => setup::run(&arguments),
        Part::Prove(arguments) => prover::run(&arguments),
    }
}

/// Writes figures to a JSON file, and creates its folder if needed.
fn write_figures(path: &Path, figures: &impl Serialize) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write the figures to {}", path.display()))?;
    eprintln!("figures written to {}", path.display());
    Ok(())
}
