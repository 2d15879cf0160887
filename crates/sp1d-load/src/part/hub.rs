//! Measures what shards with real sizes cost the orchestrator: records that it compresses and sends, and results that
//! it receives and checks. The workers fetch the records and ignore their content.
//!
//! The cost by part comes from three places:
//! - The check of results and the copying of records are measured in the run, with the clock of their thread.
//! - Hashing, compression and the decoding of a result are measured alone, on the same content and one thread.
//! - Bookkeeping is the cost of a shard whose record has 8 bytes, with the same number of connections.
//!
//! The rest of the processor time is sending and receiving: HTTP/2, sockets and copies. It is a difference, so it has
//! the errors of all other parts.

use crate::{
    measure::{
        DoneTask, LoadDriver, LoadEnd, LoadTask, RESULT_BYTES, process_seconds, random_record, shrinking_record,
        thread_seconds,
    },
    part::{
        flames::FlameLoad,
        head_of_line::{self, HeadOfLineRow},
    },
    pool::LoadPool,
    proof::{LoadChecks, OpenProof},
    report::spread_of,
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_artifacts::{Blob, Digest};
use sp1d_figures::{FigureSpread, MachineFacts, PlotCurve, plot_curves, write_figures};
use sp1d_testing::record;
use std::{path::PathBuf, sync::Arc, time::Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct HubArguments {
    /// Sizes of a record in megabytes, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "5,16,65", value_parser = clap::value_parser!(u64).range(1..=1000))]
    megabytes: Vec<u64>,
    /// Numbers of connections, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,200", value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: Vec<u32>,
    /// Number of rounds. Every second round runs in reverse order.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Megabytes of all records of a measurement together. At least four times as many records are sent as are in
    /// progress at a time, and at least eight.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    total_megabytes: u64,
    /// Use records that do not compress. Otherwise they shrink three to four times, as those of real programs do.
    #[arg(long)]
    random: bool,
    /// Measure records of 1 MB for a moment. The figures mean nothing.
    #[arg(long, conflicts_with_all = ["megabytes", "connections", "rounds", "total_megabytes"])]
    quick: bool,
    /// Record flame graphs of the orchestrator and of the workers into this folder for 20 seconds, with records of the
    /// middle size and the largest number of connections, and measure nothing else.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["rounds", "total_megabytes", "output"])]
    flame: Option<PathBuf>,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/hub.json")]
    output: PathBuf,
}

/// Bytes of the records that are in progress at a time. It bounds the memory of the bench.
const WINDOW_BYTES: u64 = 1 << 30;

/// Size of a record for which only bookkeeping is left.
const SMALL_BYTES: usize = 8;

/// Shards of a measurement of bookkeeping: for each connection, and at least. Fewer would be over within milliseconds.
const SMALL_SHARDS: u64 = 20;
const MIN_SMALL_SHARDS: u64 = 2000;

/// Records of a measurement for each one in progress. With fewer, most of the time would be the start and the end, when
/// connections wait.
const TURNS: u64 = 4;

/// Processor time for a shard of 16 MB that the orchestrator may take beyond the execution, in seconds.
const GOAL: f64 = 0.1;

/// The content of the output file. All times are in seconds.
#[derive(Debug, Serialize)]
struct HubReport {
    machine: MachineFacts,
    rounds: u32,
    result_bytes: usize,
    /// Whether the records do not compress.
    random_records: bool,
    goal_cpu_seconds_per_shard: f64,
    /// Parts of the cost of a shard that this bench cannot measure.
    not_measured: [&'static str; 3],
    rows: Vec<HubRow>,
    head_of_line: HeadOfLineRow,
}

#[derive(Debug, Serialize)]
struct HubRow {
    record_bytes: u64,
    /// Bytes of a record as it is sent.
    sent_bytes: u64,
    connections: u32,
    /// Shards in progress at a time.
    in_progress: usize,
    shards_per_second: FigureSpread,
    /// Uncompressed bytes of records and results.
    bytes_per_second: FigureSpread,
    /// Shards per second, divided by those of the first number of connections.
    over_first: f64,
    cpu_seconds_per_shard: FigureSpread,
    /// Processor time for a shard, divided by the goal for a record of 16 MB.
    over_goal: f64,
    parts: CostParts,
}

/// Processor time for a shard by part. Medians in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct CostParts {
    compression: f64,
    hashing: f64,
    decoding: f64,
    verification: f64,
    bookkeeping: f64,
    /// What the bench itself adds: copies of the record.
    copying: f64,
    /// The rest.
    transfer: f64,
}

/// The costs of contents that are measured alone.
struct ContentCost {
    hashing: f64,
    compression: f64,
}

/// What a run with some load cost.
struct HubRun {
    shards: f64,
    seconds: f64,
    cpu_seconds: f64,
    check_seconds: f64,
    copy_seconds: f64,
}

/// One number of connections with one size of records.
struct HubCase {
    record: Arc<Vec<u8>>,
    connections: u32,
    runs: Vec<HubRun>,
    /// Processor time for bookkeeping of a shard, by round.
    small: Vec<f64>,
}

impl HubCase {
    fn new(record: Arc<Vec<u8>>, connections: u32) -> Self {
        Self { record, connections, runs: Vec::new(), small: Vec::new() }
    }

    fn in_progress(&self) -> usize {
        // Two shards for each worker, as by default.
        (2 * self.connections as usize).min((WINDOW_BYTES / self.record.len() as u64).max(1) as usize)
    }
}

pub(crate) async fn run(arguments: &HubArguments) -> Result<()> {
    let (megabytes, connections, rounds, total) = if arguments.quick {
        (vec![1], vec![1, 3], 1, 8)
    } else {
        (arguments.megabytes.clone(), arguments.connections.clone(), arguments.rounds, arguments.total_megabytes)
    };
    let make = if arguments.random { random_record } else { shrinking_record };
    let records: Vec<_> = megabytes.iter().map(|size| Arc::new(make(*size as usize * 1_000_000))).collect();
    if let Some(folder) = &arguments.flame {
        let connections = connections.into_iter().max().context("no number of connections is given")?;
        let case = HubCase::new(records[records.len() / 2].clone(), connections);
        let (in_progress, task) = (case.in_progress(), LoadTask::Shard(case.record));
        let (part, result_bytes) = ("hub", RESULT_BYTES);
        return FlameLoad { part, connections, result_bytes, in_progress, task }.record(folder).await;
    }
    let cases = records.iter().flat_map(|record| connections.iter().map(move |count| (record.clone(), *count)));
    let mut cases: Vec<HubCase> = cases.map(|(record, connections)| HubCase::new(record, connections)).collect();
    for round in 0..rounds {
        let mut order: Vec<&mut HubCase> = cases.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for case in order {
            let (size, connections) = (case.record.len() as u64, case.connections);
            eprintln!("round {} of {rounds}: {} MB, {connections} connections", round + 1, size / 1_000_000);
            let in_progress = case.in_progress();
            let shards = (total * 1_000_000 / size).max(8).max(TURNS * in_progress as u64);
            let run = measure(connections, &case.record, RESULT_BYTES, in_progress, shards).await?;
            case.runs.push(run);
            let small = Arc::new(record(1, SMALL_BYTES));
            let shards = (SMALL_SHARDS * u64::from(connections)).max(MIN_SMALL_SHARDS);
            let small = measure(connections, &small, SMALL_BYTES, 2 * connections as usize, shards).await?;
            case.small.push(small.cpu_seconds / small.shards);
        }
    }
    let rows = rows(&cases)?;
    print_table(&rows);
    let head_of_line = head_of_line::measure(arguments.quick, rounds, &records[records.len() / 2]).await?;
    println!("{head_of_line}");
    let curves: Vec<PlotCurve> = records
        .iter()
        .map(|record| PlotCurve {
            name: format!("records of {} MB", record.len() / 1_000_000),
            points: rows
                .iter()
                .filter(|row| row.record_bytes == record.len() as u64)
                .map(|row| (f64::from(row.connections), row.shards_per_second.median))
                .collect(),
        })
        .collect();
    let plot = arguments.output.with_extension("svg");
    plot_curves(&plot, "Shards through one orchestrator", ("connections", "shards per second"), &curves)?;
    let report = HubReport {
        machine: MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned()),
        rounds,
        result_bytes: RESULT_BYTES,
        random_records: arguments.random,
        goal_cpu_seconds_per_shard: GOAL,
        not_measured: [
            "execution of the program: needs SP1",
            "building of records: needs SP1",
            "check of a real shard proof: needs SP1; the check of the bench compares a digest",
        ],
        rows,
        head_of_line,
    };
    write_figures(&arguments.output, &report)
}

/// Sends `shards` shards with this record over `connections` connections.
async fn measure(
    connections: u32,
    record: &Arc<Vec<u8>>,
    result_bytes: usize,
    in_progress: usize,
    shards: u64,
) -> Result<HubRun> {
    let pool = LoadPool::of(connections, result_bytes).await?;
    let checks = LoadChecks::new(&sp1d_testing::record(0, result_bytes));
    let (proof, events) = OpenProof::open(&pool.orchestrator, checks.clone()).await?;
    drop(events);
    let warm_up = LoadDriver::new(proof.handle.clone(), LoadTask::Shared).await?;
    // Each worker fetches the shared input, and connections get their buffers.
    warm_up.closed(2 * connections as usize, LoadEnd::Tasks(4 * u64::from(connections))).await?;
    let driver = warm_up.with(LoadTask::Shard(record.clone()));
    let (start, cpu, checked) = (Instant::now(), process_seconds(), checks.seconds());
    let done = driver.closed(in_progress, LoadEnd::Tasks(shards)).await?;
    let run = HubRun {
        shards: done.len() as f64,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: process_seconds() - cpu,
        check_seconds: checks.seconds() - checked,
        copy_seconds: done.iter().map(|task: &DoneTask| task.copy_seconds).sum(),
    };
    proof.close().await?;
    pool.end().await;
    Ok(run)
}

/// Measures the costs of one content on one thread.
fn cost_of(content: &[u8]) -> Result<ContentCost> {
    let median = |act: &dyn Fn()| {
        let time = |_: u32| {
            let start = thread_seconds();
            act();
            thread_seconds() - start
        };
        let spread = FigureSpread::of((0..3).map(time));
        spread.map(|spread| spread.median).context("no content was measured")
    };
    let hashing = median(&|| {
        std::hint::black_box(Digest::of(content));
    })?;
    let both = median(&|| {
        std::hint::black_box(Blob::encode(content));
    })?;
    Ok(ContentCost { hashing, compression: (both - hashing).max(0.0) })
}

/// Returns the processor time of one thread for the decoding of a result.
fn decoding_of(result: &[u8]) -> Result<f64> {
    let blob = Blob::encode(result);
    let start = thread_seconds();
    blob.decode().context("cannot decode a result")?;
    Ok(thread_seconds() - start)
}

fn rows(cases: &[HubCase]) -> Result<Vec<HubRow>> {
    let decoding = decoding_of(&record(0, RESULT_BYTES))?;
    let mut rows: Vec<HubRow> = Vec::new();
    for case in cases {
        let alone = cost_of(&case.record)?;
        let (record_bytes, runs) = (case.record.len() as u64, &case.runs);
        let shards_per_second = spread_of(runs, |run| run.shards / run.seconds)?;
        let cpu_seconds_per_shard = spread_of(runs, |run| run.cpu_seconds / run.shards)?;
        let bytes_of_shard = (record_bytes + RESULT_BYTES as u64) as f64;
        let first = rows.iter().find(|row| row.record_bytes == record_bytes);
        let first = first.map_or(shards_per_second.median, |row| row.shards_per_second.median);
        let mut parts = CostParts {
            compression: alone.compression,
            hashing: alone.hashing,
            decoding,
            verification: spread_of(runs, |run| run.check_seconds / run.shards)?.median,
            bookkeeping: spread_of(&case.small, |seconds| *seconds)?.median,
            copying: spread_of(runs, |run| run.copy_seconds / run.shards)?.median,
            transfer: 0.0,
        };
        let CostParts { compression, hashing, decoding, verification, bookkeeping, copying, .. } = parts;
        let known = compression + hashing + decoding + verification + bookkeeping + copying;
        parts.transfer = cpu_seconds_per_shard.median - known;
        rows.push(HubRow {
            record_bytes,
            sent_bytes: Blob::encode(&case.record).stored_bytes(),
            connections: case.connections,
            in_progress: case.in_progress(),
            shards_per_second,
            bytes_per_second: spread_of(runs, |run| bytes_of_shard * run.shards / run.seconds)?,
            over_first: shards_per_second.median / first,
            cpu_seconds_per_shard,
            over_goal: cpu_seconds_per_shard.median / GOAL,
            parts,
        });
    }
    Ok(rows)
}

fn print_table(rows: &[HubRow]) {
    println!(
        "{:>6} {:>11} {:>9} {:>7} {:>9}   CPU by part in ms: compression, hashing, decoding, verification, bookkeeping, \
         copying, transfer",
        "record", "connections", "shards/s", "MB/s", "CPU/shard"
    );
    for row in rows {
        let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
        let parts = &row.parts;
        println!(
            "{:>3} MB {:>11} {:>9.1} {:>7.0} {:>6} ms   {}, {}, {}, {}, {}, {}, {}",
            row.record_bytes / 1_000_000,
            row.connections,
            row.shards_per_second.median,
            row.bytes_per_second.median / 1e6,
            ms(row.cpu_seconds_per_shard.median),
            ms(parts.compression),
            ms(parts.hashing),
            ms(parts.decoding),
            ms(parts.verification),
            ms(parts.bookkeeping),
            ms(parts.copying),
            ms(parts.transfer),
        );
    }
}
