//! What distribution costs, and what a second worker saves: the same program proven by sp1-sdk's CPU prover, by one worker with all threads, and by two
//! workers with one thread each.
//!
//! In rounds, the order reversed each time: start one configuration, prove something short to warm it up, prove what is measured, stop it, start the
//! next. So what the machine does meanwhile strikes all alike, and there are never more than two provers in memory. A ratio pairs two configurations of
//! one round.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, what happens to stderr")]

mod prover;
mod report;
mod run;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::{fs, path::PathBuf};

#[derive(Debug, Parser)]
#[command(about = "Compare sp1-sdk's CPU prover, one worker, and two workers with a core each")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Rounds, at least three.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Steps of the Fibonacci loop that is measured: the default is cut into six shards.
    #[arg(long, default_value_t = 205_000)]
    steps: u32,
    /// Where the figures go.
    #[arg(long, default_value = "docs/bench/overhead.json")]
    output: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Proves with the prover that SP1_PROVER names; started by the bench itself.
    #[command(hide = true)]
    Prove(prover::Arguments),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Prove(arguments)) = arguments.role {
        return prover::run(&arguments);
    }
    let rounds = run::rounds(arguments.rounds, arguments.steps)?;
    let report = report::Report::of(arguments.steps, &rounds);
    println!("{report}");
    if let Some(folder) = arguments.output.parent() {
        fs::create_dir_all(folder).context("make the folder of the figures")?;
    }
    fs::write(&arguments.output, serde_json::to_string_pretty(&report)? + "\n").context("write the figures")?;
    eprintln!("figures written to {}", arguments.output.display());
    Ok(())
}
