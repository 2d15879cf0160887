//! Runs simulated worlds and prints a report.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the report goes to stdout, errors go to stderr")]

use clap::Parser;
use sp1d_sim::{MARKS, SimReport, Trace, run};
use std::{process::ExitCode, time::Instant};

#[derive(Debug, Parser)]
#[command(name = "sim", about = "Run the real scheduler in simulated worlds, one for each seed")]
struct SimArguments {
    /// Number of seeds to run.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run only this seed.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print every event and command.
    #[arg(long)]
    trace: bool,
}

#[expect(clippy::disallowed_methods, reason = "the run time is not part of any world")]
fn main() -> ExitCode {
    let arguments = SimArguments::parse();
    let started = Instant::now();
    let seeds = match arguments.seed {
        Some(seed) => seed..=seed,
        None => arguments.first..=arguments.first.saturating_add(arguments.seeds - 1),
    };
    let mut all = SimReport::default();
    let mut broken = 0;
    for seed in seeds {
        let trace = arguments.trace.then(|| -> Trace { Box::new(|line: &str| println!("{line}")) });
        match run(seed, trace) {
            Ok(report) => all.add(report),
            Err(what) => {
                broken += 1;
                eprintln!("{what}");
            }
        }
    }
    println!("{all}");
    let unseen: Vec<&str> = MARKS.iter().copied().filter(|mark| !all.marks.contains_key(mark)).collect();
    println!(
        "situations that did not occur: {}",
        if unseen.is_empty() { "none".to_owned() } else { unseen.join(", ") }
    );
    println!("{:.1} s", started.elapsed().as_secs_f64());
    if broken == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("{broken} seeds failed");
    ExitCode::FAILURE
}
