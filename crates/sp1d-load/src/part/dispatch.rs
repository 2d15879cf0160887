//! Measures how many tasks are dispatched in a second, and how long a task waits from its submission to its start.
//!
//! The tasks have no input of their own, and the workers return 8 bytes at once. A task still takes the whole way:
//! submission, assignment, report of the start, upload of the result, check, acceptance.

use crate::{
    measure::{DoneTask, LoadDriver, LoadEnd, LoadTask, process_seconds},
    part::flames::FlameLoad,
    pool::LoadPool,
    proof::{AttemptTimes, EventRecorder, LoadChecks, OpenProof},
    report::{LatencySummary, spread_of},
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts, PlotCurve, plot_curves, write_figures};
use sp1d_model::TaskId;
use sp1d_testing::record;
use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

#[derive(Debug, clap::Args)]
pub(crate) struct DispatchArguments {
    /// Numbers of connections, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,200", value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: Vec<u32>,
    /// Number of rounds. Every second round runs in reverse order.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measure 1 and 3 connections for a moment. The figures mean nothing.
    #[arg(long, conflicts_with_all = ["connections", "rounds", "seconds"])]
    quick: bool,
    /// Record flame graphs of the orchestrator and of the workers into this folder for 20 seconds, with the largest
    /// number of connections under full load, and measure nothing else.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["rounds", "seconds", "output"])]
    flame: Option<PathBuf>,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/dispatch.json")]
    output: PathBuf,
}

/// Size of a result.
const RESULT_BYTES: usize = 8;

/// Tasks in progress for each connection under full load: two at the worker, and two in the queue.
const LANES: usize = 4;

/// Tasks per second that one orchestrator shall dispatch with 200 connections on two cores.
const GOAL: f64 = 20_000.0;

/// The content of the output file.
#[derive(Debug, Serialize)]
struct DispatchReport {
    machine: MachineFacts,
    rounds: u32,
    seconds: f64,
    /// Tasks in progress for each connection under full load.
    tasks_per_connection: usize,
    goal_tasks_per_second: f64,
    rows: Vec<DispatchRow>,
}

#[derive(Debug, Serialize)]
struct DispatchRow {
    connections: u32,
    tasks_per_second: FigureSpread,
    /// Tasks per second, divided by the goal.
    over_goal: f64,
    /// Tasks per second, divided by those of the first row.
    over_first: f64,
    /// Processor time of the orchestrator for a task, in microseconds.
    cpu_micros_per_task: FigureSpread,
    /// From submission to start, under full load.
    full_load_p50_ms: FigureSpread,
    full_load_p99_ms: FigureSpread,
    /// The same at half as many tasks per second.
    half_load_p50_ms: FigureSpread,
    half_load_p99_ms: FigureSpread,
}

struct DispatchRound {
    tasks_per_second: f64,
    cpu_micros_per_task: f64,
    full_load: LatencySummary,
    half_load: LatencySummary,
}

pub(crate) async fn run(arguments: &DispatchArguments) -> Result<()> {
    let (connections, rounds, time) = if arguments.quick {
        (vec![1, 3], 1, Duration::from_millis(300))
    } else {
        (arguments.connections.clone(), arguments.rounds, Duration::from_secs(arguments.seconds))
    };
    if let Some(folder) = &arguments.flame {
        let connections = connections.into_iter().max().context("no number of connections is given")?;
        let in_progress = LANES * connections as usize;
        let (part, result_bytes, task) = ("dispatch", RESULT_BYTES, LoadTask::Shared);
        return FlameLoad { part, connections, result_bytes, in_progress, task }.record(folder).await;
    }
    let mut measured: Vec<Vec<DispatchRound>> = connections.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..connections.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            eprintln!("round {} of {rounds}: {} connections", round + 1, connections[place]);
            measured[place].push(measure(connections[place], time).await?);
        }
    }
    let mut rows: Vec<DispatchRow> = Vec::new();
    for (connections, rounds) in connections.iter().zip(&measured) {
        let tasks_per_second = spread_of(rounds, |round| round.tasks_per_second)?;
        let first = rows.first().map_or(tasks_per_second.median, |row| row.tasks_per_second.median);
        rows.push(DispatchRow {
            connections: *connections,
            tasks_per_second,
            over_goal: tasks_per_second.median / GOAL,
            over_first: tasks_per_second.median / first,
            cpu_micros_per_task: spread_of(rounds, |round| round.cpu_micros_per_task)?,
            full_load_p50_ms: spread_of(rounds, |round| round.full_load.p50_ms)?,
            full_load_p99_ms: spread_of(rounds, |round| round.full_load.p99_ms)?,
            half_load_p50_ms: spread_of(rounds, |round| round.half_load.p50_ms)?,
            half_load_p99_ms: spread_of(rounds, |round| round.half_load.p99_ms)?,
        });
    }
    print_table(&rows);
    let curve = PlotCurve {
        name: "tasks per second".to_owned(),
        points: rows.iter().map(|row| (f64::from(row.connections), row.tasks_per_second.median)).collect(),
    };
    let plot = arguments.output.with_extension("svg");
    plot_curves(&plot, "Dispatched tasks", ("connections", "tasks per second"), &[curve])?;
    let report = DispatchReport {
        machine: MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned()),
        rounds,
        seconds: time.as_secs_f64(),
        tasks_per_connection: LANES,
        goal_tasks_per_second: GOAL,
        rows,
    };
    write_figures(&arguments.output, &report)
}

fn print_table(rows: &[DispatchRow]) {
    println!(
        "{:>11} {:>28} {:>9} {:>22} {:>22}",
        "connections", "tasks/s (range)", "CPU/task", "full load p50, p99", "half load p50, p99"
    );
    for row in rows {
        println!(
            "{:>11} {:>28} {:>6.0} us {:>8.2}, {:>8.2} ms {:>8.2}, {:>8.2} ms",
            row.connections,
            format!("{:.0}", row.tasks_per_second),
            row.cpu_micros_per_task.median,
            row.full_load_p50_ms.median,
            row.full_load_p99_ms.median,
            row.half_load_p50_ms.median,
            row.half_load_p99_ms.median,
        );
    }
}

async fn measure(connections: u32, time: Duration) -> Result<DispatchRound> {
    let pool = LoadPool::of(connections, RESULT_BYTES).await?;
    let checks = LoadChecks::new(&record(0, RESULT_BYTES));
    let (proof, events) = OpenProof::open(&pool.orchestrator, checks).await?;
    let recorder = EventRecorder::start(events);
    let driver = LoadDriver::new(proof.handle.clone(), LoadTask::Shared).await?;
    let lanes = LANES * connections as usize;
    // Each worker fetches the shared input once, and connections get their buffers.
    driver.closed(lanes, LoadEnd::At(Instant::now() + time / 4)).await?;
    let (start, cpu) = (Instant::now(), process_seconds());
    let full = driver.closed(lanes, LoadEnd::At(start + time)).await?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), process_seconds() - cpu);
    let tasks_per_second = full.len() as f64 / seconds;
    let half = driver.paced(tasks_per_second / 2.0, time).await?;
    drop(driver);
    proof.close().await?;
    let times = recorder.end().await?;
    pool.end().await;
    Ok(DispatchRound {
        tasks_per_second,
        cpu_micros_per_task: cpu * 1e6 / full.len() as f64,
        full_load: waits(&full, &times)?,
        half_load: waits(&half, &times)?,
    })
}

/// Returns how long `tasks` waited from submission to start.
fn waits(tasks: &[DoneTask], times: &HashMap<TaskId, AttemptTimes>) -> Result<LatencySummary> {
    let wait = |done: &DoneTask| {
        let started = times.get(&done.task)?.started?;
        Some(started.saturating_duration_since(done.submitted).as_secs_f64())
    };
    LatencySummary::of(tasks.iter().filter_map(wait).collect())
}
