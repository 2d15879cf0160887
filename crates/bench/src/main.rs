//! Figures of real proofs, by commands that anybody can run. Each part prints a table and writes its figures as JSON.
//!
//! Configurations are measured in rounds, the order reversed each time: start one configuration, prove something short
//! to warm it up, prove what is measured, stop it, start the next. So what the machine does meanwhile strikes all
//! alike. A ratio pairs two configurations of one round.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, what happens to stderr")]

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
    /// What distribution costs, and what a second worker saves: sp1-sdk's CPU prover, one worker, and two workers with
    /// a core each. About 40 minutes.
    Overhead(overhead::Arguments),
    /// A real program against sp1-sdk's CPU prover, at the same cut and each at its best. About 70 minutes for each
    /// round.
    Evm(evm::Arguments),
    /// What a million cycles cost by cut. About 15 minutes.
    Cuts(cuts::Arguments),
    /// What attempts take of memory, beside what was estimated. About half an hour.
    Memory(memory::Arguments),
    /// What a verifying key costs. About a minute.
    Setup(setup::Arguments),
    /// Proves with the prover that SP1_PROVER names; started by the bench itself.
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

/// Writes figures to a file, in a folder that is made if it is not there.
fn write_figures(path: &Path, figures: &impl Serialize) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).context("make the folder of the figures")?;
    }
    fs::write(path, serde_json::to_string_pretty(figures)? + "\n").context("write the figures")?;
    eprintln!("figures written to {}", path.display());
    Ok(())
}
