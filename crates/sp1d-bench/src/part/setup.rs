//! Measures how long a verifying key takes: with SP1's own setup, for an unknown program, and for a known program.

use crate::measure::{BenchProgram, this_machine};
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use sp1_sdk::{LightProver, Prover as _, ProvingKey as _};
use sp1d_engine::{ProofRunnerSettings, Sp1ProofRunner};
use sp1d_figures::{FigureSpread, MachineFacts, write_figures};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};
use tokio::runtime::Runtime;

#[derive(Debug, clap::Args)]
pub(crate) struct SetupArguments {
    /// Number of rounds, at least three.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=100))]
    rounds: u32,
    /// Program to set up.
    #[arg(long, default_value = "evm")]
    program: BenchProgram,
    /// File for the figures.
    #[arg(long, default_value = "docs/bench/setup.json")]
    output: PathBuf,
}

/// The content of the output file. All times are in seconds.
#[derive(Debug, Serialize)]
struct SetupReport {
    program: &'static str,
    machine: MachineFacts,
    /// SP1's own setup.
    setup: FigureSpread,
    /// A verifying key that is not on disk.
    unknown: FigureSpread,
    /// A verifying key that is on disk, loaded by a new runner.
    known: FigureSpread,
    /// Time of an unknown key divided by time of SP1's setup. Ratios of each round.
    unknown_over_setup: FigureSpread,
}

pub(crate) fn run(arguments: &SetupArguments) -> Result<()> {
    let runtime = Runtime::new().context("cannot start threads")?;
    let rounds = (0..arguments.rounds).map(|_| runtime.block_on(round(arguments.program)));
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    let spread = |of: fn(&SetupTimes) -> f64| FigureSpread::of(rounds.iter().map(of)).context("no round was measured");
    let report = SetupReport {
        program: arguments.program.name(),
        machine: this_machine(),
        setup: spread(|times| times.setup)?,
        unknown: spread(|times| times.unknown)?,
        known: spread(|times| times.known)?,
        unknown_over_setup: spread(|times| times.unknown / times.setup)?,
    };
    println!("SP1's setup:               {} s", report.setup);
    println!("verifying key, unknown:    {} s", report.unknown);
    println!("verifying key, known:      {} s", report.known);
    println!("unknown key / SP1's setup: {}", report.unknown_over_setup);
    write_figures(&arguments.output, &report)
}

struct SetupTimes {
    setup: f64,
    unknown: f64,
    known: f64,
}

async fn round(program: BenchProgram) -> Result<SetupTimes> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let runner = runner(folder.path()).await;
    let light = LightProver::new().await;
    let start = Instant::now();
    let of_sp1 = light.setup(program.elf()).await.map_err(|error| anyhow!("SP1's setup failed: {error}"))?;
    let setup = start.elapsed().as_secs_f64();
    let elf = program.elf();
    let key = async |runner: &Sp1ProofRunner| {
        let start = Instant::now();
        let key = runner.verifying_key(&elf).await?;
        anyhow::Ok((key, start.elapsed().as_secs_f64()))
    };
    let (unknown_key, unknown) = key(&runner).await?;
    // A new runner loads the key from disk.
    let (known_key, known) = key(&self::runner(folder.path()).await).await?;
    let expected = &of_sp1.verifying_key().vk;
    anyhow::ensure!(
        *expected == unknown_key.vk && *expected == known_key.vk,
        "the verifying keys differ from the key of SP1's setup"
    );
    Ok(SetupTimes { setup, unknown, known })
}

async fn runner(keys: &Path) -> Sp1ProofRunner {
    Sp1ProofRunner::new(ProofRunnerSettings { key_folder: Some(keys.to_owned()), ..ProofRunnerSettings::default() })
        .await
}
