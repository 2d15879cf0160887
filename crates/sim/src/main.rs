//! Runs worlds and says what came of them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, what is wrong to stderr")]

use clap::Parser;
use sp1_distributed_sim::{MARKS, Report, Trace, run};
use std::{process::ExitCode, time::Instant};

#[derive(Debug, Parser)]
#[command(name = "sim", about = "Run the real scheduler in simulated worlds, one for each seed")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

#[expect(clippy::disallowed_methods, reason = "how long it took is no part of any world")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => arguments.first..arguments.first.saturating_add(arguments.seeds),
    };
    let mut all = Report::default();
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
    println!("not seen: {}", if unseen.is_empty() { "nothing".to_owned() } else { unseen.join(", ") });
    println!("{:.1} s", began.elapsed().as_secs_f64());
    if broken == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("{broken} seeds failed");
    ExitCode::FAILURE
}
