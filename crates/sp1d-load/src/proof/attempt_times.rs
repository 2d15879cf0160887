//! When the attempts of a proof were assigned and started.

use anyhow::{Context, Result, bail};
use sp1d_model::TaskId;
use sp1d_orchestrator::{AttemptInfo, ProofEvent};
use std::{collections::HashMap, time::Instant};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

/// The times of the first attempt of a task, as the orchestrator heard of them.
#[derive(Debug, Clone)]
pub(crate) struct AttemptTimes {
    /// Name of the worker.
    pub(crate) worker: String,
    pub(crate) assigned: Instant,
    /// When the worker started the attempt, with all inputs. `None` if it did not start it.
    pub(crate) started: Option<Instant>,
}

/// Records the times of a proof's attempts until the proof ends.
pub(crate) struct EventRecorder(JoinHandle<Result<HashMap<TaskId, AttemptTimes>>>);

impl EventRecorder {
    pub(crate) fn start(events: Receiver<ProofEvent>) -> Self {
        Self(tokio::spawn(record_all(events)))
    }

    /// Waits for the end of the proof. Returns the times by task.
    ///
    /// # Errors
    /// Fails if events were lost, because the recorder was too slow.
    pub(crate) async fn end(self) -> Result<HashMap<TaskId, AttemptTimes>> {
        self.0.await.context("the recorder of events panicked")?
    }
}

async fn record_all(mut events: Receiver<ProofEvent>) -> Result<HashMap<TaskId, AttemptTimes>> {
    let mut times: HashMap<TaskId, AttemptTimes> = HashMap::new();
    loop {
        match events.recv().await {
            Ok(ProofEvent::Assigned(AttemptInfo { task, worker, .. })) => {
                times.entry(task).or_insert(AttemptTimes { worker, assigned: Instant::now(), started: None });
            }
            Ok(ProofEvent::Proving(AttemptInfo { task, worker, .. })) => {
                if let Some(known) = times.get_mut(&task).filter(|known| known.worker == worker) {
                    known.started.get_or_insert_with(Instant::now);
                }
            }
            Ok(_) => {}
            Err(RecvError::Closed) => return Ok(times),
            Err(RecvError::Lagged(count)) => bail!("{count} events of the proof were lost: the recorder is too slow"),
        }
    }
}
