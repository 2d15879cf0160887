//! Submits tasks to a running proof: as fast as they are done, or at a fixed rate.

use super::processor_time::thread_seconds;
use anyhow::{Result, anyhow, ensure};
use sp1d_model::TaskId;
use sp1d_orchestrator::{ProofHandle, TaskOutcome, TaskSpec};
use sp1d_protocol::{ShardTask, TaskPayload, WrapTask};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::interval};

/// What each task is.
#[derive(Debug, Clone)]
pub(crate) enum LoadTask {
    /// A task without an input of its own. All tasks share one input, which a worker fetches once.
    Shared,
    /// A shard with this record, which is compressed and sent for each task.
    Shard(Arc<Vec<u8>>),
}

/// When to submit no further task.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoadEnd {
    /// After this many tasks.
    Tasks(u64),
    /// At this time.
    At(Instant),
}

/// A task whose result was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DoneTask {
    pub(crate) task: TaskId,
    /// When the bench submitted it. At a fixed rate, when it was due: what delays the bench also delays a real client.
    pub(crate) submitted: Instant,
    /// Processor time for the copy of the record that the orchestrator compresses, in seconds.
    pub(crate) copy_seconds: f64,
}

/// Submits tasks to a running proof. Clones number their tasks together.
#[derive(Clone)]
pub(crate) struct LoadDriver {
    handle: ProofHandle,
    load: LoadTask,
    next: Arc<AtomicU64>,
}

/// Interval of the submissions at a fixed rate. Tasks of one interval are submitted together.
const PACE_INTERVAL: Duration = Duration::from_millis(1);

impl LoadDriver {
    /// Stores the inputs that all tasks share. The first tasks are of this `load`.
    ///
    /// # Errors
    /// Fails if the store has no room.
    pub(crate) async fn new(handle: ProofHandle, load: LoadTask) -> Result<Self> {
        for name in ["program", "common", "input"] {
            put(&handle, name, name.as_bytes().to_vec()).await?;
        }
        Ok(Self { handle, load, next: Arc::default() })
    }

    /// Returns the same driver, for tasks of another load.
    pub(crate) fn with(&self, load: LoadTask) -> Self {
        Self { load, ..self.clone() }
    }

    /// Submits tasks in `lanes`: each lane submits its next task when the one before it is done.
    ///
    /// # Errors
    /// Fails if a task fails.
    pub(crate) async fn closed(&self, lanes: usize, end: LoadEnd) -> Result<Vec<DoneTask>> {
        let started = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..lanes {
            let (driver, started) = (self.clone(), started.clone());
            running.spawn(async move {
                let mut done = Vec::new();
                let is_over = || match end {
                    LoadEnd::Tasks(count) => started.fetch_add(1, Ordering::Relaxed) >= count,
                    LoadEnd::At(at) => Instant::now() >= at,
                };
                while !is_over() {
                    done.push(driver.run_task(None).await?);
                }
                anyhow::Ok(done)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = running.join_next().await {
            all.extend(done??);
        }
        Ok(all)
    }

    /// Submits tasks at a fixed rate for some time, whether or not the tasks before them are done. Then waits until
    /// all are done.
    ///
    /// # Errors
    /// Fails if a task fails.
    pub(crate) async fn paced(&self, per_second: f64, time: Duration) -> Result<Vec<DoneTask>> {
        let (start, mut ticks, mut submitted, mut running) =
            (Instant::now(), interval(PACE_INTERVAL), 0, JoinSet::new());
        loop {
            ticks.tick().await;
            let elapsed = start.elapsed().min(time);
            // At least one task, also at a low rate.
            let due = ((elapsed.as_secs_f64() * per_second) as u64).max(1);
            for number in submitted..due {
                let driver = self.clone();
                let due = start + Duration::from_secs_f64(number as f64 / per_second);
                running.spawn(async move { driver.run_task(Some(due)).await });
            }
            submitted = submitted.max(due);
            if elapsed == time {
                break;
            }
        }
        let mut all = Vec::new();
        while let Some(done) = running.join_next().await {
            all.push(done??);
        }
        Ok(all)
    }

    /// Runs a task that was `due` at some time, or is due when it is submitted.
    async fn run_task(&self, due: Option<Instant>) -> Result<DoneTask> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let result = format!("result-{number}");
        let mut copy_seconds = 0.0;
        let payload = match &self.load {
            LoadTask::Shared => TaskPayload::ShrinkWrap(WrapTask { proof: "input".to_owned(), result: result.clone() }),
            LoadTask::Shard(record) => {
                let (name, start) = (format!("record-{number}"), thread_seconds());
                let content = record.as_ref().clone();
                copy_seconds = thread_seconds() - start;
                put(&self.handle, &name, content).await?;
                TaskPayload::ProveShard(ShardTask {
                    program: "program".to_owned(),
                    common_input: "common".to_owned(),
                    record: name,
                    result: result.clone(),
                    marker: None,
                })
            }
        };
        let submitted = due.unwrap_or_else(Instant::now);
        let task = self.handle.submit(TaskSpec { payload, needed_bytes: 0, cycles: 0 }).await;
        let outcome = self.handle.watch(task).await;
        ensure!(outcome == Ok(TaskOutcome::Succeeded), "the task {task} failed");
        self.handle.remove(&result);
        Ok(DoneTask { task, submitted, copy_seconds })
    }
}

async fn put(handle: &ProofHandle, name: &str, content: Vec<u8>) -> Result<()> {
    handle.put(name, content).await.map_err(|error| anyhow!("cannot store {name}: {error}"))
}
