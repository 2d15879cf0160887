//! Implements SP1's artifact and task services on a worker.

use crate::names::{made, maker, unscoped};
use anyhow::{Context, Result, bail};
use sp1_prover::worker::{ProofId, RawTaskRequest, SubscriberBuilder, TaskId, TaskMetadata, WorkerClient};
use sp1_prover_types::{
    Artifact, ArtifactBatch, ArtifactClient, ArtifactId, ArtifactType, ProofRequestStatus, TaskType,
};
use sp1d_model::AttemptId;
use sp1d_worker::{AttemptIo, IoError};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

/// The attempts that are running in the engine.
#[derive(Default)]
pub(super) struct EngineAttempts {
    running: Mutex<HashMap<AttemptId, Arc<EngineAttempt>>>,
    next_made: AtomicU64,
}

struct EngineAttempt {
    io: Arc<dyn AttemptIo>,
    /// First artifact transfer that failed. SP1 passes errors on as text only, so the original is kept here.
    error: Mutex<Option<IoError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers an attempt as running in the engine. Dropping it removes the attempt.
pub(super) struct EngineAttemptGuard {
    attempts: Arc<EngineAttempts>,
    attempt: AttemptId,
    place: PlaceAttempt,
}

impl EngineAttemptGuard {
    pub(super) fn new(
        attempts: Arc<EngineAttempts>,
        place: PlaceAttempt,
        attempt: AttemptId,
        io: Arc<dyn AttemptIo>,
    ) -> Self {
        lock(&attempts.running).insert(attempt, Arc::new(EngineAttempt { io, error: Mutex::default() }));
        *lock(&place.0) = Some(attempt);
        Self { attempts, attempt, place }
    }

    /// Takes the error of the artifact transfer that failed, if one did. It is the cause of the attempt's failure.
    pub(super) fn io_error(&self) -> Option<IoError> {
        let entry = lock(&self.attempts.running).get(&self.attempt).cloned()?;
        lock(&entry.error).take()
    }
}

impl Drop for EngineAttemptGuard {
    fn drop(&mut self) {
        lock(&self.attempts.running).remove(&self.attempt);
        let mut current = lock(&self.place.0);
        if *current == Some(self.attempt) {
            *current = None;
        }
    }
}

/// The attempt that a core prover currently works for. It is needed for artifact names that do not name their attempt.
#[derive(Clone, Default)]
pub(super) struct PlaceAttempt(Arc<Mutex<Option<AttemptId>>>);

/// Implements both services, artifacts and tasks. Each core prover has a client with its own place. The recursion
/// prover, which all attempts share, has a client whose place is always empty.
#[derive(Clone)]
pub(super) struct AttemptClient {
    pub(super) attempts: Arc<EngineAttempts>,
    pub(super) place: PlaceAttempt,
}

impl AttemptClient {
    /// Returns the attempt to which the artifact `text` belongs, and the artifact's plain name. An artifact that an
    /// attempt created is uploaded on behalf of that attempt, but other attempts may download it.
    fn owner(&self, text: &str, upload: bool) -> Result<(Arc<EngineAttempt>, String)> {
        let (attempt, name) = match unscoped(text) {
            Some((attempt, name)) => (Some(attempt), name),
            None if upload => (maker(text), text),
            None => (*lock(&self.place.0), text),
        };
        let attempt = attempt.with_context(|| format!("artifact {text} does not belong to an attempt"))?;
        let entry = lock(&self.attempts.running).get(&attempt).cloned();
        Ok((entry.with_context(|| format!("attempt {attempt} has already ended"))?, name.to_owned()))
    }
}

fn remember<T>(entry: &EngineAttempt, outcome: Result<T, IoError>) -> Result<T> {
    outcome.map_err(|error| {
        lock(&entry.error).get_or_insert(error.clone());
        error.into()
    })
}

impl ArtifactClient for AttemptClient {
    async fn upload_raw(&self, artifact: &impl ArtifactId, _: ArtifactType, data: Vec<u8>) -> Result<()> {
        let (entry, name) = self.owner(artifact.id(), true)?;
        remember(&entry, entry.io.deliver(&name, data).await)
    }

    async fn download_raw(&self, artifact: &impl ArtifactId, _: ArtifactType) -> Result<Vec<u8>> {
        let (entry, name) = self.owner(artifact.id(), false)?;
        remember(&entry, entry.io.fetch(&name).await)
    }

    /// Returns `false` always. SP1 asks only to skip work that an earlier attempt did. In this project a result counts
    /// when it is accepted, not when it exists.
    async fn exists(&self, _: &impl ArtifactId, _: ArtifactType) -> Result<bool> {
        Ok(false)
    }

    /// Does nothing. Workers do not decide which artifacts are deleted: the orchestrator frees a task's inputs when it
    /// accepts the result.
    async fn delete(&self, _: &impl ArtifactId, _: ArtifactType) -> Result<()> {
        Ok(())
    }

    async fn delete_batch(&self, _: &[impl ArtifactId], _: ArtifactType) -> Result<()> {
        Ok(())
    }

    fn create_artifact(&self) -> Result<Artifact> {
        let attempt = (*lock(&self.place.0)).context("only attempts of core shards create artifacts")?;
        Ok(Artifact(made(attempt, self.attempts.next_made.fetch_add(1, Ordering::Relaxed))))
    }

    fn create_artifacts(&self, count: usize) -> Result<ArtifactBatch> {
        Ok((0..count).map(|_| self.create_artifact()).collect::<Result<Vec<_>>>()?.into())
    }
}

impl WorkerClient for AttemptClient {
    async fn submit_task(&self, kind: TaskType, _: RawTaskRequest) -> Result<TaskId> {
        bail!("a task on a worker cannot submit another task (kind {kind:?})")
    }

    /// Reports the deferred events of a core shard: SP1's prover completes the marker when they are uploaded. The
    /// marker's name is scoped to its attempt, as artifact names are.
    async fn complete_task(&self, _: ProofId, task_id: TaskId, _: TaskMetadata) -> Result<()> {
        let (entry, _) = self.owner(&task_id.to_string(), true)?;
        remember(&entry, entry.io.report_deferred_events().await)
    }

    async fn complete_proof(
        &self,
        _: ProofId,
        _: Option<TaskId>,
        _: ProofRequestStatus,
        _: impl Into<String> + Send,
    ) -> Result<()> {
        bail!("a worker cannot complete a proof")
    }

    async fn subscriber(&self, _: ProofId) -> Result<SubscriberBuilder<Self>> {
        bail!("a worker cannot wait for tasks")
    }

    async fn subscribe_task_messages(&self, _: &TaskId) -> Result<mpsc::UnboundedReceiver<Vec<u8>>> {
        bail!("a worker cannot read task messages")
    }

    async fn send_task_message(&self, _: &TaskId, _: Vec<u8>) -> Result<()> {
        bail!("a worker cannot send task messages")
    }
}
