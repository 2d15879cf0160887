//! Simulates runs on up to 1,000 workers with the real scheduler, in virtual time, and compares their time with the
//! least possible time.
//!
//! Each run is simulated twice: *free*, where all records are there at the start and sending takes no time, so that
//! only the scheduler and the sizes of shards count; and *whole*, with one executor and one hub.

use crate::{
    part::cost_model::{CostModel, HubModel, WorkerLimits},
    report::spread_of,
    simulation::{FleetKind, HubRate, ShardPlan, SimulatedFleet, plan_shards, simulate},
};
use anyhow::Result;
use fastrand::Rng;
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts, PlotCurve, plot_curves, write_figures};
use std::{ops::RangeInclusive, path::PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArguments {
    /// Numbers of workers, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10,20,50,100,200,500,1000", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Vec<u32>,
    /// Shards for each worker.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    shards_per_worker: u32,
    /// Number of seeds for runs that are not even.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
    /// Assumed seconds of a shard on a GPU.
    #[arg(long, default_value_t = 2.0, value_parser = number_in(0.001..=3600.0))]
    gpu_shard_seconds: f64,
    /// Cycles that the executor runs in a second. The default is what `evm` needs: 17 million cycles took 0.3 s of
    /// processor time (docs/bench/evm-190.json).
    #[arg(long, default_value_t = 53e6, value_parser = number_in(1e6..=1e12))]
    executor_cycles_per_second: f64,
    /// Cores of the orchestrator.
    #[arg(long, default_value_t = 32.0, value_parser = number_in(0.1..=10_000.0))]
    cores: f64,
    /// Link of the orchestrator in gigabits per second.
    #[arg(long, default_value_t = 10.0, value_parser = number_in(0.01..=100_000.0))]
    gigabits: f64,
    /// Folder with the measured figures.
    #[arg(long, default_value = "docs/bench")]
    figures: PathBuf,
    /// Simulate a few small runs. They use the same models.
    #[arg(long, conflicts_with_all = ["workers", "shards_per_worker", "seeds"])]
    quick: bool,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/simulate.json")]
    output: PathBuf,
}

/// Returns a parser of numbers in `range`. Other numbers would make times infinite, or longer than a lease.
fn number_in(range: RangeInclusive<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text: &str| match text.parse::<f64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("not a number from {} to {}", range.start(), range.end())),
    }
}

/// The content of the output file. All times are in seconds.
#[derive(Debug, Serialize)]
struct SimulateReport {
    machine: MachineFacts,
    models: Vec<CostModel>,
    hub: HubModel,
    shards_per_worker: u32,
    seeds: u32,
    /// Numbers of workers from which a part of the orchestrator is the limit.
    limits: Vec<WorkerLimits>,
    rows: Vec<SimulateRow>,
}

#[derive(Debug, Serialize)]
struct SimulateRow {
    model: &'static str,
    fleet: FleetKind,
    workers: u32,
    shards: usize,
    /// Time of a free run, divided by the least possible time.
    free_over_bound: FigureSpread,
    /// Time of a whole run, divided by the least possible time of a whole run.
    whole_over_bound: FigureSpread,
    whole_seconds: FigureSpread,
    /// What determines the least possible time of a whole run.
    limited_by: &'static str,
    /// Assignments for each shard, in free runs.
    attempts_per_shard: FigureSpread,
    failures: FigureSpread,
}

/// The least possible times of a run, each by another limit.
struct LowerBounds {
    /// All workers prove all the time.
    work: f64,
    /// The execution up to a shard, and that shard on the fastest worker.
    chain: f64,
    /// The execution alone.
    executor: f64,
    /// All records and results through the hub.
    hub: f64,
}

impl LowerBounds {
    /// Computes the bounds. Without `hub`, records need no sending.
    fn of(shards: &[ShardPlan], fleet: &SimulatedFleet, hub: Option<HubRate>) -> Self {
        let chain = |shard: &ShardPlan| shard.available + shard.seconds / fleet.fastest();
        let last = shards.last().map_or(0.0, |shard| shard.available);
        let shortest = shards.iter().map(|shard| shard.seconds).fold(f64::INFINITY, f64::min) / fleet.fastest();
        Self {
            work: shards.iter().map(|shard| shard.seconds).sum::<f64>() / fleet.speed(),
            chain: shards.iter().map(chain).fold(0.0, f64::max),
            executor: last,
            hub: hub.map_or(0.0, |HubRate(rate)| shards.len() as f64 / rate + shortest),
        }
    }

    /// Returns the largest bound, and what sets it.
    fn largest(&self) -> (f64, &'static str) {
        // The last shard waits for the executor, so its chain is never shorter than the bound of the executor.
        let chain_limit = if self.executor > self.chain / 2.0 { "executor" } else { "longest shard" };
        let all = [(self.work, "workers"), (self.chain, chain_limit), (self.hub, "hub")];
        all.into_iter().fold((0.0, ""), |most, next| if next.0 > most.0 { next } else { most })
    }
}

struct SimulatedPair {
    free_over_bound: f64,
    whole_over_bound: f64,
    whole_seconds: f64,
    limited_by: &'static str,
    attempts_per_shard: f64,
    failures: f64,
}

pub(crate) fn run(arguments: &SimulateArguments) -> Result<()> {
    let (workers, shards_per_worker, seeds) = if arguments.quick {
        (vec![1, 8], 10, 2)
    } else {
        (arguments.workers.clone(), arguments.shards_per_worker, arguments.seeds)
    };
    let hub =
        HubModel::new(&arguments.figures, arguments.cores, arguments.gigabits, arguments.executor_cycles_per_second);
    let models = vec![CostModel::of_cpu(&arguments.figures)?, CostModel::of_gpu(arguments.gpu_shard_seconds)];
    let mut rows = Vec::new();
    for model in &models {
        for fleet in FleetKind::ALL {
            for count in &workers {
                let shards = (*count * shards_per_worker) as usize;
                eprintln!("{}, {} workers: {count}", model.name, fleet.name());
                let pairs = (0..seeds).map(|seed| simulate_pair(model, &hub, fleet, *count as usize, shards, seed));
                rows.push(row(model, fleet, *count, shards, &pairs.collect::<Result<Vec<_>>>()?)?);
            }
        }
    }
    print_table(&rows);
    let limits: Vec<WorkerLimits> = models.iter().map(|model| hub.limits(model)).collect();
    for (model, limits) in models.iter().zip(&limits) {
        println!(
            "{}: the executor is the limit from {:.0} workers on, the hub's processor from {:.0}, its link from {:.0}",
            model.name, limits.executor, limits.hub_processor, limits.hub_link
        );
    }
    let curves = models.iter().flat_map(|model| FleetKind::ALL.map(|fleet| curve(model.name, fleet, &rows)));
    let curves: Vec<PlotCurve> = curves.collect();
    let plot = arguments.output.with_extension("svg");
    let axes = ("workers", "time / least possible time");
    plot_curves(&plot, "Scheduler: time of free runs", axes, &curves)?;
    let report = SimulateReport {
        machine: MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned()),
        models,
        hub,
        shards_per_worker,
        seeds,
        limits,
        rows,
    };
    write_figures(&arguments.output, &report)
}

fn curve(model: &'static str, fleet: FleetKind, rows: &[SimulateRow]) -> PlotCurve {
    let own = rows.iter().filter(|row| row.model == model && row.fleet == fleet);
    let points = own.map(|row| (f64::from(row.workers), row.free_over_bound.median)).collect();
    PlotCurve { name: format!("{model}, {}", fleet.name()), points }
}

fn simulate_pair(
    model: &CostModel,
    hub: &HubModel,
    kind: FleetKind,
    workers: usize,
    count: usize,
    seed: u32,
) -> Result<SimulatedPair> {
    let mut random = Rng::with_seed(u64::from(seed) + 1);
    let fleet = SimulatedFleet::new(kind, workers, model.shard_seconds, &mut random);
    let whole = plan_shards(count, model.shard_seconds, kind.shard_spread(), model.record_seconds(hub), &mut random);
    let free: Vec<ShardPlan> = whole.iter().map(|shard| ShardPlan { available: 0.0, ..*shard }).collect();
    let rate = HubRate(hub.rate());
    let (free_bound, _) = LowerBounds::of(&free, &fleet, None).largest();
    let (whole_bound, limited_by) = LowerBounds::of(&whole, &fleet, Some(rate)).largest();
    let free = simulate(&free, &fleet, None, random.clone())?;
    let whole = simulate(&whole, &fleet, Some(rate), random)?;
    Ok(SimulatedPair {
        free_over_bound: free.makespan / free_bound,
        whole_over_bound: whole.makespan / whole_bound,
        whole_seconds: whole.makespan,
        limited_by,
        attempts_per_shard: free.attempts as f64 / count as f64,
        failures: free.failures as f64,
    })
}

fn row(
    model: &CostModel,
    fleet: FleetKind,
    workers: u32,
    shards: usize,
    pairs: &[SimulatedPair],
) -> Result<SimulateRow> {
    Ok(SimulateRow {
        model: model.name,
        fleet,
        workers,
        shards,
        free_over_bound: spread_of(pairs, |pair| pair.free_over_bound)?,
        whole_over_bound: spread_of(pairs, |pair| pair.whole_over_bound)?,
        whole_seconds: spread_of(pairs, |pair| pair.whole_seconds)?,
        limited_by: pairs.first().map_or("", |pair| pair.limited_by),
        attempts_per_shard: spread_of(pairs, |pair| pair.attempts_per_shard)?,
        failures: spread_of(pairs, |pair| pair.failures)?,
    })
}

fn print_table(rows: &[SimulateRow]) {
    println!(
        "{:5} {:8} {:>7} {:>7} {:>24} {:>24} {:>12} {:14} {:>9}",
        "model", "workers", "number", "shards", "free/bound", "whole/bound", "whole", "limited by", "attempts"
    );
    for row in rows {
        println!(
            "{:5} {:8} {:>7} {:>7} {:>24} {:>24} {:>10.0} s {:14} {:>9.3}",
            row.model,
            row.fleet.name(),
            row.workers,
            row.shards,
            row.free_over_bound.to_string(),
            row.whole_over_bound.to_string(),
            row.whole_seconds.median,
            row.limited_by,
            row.attempts_per_shard.median,
        );
    }
}
