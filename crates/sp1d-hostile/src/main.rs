//! Measures what hostile peers cost the others: `./x bench hostile`. A service, two honest workers and four running
//! proofs meet one attack after another. Nothing is proven here, because the attacks do not concern the prover.
//!
//! - `pool/`: the processes under measurement.
//! - `honest/`: requesters and monitors that must not notice the attack.
//! - `attack/`: the attacks. Each is one function.
//! - `measure/`: rounds with and without the attack, the limits, the table and the file.
//!
//! All peers have addresses of the loopback network. Honest peers have 127.0.0.1, and hostile ones have others.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, progress to stderr")]

mod attack;
mod honest;
mod measure;
mod pool;

use anyhow::{Context, Result, ensure};
use attack::{ATTACKS, Attack};
use clap::Parser;
use measure::{BenchPlan, HostileReport, measure};
use std::{path::PathBuf, process::ExitCode, time::Duration};
use tokio::runtime::{Builder, Runtime};

#[derive(Debug, Parser)]
#[command(about = "Measure what hostile peers cost the others. Takes about 20 minutes")]
struct HostileArguments {
    /// Seconds of each attack in each round, and of four proofs without it.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds of each flood of connections.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    flood_seconds: u64,
    /// Number of rounds, each without and with the attack.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Attacks to measure, separated by commas. Without it, all attacks.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// List the attacks and exit.
    #[arg(long)]
    list: bool,
    /// Measure three attacks for a second each, and do not compare times. Takes about 10 seconds.
    #[arg(long, conflicts_with_all = ["seconds", "flood_seconds", "rounds"])]
    quick: bool,
    /// File for the figures.
    #[arg(long, default_value = "docs/bench/hostile.json")]
    output: PathBuf,
}

/// A flood keeps up to three thousand connections open.
const MIN_OPEN_FILES: u64 = 4096;

/// The attacks of `--quick`: one of each kind of peer.
const QUICK: [&str; 3] = ["one-byte-chunks", "form-without-boundary", "join-flood"];

impl HostileArguments {
    fn plan(&self) -> BenchPlan {
        if self.quick {
            let second = Duration::from_secs(1);
            return BenchPlan { attack_time: second, flood_time: second, rounds: 1, compares_times: false };
        }
        BenchPlan {
            attack_time: Duration::from_secs(self.seconds),
            flood_time: Duration::from_secs(self.flood_seconds),
            rounds: self.rounds,
            compares_times: true,
        }
    }

    fn attacks(&self) -> Result<Vec<&'static Attack>> {
        let wanted: Vec<&str> = match (self.only.is_empty(), self.quick) {
            (false, _) => self.only.iter().map(String::as_str).collect(),
            (true, true) => QUICK.to_vec(),
            (true, false) => return Ok(ATTACKS.iter().collect()),
        };
        let find = |name: &str| {
            let found = ATTACKS.iter().find(|attack| attack.name == name);
            found.with_context(|| {
                format!("unknown attack \"{name}\"\nhint: `./x bench hostile --list` lists all attacks")
            })
        };
        wanted.into_iter().map(find).collect()
    }
}

/// Returns a runtime for the attackers. Its threads have a lower priority: real attackers use other machines, and do
/// not take time from the processes under measurement.
fn attackers() -> Result<Runtime> {
    /// About a tenth of the weight of a usual thread.
    const PRIORITY: i32 = 10;
    let lower = || {
        // Without the lower priority, the figures are only worse.
        let _ = rustix::process::nice(PRIORITY);
    };
    let runtime = Builder::new_multi_thread().worker_threads(2).on_thread_start(lower).enable_all().build();
    runtime.context("cannot start the threads of the attackers")
}

fn main() -> Result<ExitCode> {
    let arguments = HostileArguments::parse();
    if arguments.list {
        for attack in ATTACKS {
            println!("{:24} {:11} {}", attack.name, attack.party.name(), attack.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let attacks = arguments.attacks()?;
    let files = sp1d_machine::raise_open_files();
    ensure!(
        files >= MIN_OPEN_FILES,
        "this process may open {files} files, and the floods need {MIN_OPEN_FILES}\nhint: raise the limit with `ulimit -n {MIN_OPEN_FILES}`"
    );
    let (attackers, runtime) = (attackers()?, Runtime::new().context("cannot start threads")?);
    let mut report = HostileReport::new(arguments.plan());
    println!("{}", HostileReport::head());
    for attack in attacks {
        eprintln!("{}: {}", attack.name, attack.about);
        let row = runtime.block_on(measure(attack, &report.plan, attackers.handle()))?;
        println!("{row}");
        report.attacks.push(row);
    }
    sp1d_figures::write_figures(&arguments.output, &report)?;
    let missed: Vec<String> = report.misses().collect();
    println!("attacks: {} of {}, limits missed: {}", report.attacks.len(), ATTACKS.len(), missed.len());
    missed.iter().for_each(|miss| println!("missed: {miss}"));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
