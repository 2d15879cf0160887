//! Implements SP1's artifact and task services on the orchestrator, for one proof.
//!
//! While a program executes, SP1 drops the errors of these methods, and the proof would fail only after everything else
//! was proven. So `upload_raw` and `submit_task`, which can fail because of this machine or of the program, fail the
//! proof themselves, at once and with the cause. The other methods only return their errors: an artifact or a task of
//! the proof that they do not find is a defect, and SP1's controller cannot continue without it. A spilled artifact
//! that cannot be read back also fails the proof at once.

use super::{
    cut::shard_kind,
    marker_sequencer::MarkerSequencer,
    proof_context::ProofContext,
    shards_in_flight::{MIN_SHARDS_IN_FLIGHT, max_in_flight},
};
use crate::{
    memory::{task_bytes, too_small_for},
    names::{task_from_text, task_to_sp1},
    task_lists::{TaskListError, task_payload},
    unread_input::UnreadInput,
    verify::{ClockRange, Expectations},
};
use anyhow::{Context, Result};
use sp1_prover::worker::{ProofId, RawTaskRequest, SubscriberBuilder, TaskId, TaskMetadata, WorkerClient};
use sp1_prover_types::{
    Artifact, ArtifactClient, ArtifactId, ArtifactType, ProofRequestStatus, ShardPermit, TaskStatus, TaskType,
};
use sp1d_artifacts::StoreError;
use sp1d_model::TaskKind;
use sp1d_orchestrator::{ProofFailure, ProofHandle, ProofMode, TaskOutcome, TaskSpec};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Implements both services, artifacts and tasks. Cheap to clone.
#[derive(Clone)]
pub(super) struct ProofClient(Arc<ProofClientState>);

/// Starts SP1's task of executing the program, and returns the id of the task. The client does not call the execution
/// directly, because the execution needs the client.
pub(super) type StartExecution = fn(&ProofClient, RawTaskRequest) -> sp1d_model::TaskId;

struct ProofClientState {
    proof: ProofHandle,
    context: Arc<ProofContext>,
    start_execution: StartExecution,
    next_artifact: AtomicU64,
    shards: Arc<Semaphore>,
    /// The number of permits of `shards`, which grows with the number of provers. Locked while a caller waits for room,
    /// so that callers are served in order.
    max_in_flight: tokio::sync::Mutex<usize>,
    /// Receives every record that is uploaded: a record determines which shard its proof must prove.
    expected: Arc<Expectations>,
    /// Number of core shards submitted so far. The supervision of the execution takes a growing number as progress.
    /// Other shards do not count: SP1 makes precompile shards of the deferred events, which may arrive at any time.
    core_shards: Arc<AtomicU64>,
    /// Number of input values that the core shards submitted so far read.
    input_reads: AtomicU64,
    /// Done once the input that the program has not read was reported.
    unread_reported: Once,
    /// Clock ranges of the shards whose markers are released in order, by marker.
    clocks: Mutex<HashMap<sp1d_model::TaskId, ClockRange>>,
}

impl ProofClient {
    pub(super) fn new(
        proof: ProofHandle,
        context: Arc<ProofContext>,
        expected: Arc<Expectations>,
        start_execution: StartExecution,
    ) -> Self {
        Self(Arc::new(ProofClientState {
            proof,
            context,
            start_execution,
            next_artifact: AtomicU64::new(0),
            shards: Arc::new(Semaphore::new(MIN_SHARDS_IN_FLIGHT)),
            max_in_flight: tokio::sync::Mutex::new(MIN_SHARDS_IN_FLIGHT),
            expected,
            core_shards: Arc::default(),
            input_reads: AtomicU64::new(0),
            unread_reported: Once::new(),
            clocks: Mutex::default(),
        }))
    }

    pub(super) fn proof(&self) -> &ProofHandle {
        &self.0.proof
    }

    pub(super) fn context(&self) -> &Arc<ProofContext> {
        &self.0.context
    }

    pub(super) fn core_shards(&self) -> Arc<AtomicU64> {
        self.0.core_shards.clone()
    }

    /// Returns the input values that the program did not read. The result is final once all core shards have been
    /// submitted.
    pub(super) fn unread_input(&self) -> Option<UnreadInput> {
        UnreadInput::after(self.0.input_reads.load(Ordering::Relaxed), self.0.context.input_values)
    }

    fn spec(&self, kind: TaskKind, task: RawTaskRequest) -> Result<TaskSpec, TaskListError> {
        let names = |list: Vec<Artifact>| -> Vec<String> { list.into_iter().map(|artifact| artifact.0).collect() };
        let payload = task_payload(kind, &names(task.inputs), &names(task.outputs), task_from_text)?;
        let record = payload.shard().map(|shard| shard.record.as_str());
        let needed_bytes = task_bytes(kind, record.and_then(|name| self.0.expected.cells(name)));
        let cycles = record.and_then(|name| self.0.expected.cycles(name)).unwrap_or(0);
        Ok(TaskSpec { payload, needed_bytes, cycles })
    }

    /// Returns the number of provers that can prove this proof's shards.
    fn shard_provers(&self) -> usize {
        let workers = self.0.proof.shard_workers(shard_kind(self.0.context.mode));
        workers.iter().map(|worker| worker.provers as usize).sum()
    }

    /// Resolves when at most the shard of this caller is in flight. If the store is full at that point, only continuing
    /// the execution can free it.
    async fn no_other_shard_in_flight(&self, max_in_flight: usize) {
        while self.0.shards.available_permits() + 1 < max_in_flight {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Records the clock range of the shard in `spec`, before its marker can complete.
    fn record_clock_of_marker(&self, spec: &TaskSpec) {
        if let Some(shard) = spec.payload.shard()
            && let Some(marker) = &shard.marker
            && let Some(clock) = self.0.expected.clock(&shard.record)
        {
            self.clocks().insert(marker.task, clock);
        }
    }

    fn clocks(&self) -> MutexGuard<'_, HashMap<sp1d_model::TaskId, ClockRange>> {
        self.0.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that at least one worker has enough memory for the shard. If small workers are excluded, the scheduler
    /// checks that instead, because it waits for a large worker that has left for a moment.
    fn check_memory(&self, spec: &TaskSpec) -> Result<(), ProofFailure> {
        if !spec.kind().is_shard() || self.0.context.options.excludes_small_workers() {
            return Ok(());
        }
        let (threshold, workers) = (self.0.context.options.threshold(), self.0.proof.shard_workers(spec.kind()));
        match too_small_for(spec.needed_bytes, threshold, &workers) {
            None => Ok(()),
            Some(bytes) => Err(ProofFailure::ShardTooLarge(format!(
                "a shard of this run takes about {:.1} GB of memory with {}, and the largest worker has {:.1} GB for \
                 it{}",
                spec.needed_bytes as f64 / 1e9,
                self.0.context.options.threshold_setting(),
                bytes as f64 / 1e9,
                self.0.context.smaller_cut_hint(bytes),
            ))),
        }
    }

    /// Carries out SP1's setup task. The verifying key is known already.
    fn set_up(&self, task: RawTaskRequest) -> sp1d_model::TaskId {
        let context = &self.0.context;
        let id = self.0.proof.open_local_task();
        let (client, key) = (self.clone(), context.key.clone());
        context.background.spawn(async move {
            let outcome = match task.outputs.as_slice() {
                [output] if client.upload(output, key).await.is_ok() => TaskOutcome::Succeeded,
                _ => TaskOutcome::Failed,
            };
            client.proof().task_outcomes().end(id, outcome);
        });
        id
    }

    /// Submits a task for a worker. Fails the proof instead if the program failed, if no worker has enough memory, or
    /// if the task does not have the form of its kind.
    async fn submit(&self, kind: TaskKind, task: RawTaskRequest) -> TaskId {
        let spec = match self.spec(kind, task) {
            Ok(spec) => spec,
            Err(error) => {
                self.0.proof.fail(ProofFailure::Internal(error.to_string()));
                return task_to_sp1(self.0.proof.open_local_task());
            }
        };
        if let Some(shard) = spec.payload.shard() {
            if let Some(reads) = self.0.expected.input_reads(&shard.record) {
                self.0.core_shards.fetch_add(1, Ordering::Relaxed);
                self.0.input_reads.fetch_add(reads, Ordering::Relaxed);
            }
            if let Some(code) = self.0.expected.exit_code(&shard.record) {
                if !self.0.context.accepts(code) {
                    self.0.context.fail_program(code);
                    // This task is never given to a worker: the proof must not finish before it is failed.
                    return task_to_sp1(self.0.proof.open_local_task());
                }
                // SP1 submits the shards of memory, which have the code, after all core shards.
                self.0.unread_reported.call_once(|| {
                    if let Some(unread) = self.unread_input() {
                        unread.warn(Some(self.0.proof.label()));
                    }
                });
            }
        }
        if let Err(failure) = self.check_memory(&spec) {
            self.0.proof.fail(failure);
            return task_to_sp1(self.0.proof.open_local_task());
        }
        if self.0.proof.caches_results() {
            self.record_clock_of_marker(&spec);
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
                    ProofFailure::Machine(error.to_string())
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
        let mut max = self.0.max_in_flight.lock().await;
        if self.0.shards.available_permits() == 0 {
            let grown = max_in_flight(self.shard_provers()).max(*max);
            self.0.shards.add_permits(grown - *max);
            *max = grown;
        }
        let permit = self.0.shards.clone().acquire_owned().await.expect("the semaphore is never closed");
        tokio::select! {
            () = self.0.proof.wait_for_room() => {}
            () = self.no_other_shard_in_flight(*max) => {}
            () = self.0.proof.stopped().cancelled() => {}
        }
        ShardPermit::new(permit)
    }
}

impl WorkerClient for ProofClient {
    async fn submit_task(&self, kind: TaskType, task: RawTaskRequest) -> Result<TaskId> {
        let worker_kind = match kind {
            TaskType::ProveShard if self.0.context.mode == ProofMode::Core => TaskKind::ProveShard,
            TaskType::ProveShard => TaskKind::NormalizeShard,
            TaskType::RecursionReduce => TaskKind::RecursionReduce,
            TaskType::RecursionDeferred => TaskKind::RecursionDeferred,
            TaskType::ShrinkWrap => TaskKind::ShrinkWrap,
            TaskType::PlonkWrap => TaskKind::PlonkWrap,
            TaskType::Groth16Wrap => TaskKind::Groth16Wrap,
            TaskType::MarkerDeferredRecord => return Ok(task_to_sp1(self.0.proof.submit_marker().await)),
            TaskType::SetupVkey => return Ok(task_to_sp1(self.set_up(task))),
            TaskType::CoreExecute => return Ok(task_to_sp1((self.0.start_execution)(self, task))),
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
            self.0.proof.task_outcomes().end(task, TaskOutcome::Succeeded);
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
        let (subscribe, subscriptions) = mpsc::unbounded_channel::<TaskId>();
        let (notices, received_notices) = mpsc::unbounded_channel();
        let client = self.clone();
        tokio::spawn(async move {
            let task = |id: &TaskId| task_from_text(&id.to_string());
            // Report final statuses only: SP1 ends the proof if it sees any other status.
            let notify = |id, status| notices.send((id, status)).is_ok();
            let sequencer = Mutex::new(MarkerSequencer::default());
            let sequencer = || sequencer.lock().unwrap_or_else(PoisonError::into_inner);
            let clock = |id: &TaskId| client.clocks().get(&task(id)?).copied();
            let on_end = |id: TaskId, outcome| match (outcome, clock(&id)) {
                (TaskOutcome::Failed, _) => notify(id, TaskStatus::FailedFatal),
                (TaskOutcome::Succeeded, None) => notify(id, TaskStatus::Succeeded),
                (TaskOutcome::Succeeded, Some(clock)) => {
                    let released = sequencer().complete(clock, id);
                    released.into_iter().all(|id| notify(id, TaskStatus::Succeeded))
                }
            };
            client.proof().task_outcomes().notify_all(subscriptions, task, on_end).await;
            let released = sequencer().release_all();
            released.into_iter().all(|id| notify(id, TaskStatus::Succeeded));
        });
        Ok(SubscriberBuilder::new(self.clone(), subscribe, received_notices))
    }

    async fn subscribe_task_messages(&self, task_id: &TaskId) -> Result<mpsc::UnboundedReceiver<Vec<u8>>> {
        let task =
            task_from_text(&task_id.to_string()).with_context(|| format!("{task_id} is not a task of this proof"))?;
        self.0
            .proof
            .take_receiver(task)
            .with_context(|| format!("the messages of task {task_id} already have a reader"))
    }

    async fn send_task_message(&self, task_id: &TaskId, payload: Vec<u8>) -> Result<()> {
        if let Some(task) = task_from_text(&task_id.to_string()) {
            // Returns false if the proof is over. The message is not needed then.
            self.0.proof.task_outcomes().send(task, payload);
        }
        Ok(())
    }
}
