//! Measures what a second prover brings. The same proof of eight shards is made by one prover of one thread on a core
//! of its own, and by two of them. Both provers stay loaded, and the orchestrator uses one of them or both.
//!
//! The orchestrator runs on the same two cores. With two provers, it takes time from them, and with one it does not.

use crate::measure::{
    BenchMode, BenchProgram, BenchProof, ProofFigures, WorkerProcess, WorkerSetting, pin_to_two_cores, request_proof,
    start_workers, this_machine,
};
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts, TimeSplit, plot_bars, write_figures};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct ScalingArguments {
    /// Number of rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Steps of the measured Fibonacci loop. The default is cut into eight shards: seven of its run, and one of its
    /// memory.
    #[arg(long, default_value_t = 150_000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/scaling.json")]
    output: PathBuf,
}

/// The smallest cut that a worker accepts, in trace cells.
const CUT: u64 = (1 << 25) - (1 << 22);

/// The smallest number of rows that a worker accepts, and the end of the shards here. A step of the loop has three
/// shifts to the right, so a shard has at most 21,845 steps, and about 17 million cells.
const HEIGHT: u64 = 1 << 16;

/// Steps of a proof with two shards, so that each prover makes one.
const FEW_STEPS: u32 = 1000;

/// Shards of the measured proof, as the goal asks for.
const SHARDS: usize = 8;

/// Least speed-up by the second prover.
const GOAL: f64 = 1.85;

const PROVERS: [WorkerSetting; 2] = [
    WorkerSetting::Processor { provers: 1, threads: 1, core: Some(0) },
    WorkerSetting::Processor { provers: 1, threads: 1, core: Some(1) },
];

const NO_PROOF: &str = "no proof was measured";

/// The content of the output file. All times are in seconds.
#[derive(Debug, Serialize)]
struct ScalingReport {
    machine: MachineFacts,
    program: &'static str,
    steps: u32,
    element_threshold: u64,
    height_threshold: u64,
    shards: usize,
    goal_speed_up: f64,
    /// Time of one prover divided by time of two provers. Ratios of each round.
    speed_up: FigureSpread,
    /// The speed-up divided by the number of provers.
    efficiency: FigureSpread,
    rows: Vec<ScalingRow>,
    rounds: Vec<ScalingRound>,
}

/// The proofs of one number of provers.
#[derive(Debug, Serialize)]
struct ScalingRow {
    provers: usize,
    seconds: FigureSpread,
    /// Times of the shards of all rounds.
    shard_seconds: FigureSpread,
    /// Time in which no shard was being proven: before the first shard, between shards and after the last one.
    serial_seconds: FigureSpread,
    before: FigureSpread,
    between: FigureSpread,
    after: FigureSpread,
    /// Time in which one of two provers proved a shard.
    partly: FigureSpread,
    /// Part of the time of a proof in which no shard was being proven.
    serial_part: FigureSpread,
}

#[derive(Debug, Serialize)]
struct ScalingRound {
    one: ProofFigures,
    two: ProofFigures,
}

pub(crate) fn run(arguments: &ScalingArguments) -> Result<()> {
    pin_to_two_cores()?;
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    eprintln!("loading two provers");
    let workers = start_workers(&PROVERS, None, &[], folder.path())?;
    let both: Vec<&WorkerProcess> = workers.iter().collect();
    // The first shard of a program takes longer: its prover makes the key.
    prove(&both, FEW_STEPS, folder.path())?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds as usize {
        // The two cores may differ, so they take turns.
        let one = [both[number % both.len()]];
        let measure = |workers: &[&WorkerProcess]| {
            let provers = if workers.len() == 1 { "one prover" } else { "two provers" };
            eprintln!("round {} of {}: {provers}", number + 1, arguments.rounds);
            let proof = prove(workers, arguments.steps, folder.path())?;
            eprintln!("  {}", proof.words());
            anyhow::Ok(proof)
        };
        rounds.push(if number % 2 == 0 {
            let one = measure(&one)?;
            ScalingRound { one, two: measure(&both)? }
        } else {
            let two = measure(&both)?;
            ScalingRound { one: measure(&one)?, two }
        });
    }
    let report = report(arguments.steps, rounds)?;
    print_table(&report);
    let [one, two] = [0_usize, 1].map(|row| report.rows[row].seconds.median);
    let bars = [("one prover", one), ("two provers", two), ("half of one prover's time", one / 2.0)];
    let bars = bars.map(|(name, seconds)| (name.to_owned(), seconds));
    plot_bars(&arguments.output.with_extension("svg"), "The same proof with one and two provers", "seconds", &bars)?;
    write_figures(&arguments.output, &report)
}

/// Makes a proof with these workers.
fn prove(workers: &[&WorkerProcess], steps: u32, folder: &Path) -> Result<ProofFigures> {
    let wanted = BenchProof {
        program: BenchProgram::Fibonacci,
        size: steps,
        mode: BenchMode::Core,
        min_shards: 2,
        warms_up: false,
    };
    let variables = [("RAYON_NUM_THREADS", 2), ("ELEMENT_THRESHOLD", CUT), ("HEIGHT_THRESHOLD", HEIGHT)];
    let made = request_proof(wanted, workers, &variables, folder)?;
    made.map_err(|reason| anyhow!("a proof failed: {reason}"))
}

fn report(steps: u32, rounds: Vec<ScalingRound>) -> Result<ScalingReport> {
    let speed_up = |round: &ScalingRound| round.one.seconds / round.two.seconds;
    let shards = rounds.first().and_then(|round| round.two.shards).context("no core proof was measured")?;
    let proofs = |of: fn(&ScalingRound) -> &ProofFigures| rounds.iter().map(of).collect::<Vec<_>>();
    let rows = vec![row(1, &proofs(|round| &round.one))?, row(2, &proofs(|round| &round.two))?];
    Ok(ScalingReport {
        machine: this_machine(),
        program: BenchProgram::Fibonacci.name(),
        steps,
        element_threshold: CUT,
        height_threshold: HEIGHT,
        shards,
        goal_speed_up: GOAL,
        speed_up: FigureSpread::of(rounds.iter().map(speed_up)).context(NO_PROOF)?,
        efficiency: FigureSpread::of(rounds.iter().map(|round| speed_up(round) / 2.0)).context(NO_PROOF)?,
        rows,
        rounds,
    })
}

fn row(provers: usize, proofs: &[&ProofFigures]) -> Result<ScalingRow> {
    let splits: Vec<(TimeSplit, f64)> =
        proofs.iter().map(|proof| (TimeSplit::of(&proof.shard_spans, proof.seconds, provers), proof.seconds)).collect();
    let of_split = |figure: fn(&TimeSplit) -> f64| {
        FigureSpread::of(splits.iter().map(|(split, _)| figure(split))).context(NO_PROOF)
    };
    let shard_seconds = proofs.iter().flat_map(|proof| &proof.shard_spans).map(|(start, end)| end - start);
    Ok(ScalingRow {
        provers,
        seconds: FigureSpread::of(splits.iter().map(|(_, seconds)| *seconds)).context(NO_PROOF)?,
        shard_seconds: FigureSpread::of(shard_seconds).context("no worker has reported a shard")?,
        serial_seconds: of_split(TimeSplit::serial)?,
        before: of_split(|split| split.before)?,
        between: of_split(|split| split.between)?,
        after: of_split(|split| split.after)?,
        partly: of_split(|split| split.partly)?,
        serial_part: FigureSpread::of(splits.iter().map(|(split, seconds)| split.serial() / seconds))
            .context(NO_PROOF)?,
    })
}

fn print_table(report: &ScalingReport) {
    println!(
        "{:>7} {:>28} {:>24} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "provers", "seconds (range)", "seconds of a shard", "before", "between", "after", "partly", "serial"
    );
    for row in &report.rows {
        println!(
            "{:>7} {:>28} {:>24} {:>6.2} s {:>6.2} s {:>6.2} s {:>6.2} s {:>5.1} %",
            row.provers,
            format!("{:.1}", row.seconds),
            format!("{:.1}", row.shard_seconds),
            row.before.median,
            row.between.median,
            row.after.median,
            row.partly.median,
            row.serial_part.median * 100.0,
        );
    }
    println!("speed-up: {:.2}, goal: {GOAL}; efficiency: {:.2}", report.speed_up, report.efficiency);
    if report.shards != SHARDS {
        println!("The goal is for {SHARDS} shards, and the proof has {}: change --steps.", report.shards);
    }
}
