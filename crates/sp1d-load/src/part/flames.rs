//! Keeps one load up, and records flame graphs of the orchestrator and of the workers meanwhile.

use crate::{
    measure::{FlameRecording, LoadDriver, LoadEnd, LoadTask},
    pool::LoadPool,
    proof::{LoadChecks, OpenProof},
};
use anyhow::{Context, Result};
use sp1d_testing::record;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Time of a recording.
const RECORDED: Duration = Duration::from_secs(20);

/// A load under which flame graphs are recorded.
pub(super) struct FlameLoad {
    /// The part of the bench, for the names of the files.
    pub(super) part: &'static str,
    pub(super) connections: u32,
    pub(super) result_bytes: usize,
    /// Tasks in progress at a time.
    pub(super) in_progress: usize,
    pub(super) task: LoadTask,
}

impl FlameLoad {
    /// Writes the graphs to `folder`. The copies that the bench itself makes of records are part of the orchestrator's.
    pub(super) async fn record(self, folder: &Path) -> Result<()> {
        let Self { part, connections, result_bytes, in_progress, task } = self;
        let pool = LoadPool::of(connections, result_bytes).await?;
        let workers = pool.fleets.first().context("the pool has no workers")?.id();
        let (proof, events) = OpenProof::open(&pool.orchestrator, LoadChecks::new(&record(0, result_bytes))).await?;
        drop(events);
        let warm_up = LoadDriver::new(proof.handle.clone(), LoadTask::Shared).await?;
        warm_up.closed(2 * connections as usize, LoadEnd::Tasks(4 * u64::from(connections))).await?;
        let driver = warm_up.with(task);
        eprintln!("recording {part} with {connections} connections for {} s", RECORDED.as_secs());
        let recording = FlameRecording::start(folder, part, workers, RECORDED)?;
        driver.closed(in_progress, LoadEnd::At(Instant::now() + RECORDED)).await?;
        // Before the processes end: perf fails if a process ends while it records.
        recording.finish()?;
        proof.close().await?;
        pool.end().await;
        Ok(())
    }
}
