//! Implements SP1's artifact and task services on the orchestrator, for one proof.
//!
//! While a program executes, no method here returns an error. SP1 would drop the error, and the proof would fail only
//! after everything else was proven. Instead, a failure fails the proof at once, with its cause.

use crate::{
    check::Expectations,
    controller::LocalTasks,
    marker_order::{Clock, MarkerOrder},
    memory::task_bytes,
    names::{task_from_text, task_to_sp1},
};
use anyhow::{Context, Result};
use artifacts::StoreError;
use orchestrator::{Outcome, ProofFailure, ProofHandle, ProofMode, TaskInput, TaskSpec};
use scheduler::TaskKind;
use sp1_prover::worker::{ProofId, RawTaskRequest, SubscriberBuilder, TaskId, TaskMetadata, WorkerClient};
use sp1_prover_types::{
    Artifact, ArtifactClient, ArtifactId, ArtifactType, ProofRequestStatus, ShardPermit, TaskStatus, TaskType,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Shards that may be in flight at the same time. Beyond that the executor waits. The number is high enough to keep
/// hundreds of workers busy, and low enough that the records (5 to 16 MB each, compressed) do not fill the memory.
const SHARDS_IN_FLIGHT: usize = 128;

/// Implements both services, artifacts and tasks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ProofClient(Arc<Inner>);

struct Inner {
    proof: ProofHandle,
    local: LocalTasks,
    next_artifact: AtomicU64,
    shards: Arc<Semaphore>,
    /// Held while waiting for room, so that waiters are served in order.
    turn: tokio::sync::Mutex<()>,
    /// Receives every record that is uploaded: a record determines which shard its proof must be of.
    expected: Arc<Expectations>,
    /// Number of core shards submitted so far. The supervision of the execution takes a growing number as progress.
    /// Other shards do not count: SP1 makes precompile shards of the workers' events, which may arrive at any time.
    pieces: Arc<AtomicU64>,
    /// Clock ranges of the shards whose markers are released in order, by marker.
    clocks: Mutex<HashMap<scheduler::TaskId, Clock>>,
}

impl ProofClient {
    pub(crate) fn new(proof: ProofHandle, local: LocalTasks, expected: Arc<Expectations>) -> Self {
        Self(Arc::new(Inner {
            proof,
            local,
            next_artifact: AtomicU64::new(0),
            shards: Arc::new(Semaphore::new(SHARDS_IN_FLIGHT)),
            turn: tokio::sync::Mutex::default(),
            expected,
            pieces: Arc::default(),
            clocks: Mutex::default(),
        }))
    }

    pub(crate) fn proof(&self) -> &ProofHandle {
        &self.0.proof
    }

    pub(crate) fn pieces(&self) -> Arc<AtomicU64> {
        self.0.pieces.clone()
    }

    fn spec(&self, kind: TaskKind, task: RawTaskRequest) -> TaskSpec {
        let artifact = |shared: bool, artifact: Artifact| TaskInput::Artifact { name: artifact.0, shared };
        let literal = |artifact: Artifact| TaskInput::Literal(artifact.0);
        let mut marker = None;
        let inputs = task.inputs.into_iter();
        let inputs: Vec<TaskInput> = match kind {
            // Inputs: program, common input, record, marker.
            TaskKind::ProveShard | TaskKind::NormalizeShard => inputs
                .enumerate()
                .map(|(at, input)| match at {
                    0 | 1 => artifact(true, input),
                    2 => artifact(false, input),
                    _ => {
                        marker = task_from_text(&input.0);
                        literal(input)
                    }
                })
                .collect(),
            // Inputs: whether this is the last reduction, the whole range, then for each part its range and its proof.
            TaskKind::RecursionReduce => inputs
                .enumerate()
                .map(|(at, input)| if at >= 3 && at % 2 == 1 { artifact(false, input) } else { literal(input) })
                .collect(),
            // Inputs: common input, deferred data.
            TaskKind::RecursionDeferred => inputs.enumerate().map(|(at, input)| artifact(at == 0, input)).collect(),
            // Input: the proof to continue from. It is shared because SP1's controller deletes it.
            TaskKind::ShrinkWrap | TaskKind::PlonkWrap | TaskKind::Groth16Wrap => {
                inputs.map(|input| artifact(true, input)).collect()
            }
        };
        let outputs = task.outputs.into_iter().map(|output| output.0).collect();
        let record = match inputs.get(2) {
            Some(TaskInput::Artifact { name, .. }) if kind.is_shard() => Some(name),
            _ => None,
        };
        let memory_bytes = task_bytes(kind, record.and_then(|name| self.0.expected.cells(name)));
        let cycles = record.and_then(|name| self.0.expected.cycles(name)).unwrap_or(0);
        TaskSpec { kind, inputs, outputs, marker, memory_bytes, cycles }
    }

    /// Resolves when no shard but the next one is in flight. If the store is full at that point, only continuing the
    /// execution can free it.
    async fn nothing_on_its_way(&self) {
        while self.0.shards.available_permits() + 1 < SHARDS_IN_FLIGHT {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Records the clock range of the shard in `spec`, before its marker can complete.
    fn place_marker(&self, spec: &TaskSpec) {
        if let (Some(marker), Some(TaskInput::Artifact { name, .. })) = (spec.marker, spec.inputs.get(2))
            && let Some(clock) = self.0.expected.clock(name)
        {
            self.clocks().insert(marker, clock);
        }
    }

    fn clocks(&self) -> MutexGuard<'_, HashMap<scheduler::TaskId, Clock>> {
        self.0.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that at least one worker has enough memory for the shard.
    fn check_memory(&self, spec: &TaskSpec) -> Result<(), ProofFailure> {
        if !spec.kind.is_shard() {
            return Ok(());
        }
        let workers = self.0.proof.attempt_memory(spec.kind);
        let largest = workers.iter().map(|memory| memory.map_or(u64::MAX, |memory| memory.alone_bytes)).max();
        // The estimate may be a third too high, so accept three quarters of it.
        match largest.filter(|bytes| *bytes < spec.memory_bytes / 4 * 3) {
            None => Ok(()),
            Some(bytes) => Err(ProofFailure::Memory(format!(
                "a shard of this run takes about {:.1} GB of memory with {}, and the largest worker has {:.1} GB for \
                 it{}",
                spec.memory_bytes as f64 / 1e9,
                self.0.local.options().threshold_name(),
                bytes as f64 / 1e9,
                self.0.local.fitting_cut(bytes),
            ))),
        }
    }

    /// Submits a task for a worker. Fails the proof instead if the program failed or no worker has enough memory.
    async fn submit(&self, kind: TaskKind, task: RawTaskRequest) -> TaskId {
        if kind.is_shard() {
            let record = task.inputs.get(2).map(|record| record.0.as_str()).unwrap_or_default();
            // Only a core shard has a place on the program's clock.
            if self.0.expected.clock(record).is_some() {
                self.0.pieces.fetch_add(1, Ordering::Relaxed);
            }
            let code = self.0.expected.exit_code(record);
            if let Some(code) = code.filter(|code| !self.0.local.accepts(*code)) {
                self.0.local.program_failed(code);
                // This task is never given to a worker: the proof must not finish before it is failed.
                return task_to_sp1(self.0.proof.open_local_task());
            }
        }
        let spec = self.spec(kind, task);
        if let Err(failure) = self.check_memory(&spec) {
            self.0.proof.fail(failure);
            return task_to_sp1(self.0.proof.open_local_task());
        }
        if self.0.proof.is_remembered() {
            self.place_marker(&spec);
        }
        task_to_sp1(self.0.proof.submit(spec).await)
    }
}

impl ArtifactClient for ProofClient {
    async fn upload_raw(&self, artifact: &impl ArtifactId, _: ArtifactType, data: Vec<u8>) -> Result<()> {
        self.0.expected.note(artifact.id(), &data);
        if let Err(error) = self.0.proof.put(artifact.id(), data).await {
            self.0.proof.fail(match error {
                StoreError::Exists(_) => ProofFailure::Internal(error.to_string()),
                StoreError::Full { .. } | StoreError::Folder { .. } | StoreError::Unreadable { .. } => {
                    ProofFailure::Host(error.to_string())
                }
            });
        }
        Ok(())
    }

    async fn download_raw(&self, artifact: &impl ArtifactId, _: ArtifactType) -> Result<Vec<u8>> {
        self.0.proof.get(artifact.id()).await.with_context(|| format!("artifact {} does not exist", artifact.id()))
    }

    async fn exists(&self, artifact: &impl ArtifactId, _: ArtifactType) -> Result<bool> {
        Ok(self.0.proof.exists(artifact.id()))
    }

    async fn delete(&self, artifact: &impl ArtifactId, _: ArtifactType) -> Result<()> {
        self.0.proof.remove(artifact.id());
        Ok(())
    }

    async fn delete_batch(&self, artifacts: &[impl ArtifactId], _: ArtifactType) -> Result<()> {
        artifacts.iter().for_each(|artifact| self.0.proof.remove(artifact.id()));
        Ok(())
    }

    fn create_artifact(&self) -> Result<Artifact> {
        Ok(Artifact(format!("x{}", self.0.next_artifact.fetch_add(1, Ordering::Relaxed))))
    }

    fn create_artifacts(&self, count: usize) -> Result<sp1_prover_types::ArtifactBatch> {
        Ok((0..count).map(|_| self.create_artifact()).collect::<Result<Vec<_>>>()?.into())
    }

    async fn acquire_shard_permit(&self, _: &impl ArtifactId) -> ShardPermit {
        // Callers wait for room one at a time, in order.
        let _turn = self.0.turn.lock().await;
        let permit = self.0.shards.clone().acquire_owned().await.expect("the semaphore is never closed");
        tokio::select! {
            () = self.0.proof.wait_for_room() => {}
            () = self.nothing_on_its_way() => {}
            () = self.0.proof.over().cancelled() => {}
        }
        ShardPermit::new(permit)
    }
}

impl WorkerClient for ProofClient {
    async fn submit_task(&self, kind: TaskType, task: RawTaskRequest) -> Result<TaskId> {
        let worker_kind = match kind {
            TaskType::ProveShard if self.0.local.mode() == ProofMode::Core => TaskKind::ProveShard,
            TaskType::ProveShard => TaskKind::NormalizeShard,
            TaskType::RecursionReduce => TaskKind::RecursionReduce,
            TaskType::RecursionDeferred => TaskKind::RecursionDeferred,
            TaskType::ShrinkWrap => TaskKind::ShrinkWrap,
            TaskType::PlonkWrap => TaskKind::PlonkWrap,
            TaskType::Groth16Wrap => TaskKind::Groth16Wrap,
            TaskType::MarkerDeferredRecord => return Ok(task_to_sp1(self.0.proof.submit_marker().await)),
            TaskType::SetupVkey => return Ok(task_to_sp1(self.0.local.setup(self, task))),
            TaskType::CoreExecute => return Ok(task_to_sp1(self.0.local.execute(self, task))),
            other => {
                let text = format!("SP1 submitted a task of kind {other:?}, which no worker supports");
                self.0.proof.fail(ProofFailure::Internal(text.clone()));
                anyhow::bail!(text);
            }
        };
        Ok(self.submit(worker_kind, task).await)
    }

    async fn complete_task(&self, _: ProofId, task_id: TaskId, _: TaskMetadata) -> Result<()> {
        if let Some(task) = task_from_text(&task_id.to_string()) {
            self.0.proof.board().end(task, Outcome::Succeeded);
        }
        Ok(())
    }

    async fn complete_proof(
        &self,
        _: ProofId,
        _: Option<TaskId>,
        _: ProofRequestStatus,
        _: impl Into<String> + Send,
    ) -> Result<()> {
        Ok(())
    }

    async fn subscriber(&self, _: ProofId) -> Result<SubscriberBuilder<Self>> {
        let (asks, asked) = mpsc::unbounded_channel::<TaskId>();
        let (answers, answered) = mpsc::unbounded_channel();
        let client = self.clone();
        tokio::spawn(async move {
            let task = |id: &TaskId| task_from_text(&id.to_string());
            // Report final statuses only: SP1 ends the proof if it sees any other status.
            let tell = |id, status| answers.send((id, status)).is_ok();
            let order = Mutex::new(MarkerOrder::default());
            let in_order = || order.lock().unwrap_or_else(PoisonError::into_inner);
            let clock = |id: &TaskId| client.clocks().get(&task(id)?).copied();
            let answer = |id: TaskId, outcome| match (outcome, clock(&id)) {
                (Outcome::Failed, _) => tell(id, TaskStatus::FailedFatal),
                (Outcome::Succeeded, None) => tell(id, TaskStatus::Succeeded),
                (Outcome::Succeeded, Some(clock)) => {
                    let now = in_order().complete(clock, id);
                    now.into_iter().all(|id| tell(id, TaskStatus::Succeeded))
                }
            };
            client.proof().board().answer_all(asked, task, answer).await;
            let rest = in_order().rest();
            rest.into_iter().all(|id| tell(id, TaskStatus::Succeeded));
        });
        Ok(SubscriberBuilder::new(self.clone(), asks, answered))
    }

    async fn subscribe_task_messages(&self, task_id: &TaskId) -> Result<mpsc::UnboundedReceiver<Vec<u8>>> {
        let task =
            task_from_text(&task_id.to_string()).with_context(|| format!("{task_id} is not a task of this proof"))?;
        self.0.proof.receive(task).with_context(|| format!("the messages of task {task_id} already have a reader"))
    }

    async fn send_task_message(&self, task_id: &TaskId, payload: Vec<u8>) -> Result<()> {
        if let Some(task) = task_from_text(&task_id.to_string()) {
            // Returns false if the proof is over. The message is not needed then.
            self.0.proof.board().send(task, payload);
        }
        Ok(())
    }
}
