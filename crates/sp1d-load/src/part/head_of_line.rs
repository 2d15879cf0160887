//! Measures whether a slow connection delays the others: the p99 of the time from assignment to start on the other
//! workers, beside a slow worker and without it. Shards come at a fixed rate below what the machine can carry.

use crate::{
    measure::{LoadDriver, LoadEnd, LoadTask, RESULT_BYTES},
    pool::{FleetProcess, LoadPool},
    proof::{EventRecorder, LoadChecks, OpenProof},
    report::{LatencySummary, spread_of},
};
use anyhow::Result;
use serde::Serialize;
use sp1d_figures::FigureSpread;
use sp1d_testing::record;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes that a slow worker reads in a second.
const SLOW_BYTES: u64 = 1_000_000;

/// Number of workers besides the slow one.
const OTHERS: u32 = 10;

/// Maximum delay of the others at p99, in milliseconds.
const GOAL_MS: f64 = 10.0;

/// What a slow connection costs the others. All times are in milliseconds, from assignment to start.
#[derive(Debug, Serialize)]
pub(super) struct HeadOfLineRow {
    record_bytes: usize,
    connections: u32,
    slow_bytes_per_second: u64,
    goal_ms: f64,
    without_p50_ms: FigureSpread,
    without_p99_ms: FigureSpread,
    beside_p50_ms: FigureSpread,
    beside_p99_ms: FigureSpread,
    /// How much later the p99 is beside the slow connection. Differences of each round.
    delay_p99_ms: FigureSpread,
}

impl fmt::Display for HeadOfLineRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a connection of {} MB/s beside {} others, from assignment to start there: p99 {:.1} ms, without it {:.1} ms, \
             difference {:.1} ms",
            self.slow_bytes_per_second / 1_000_000,
            self.connections,
            self.beside_p99_ms.median,
            self.without_p99_ms.median,
            self.delay_p99_ms,
        )
    }
}

struct SlowRound {
    without: LatencySummary,
    beside: LatencySummary,
}

/// Measures pools without and with a slow worker in alternation.
///
/// # Errors
/// Fails if a pool cannot be measured.
pub(super) async fn measure(quick: bool, rounds: u32, record: &Arc<Vec<u8>>) -> Result<HeadOfLineRow> {
    let time = if quick { Duration::from_millis(300) } else { Duration::from_secs(10) };
    // A rate that both pools can carry: a third of what the other workers do under full load.
    let full = shards_per_second(record, time / 2).await?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}: a slow connection", round + 1);
        let without = waits(false, record, full / 3.0, time).await?;
        let beside = waits(true, record, full / 3.0, time).await?;
        measured.push(SlowRound { without, beside });
    }
    Ok(HeadOfLineRow {
        record_bytes: record.len(),
        connections: OTHERS,
        slow_bytes_per_second: SLOW_BYTES,
        goal_ms: GOAL_MS,
        without_p50_ms: spread_of(&measured, |round| round.without.p50_ms)?,
        without_p99_ms: spread_of(&measured, |round| round.without.p99_ms)?,
        beside_p50_ms: spread_of(&measured, |round| round.beside.p50_ms)?,
        beside_p99_ms: spread_of(&measured, |round| round.beside.p99_ms)?,
        delay_p99_ms: spread_of(&measured, |round| round.beside.p99_ms - round.without.p99_ms)?,
    })
}

/// Starts the workers, with a slow one or without.
async fn pool(has_slow: bool) -> Result<LoadPool> {
    let result_bytes = || ("result-bytes", RESULT_BYTES.to_string());
    let mut fleets = vec![FleetProcess::start(OTHERS, &[result_bytes()])?];
    if has_slow {
        let (name, link) = (("name", "slow".to_owned()), ("link", String::new()));
        let speed = ("link-bytes-per-second", SLOW_BYTES.to_string());
        fleets.push(FleetProcess::start(1, &[result_bytes(), name, link, speed])?);
    }
    LoadPool::start(fleets, 20).await
}

async fn shards_per_second(content: &Arc<Vec<u8>>, time: Duration) -> Result<f64> {
    let pool = pool(false).await?;
    let checks = LoadChecks::new(&record(0, RESULT_BYTES));
    let (proof, events) = OpenProof::open(&pool.orchestrator, checks).await?;
    drop(events);
    let driver = LoadDriver::new(proof.handle.clone(), LoadTask::Shard(content.clone())).await?;
    let start = Instant::now();
    let done = driver.closed(2 * OTHERS as usize, LoadEnd::At(start + time)).await?;
    let per_second = done.len() as f64 / start.elapsed().as_secs_f64();
    proof.close().await?;
    pool.end().await;
    Ok(per_second)
}

/// Returns the times from assignment to start on all workers except the slow one.
async fn waits(has_slow: bool, content: &Arc<Vec<u8>>, per_second: f64, time: Duration) -> Result<LatencySummary> {
    let pool = pool(has_slow).await?;
    let checks = LoadChecks::new(&record(0, RESULT_BYTES));
    let (proof, events) = OpenProof::open(&pool.orchestrator, checks).await?;
    let recorder = EventRecorder::start(events);
    let driver = LoadDriver::new(proof.handle.clone(), LoadTask::Shard(content.clone())).await?;
    driver.paced(per_second, time).await?;
    drop(driver);
    proof.close().await?;
    let times = recorder.end().await?;
    pool.end().await;
    let others = times.values().filter(|attempt| !attempt.worker.starts_with("slow"));
    let wait = others.filter_map(|attempt| Some(attempt.started?.saturating_duration_since(attempt.assigned)));
    LatencySummary::of(wait.map(|wait| wait.as_secs_f64()).collect())
}
