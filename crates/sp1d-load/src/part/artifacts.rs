//! Measures the throughput of large artifacts, compared to a raw TCP copy and to Redis. All three have the same
//! content and the same machine, and take turns.
//!
//! An artifact takes two steps. *Store* compresses and hashes it in the orchestrator. *Fetch* is from the submission of
//! a task to its start: by then the worker has the whole artifact, checked and in compressed form. `SET` and `GET` of
//! Redis are the same two steps, but both cross the network.

use crate::{
    measure::{LoadTask, random_record, shrinking_record},
    part::flames::FlameLoad,
    pool::{FleetProcess, LoadPool, RedisProcess},
    proof::{EventRecorder, LoadChecks, OpenProof},
    report::spread_of,
};
use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts, plot_bars, write_figures};
use sp1d_orchestrator::{TaskOutcome, TaskSpec};
use sp1d_protocol::{ShardTask, TaskPayload};
use sp1d_testing::record;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactsArguments {
    /// Size of the artifact in megabytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=500))]
    megabytes: u64,
    /// Number of rounds.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure 2 MB once. The figures mean nothing.
    #[arg(long, conflicts_with_all = ["megabytes", "rounds"])]
    quick: bool,
    /// Record flame graphs of the orchestrator and of the worker into this folder for 20 seconds, while it fetches one
    /// artifact after the other, and measure nothing else.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["rounds", "output"])]
    flame: Option<PathBuf>,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/artifacts.json")]
    output: PathBuf,
}

/// Part of the throughput of a raw TCP copy that a fetch shall reach.
const GOAL: f64 = 0.7;

/// Size of the result of the task that fetches the artifact.
pub(super) const RESULT_BYTES: usize = 8;

/// The content of the output file. Throughputs are in uncompressed bytes per second.
#[derive(Debug, Serialize)]
struct ArtifactsReport {
    machine: MachineFacts,
    rounds: u32,
    bytes: u64,
    /// The version of Redis; `not installed` without it.
    redis: String,
    goal_fetch_over_tcp: f64,
    rows: Vec<ArtifactRow>,
}

#[derive(Debug, Serialize)]
struct ArtifactRow {
    content: &'static str,
    tcp: FigureSpread,
    store: FigureSpread,
    fetch: FigureSpread,
    store_and_fetch: FigureSpread,
    redis_set: Option<FigureSpread>,
    redis_get: Option<FigureSpread>,
    redis_set_and_get: Option<FigureSpread>,
    /// Ratios of each round.
    fetch_over_tcp: FigureSpread,
    store_and_fetch_over_redis: Option<FigureSpread>,
}

/// Times of one round in seconds.
struct ArtifactRound {
    tcp: f64,
    store: f64,
    fetch: f64,
    redis: Option<RedisTimes>,
}

#[derive(Clone, Copy)]
struct RedisTimes {
    set: f64,
    get: f64,
}

impl RedisTimes {
    fn both(self) -> f64 {
        self.set + self.get
    }
}

pub(crate) async fn run(arguments: &ArtifactsArguments) -> Result<()> {
    let (megabytes, rounds) = if arguments.quick { (2, 1) } else { (arguments.megabytes, arguments.rounds) };
    let bytes = megabytes as usize * 1_000_000;
    if let Some(folder) = &arguments.flame {
        let task = LoadTask::Shard(Arc::new(random_record(bytes)));
        let (part, result_bytes) = ("artifacts", RESULT_BYTES);
        return FlameLoad { part, connections: 1, result_bytes, in_progress: 1, task }.record(folder).await;
    }
    let mut redis = RedisProcess::start()?;
    let mut rows = Vec::new();
    for (name, content) in [("random", random_record(bytes)), ("shrinking", shrinking_record(bytes))] {
        let fleet = FleetProcess::start(1, &[("result-bytes", RESULT_BYTES.to_string())])?;
        let copy = fleet.copy;
        let pool = LoadPool::start(vec![fleet], 20).await?;
        // Connections get their buffers, and processes their memory.
        measure(&pool, copy, &content, redis.as_mut(), false).await?;
        let mut measured = Vec::new();
        for round in 0..rounds {
            eprintln!("round {} of {rounds}: {megabytes} MB of {name} content", round + 1);
            measured.push(measure(&pool, copy, &content, redis.as_mut(), round % 2 == 1).await?);
        }
        pool.end().await;
        rows.push(row(name, bytes as f64, &measured)?);
    }
    print_table(&rows);
    let bars: Vec<(String, f64)> = rows.iter().flat_map(bars).collect();
    plot_bars(&arguments.output.with_extension("svg"), "Artifacts: throughput", "MB per second", &bars)?;
    let report = ArtifactsReport {
        machine: MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned()),
        rounds,
        bytes: bytes as u64,
        redis: redis.map_or("not installed".to_owned(), |redis| redis.version.clone()),
        goal_fetch_over_tcp: GOAL,
        rows,
    };
    write_figures(&arguments.output, &report)
}

fn bars(row: &ArtifactRow) -> Vec<(String, f64)> {
    let bar = |name: &str, spread: &FigureSpread| (format!("{}, {name}", row.content), spread.median / 1e6);
    let mut bars = vec![bar("TCP", &row.tcp), bar("store", &row.store), bar("fetch", &row.fetch)];
    bars.extend(row.redis_set.iter().map(|spread| bar("Redis SET", spread)));
    bars.extend(row.redis_get.iter().map(|spread| bar("Redis GET", spread)));
    bars
}

fn row(content: &'static str, bytes: f64, rounds: &[ArtifactRound]) -> Result<ArtifactRow> {
    let of_redis = |figure: &dyn Fn(&ArtifactRound, RedisTimes) -> f64| {
        FigureSpread::of(rounds.iter().filter_map(|round| Some(figure(round, round.redis?))))
    };
    Ok(ArtifactRow {
        content,
        tcp: spread_of(rounds, |round| bytes / round.tcp)?,
        store: spread_of(rounds, |round| bytes / round.store)?,
        fetch: spread_of(rounds, |round| bytes / round.fetch)?,
        store_and_fetch: spread_of(rounds, |round| bytes / (round.store + round.fetch))?,
        redis_set: of_redis(&|_, redis| bytes / redis.set),
        redis_get: of_redis(&|_, redis| bytes / redis.get),
        redis_set_and_get: of_redis(&|_, redis| bytes / redis.both()),
        fetch_over_tcp: spread_of(rounds, |round| round.tcp / round.fetch)?,
        store_and_fetch_over_redis: of_redis(&|round, redis| redis.both() / (round.store + round.fetch)),
    })
}

fn print_table(rows: &[ArtifactRow]) {
    println!(
        "{:10} {:>9} {:>9} {:>9} {:>11} {:>13} {:>13} {:>10} {:>13}",
        "MB/s", "TCP", "store", "fetch", "store+fetch", "Redis SET", "Redis GET", "fetch/TCP", "ours/Redis"
    );
    for row in rows {
        let mb = |spread: &FigureSpread| format!("{:.0}", spread.median / 1e6);
        let of_redis = |spread: &Option<FigureSpread>| spread.as_ref().map_or("not installed".to_owned(), mb);
        let ratio = row.store_and_fetch_over_redis.map_or("-".to_owned(), |ratio| format!("{:.2}", ratio.median));
        println!(
            "{:10} {:>9} {:>9} {:>9} {:>11} {:>13} {:>13} {:>10.2} {:>13}",
            row.content,
            mb(&row.tcp),
            mb(&row.store),
            mb(&row.fetch),
            mb(&row.store_and_fetch),
            of_redis(&row.redis_set),
            of_redis(&row.redis_get),
            row.fetch_over_tcp.median,
            ratio,
        );
    }
}

/// Measures one round. `reversed` is the order of the three.
async fn measure(
    pool: &LoadPool,
    copy: SocketAddr,
    content: &[u8],
    redis: Option<&mut RedisProcess>,
    reversed: bool,
) -> Result<ArtifactRound> {
    let (tcp, own, redis) = if reversed {
        let redis = redis.map(|redis| redis_times(redis, content)).transpose()?;
        let own = store_and_fetch(pool, content).await?;
        (raw_copy(copy, content)?, own, redis)
    } else {
        let tcp = raw_copy(copy, content)?;
        let own = store_and_fetch(pool, content).await?;
        (tcp, own, redis.map(|redis| redis_times(redis, content)).transpose()?)
    };
    let (store, fetch) = own;
    Ok(ArtifactRound { tcp, store, fetch, redis })
}

/// Sends the content to the process of the worker, which reads it into memory and replies.
fn raw_copy(address: SocketAddr, content: &[u8]) -> Result<f64> {
    let mut stream = TcpStream::connect(address).context("cannot connect to the port for copies")?;
    let start = Instant::now();
    stream.write_all(&(content.len() as u64).to_le_bytes()).context("cannot send a copy")?;
    stream.write_all(content).context("cannot send a copy")?;
    stream.read_exact(&mut [0]).context("the copy did not arrive")?;
    Ok(start.elapsed().as_secs_f64())
}

fn redis_times(redis: &mut RedisProcess, content: &[u8]) -> Result<RedisTimes> {
    let start = Instant::now();
    redis.set(content)?;
    let (set, start) = (start.elapsed().as_secs_f64(), Instant::now());
    let found = redis.get()?;
    let get = start.elapsed().as_secs_f64();
    ensure!(found == content, "Redis returned other content");
    Ok(RedisTimes { set, get })
}

/// Returns the seconds for storing the content, and for a task that fetches it.
pub(super) async fn store_and_fetch(pool: &LoadPool, content: &[u8]) -> Result<(f64, f64)> {
    let checks = LoadChecks::new(&record(0, RESULT_BYTES));
    let (proof, events) = OpenProof::open(&pool.orchestrator, checks).await?;
    let recorder = EventRecorder::start(events);
    let handle = proof.handle.clone();
    for name in ["program", "common"] {
        let stored = handle.put(name, name.as_bytes().to_vec()).await;
        stored.map_err(|error| anyhow!("cannot store {name}: {error}"))?;
    }
    let copied = content.to_vec();
    let start = Instant::now();
    let stored = handle.put("record", copied).await;
    let store = start.elapsed().as_secs_f64();
    stored.map_err(|error| anyhow!("cannot store the artifact: {error}"))?;
    let task = ShardTask {
        program: "program".to_owned(),
        common_input: "common".to_owned(),
        record: "record".to_owned(),
        result: "result".to_owned(),
        marker: None,
    };
    let submitted = Instant::now();
    let task = handle.submit(TaskSpec { payload: TaskPayload::ProveShard(task), needed_bytes: 0, cycles: 0 }).await;
    ensure!(handle.watch(task).await == Ok(TaskOutcome::Succeeded), "the task that fetches the artifact failed");
    proof.close().await?;
    let times = recorder.end().await?;
    let started = times.get(&task).and_then(|attempt| attempt.started).context("the task has not started")?;
    Ok((store, started.saturating_duration_since(submitted).as_secs_f64()))
}
