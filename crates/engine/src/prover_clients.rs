//! SP1's artifact and task services on a worker.

use crate::names::{made, maker, unscoped};
use anyhow::{Context, Result, bail};
use scheduler::AttemptId;
use sp1_prover::worker::{ProofId, RawTaskRequest, SubscriberBuilder, TaskId, TaskMetadata, WorkerClient};
use sp1_prover_types::{
    Artifact, ArtifactBatch, ArtifactClient, ArtifactId, ArtifactType, ProofRequestStatus, TaskType,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;
use worker::{AttemptIo, IoError};

/// The attempts inside the engine.
#[derive(Default)]
pub(crate) struct Inside {
    attempts: Mutex<HashMap<AttemptId, Arc<Entry>>>,
    next_made: AtomicU64,
}

struct Entry {
    io: Arc<dyn AttemptIo>,
    /// The first artifact that did not get through: SP1 passes errors on as text.
    error: Mutex<Option<IoError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attempt's place among those inside; leaves when dropped.
pub(crate) struct Visit {
    inside: Arc<Inside>,
    attempt: AttemptId,
    slot: Slot,
}

impl Visit {
    pub(crate) fn new(inside: Arc<Inside>, slot: Slot, attempt: AttemptId, io: Arc<dyn AttemptIo>) -> Self {
        lock(&inside.attempts).insert(attempt, Arc::new(Entry { io, error: Mutex::default() }));
        *lock(&slot.0) = Some(attempt);
        Self { inside, attempt, slot }
    }

    /// The artifact that did not get through, if that is why the attempt failed.
    pub(crate) fn io_error(&self) -> Option<IoError> {
        let entry = lock(&self.inside.attempts).get(&self.attempt).cloned()?;
        lock(&entry.error).take()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.inside.attempts).remove(&self.attempt);
        let mut current = lock(&self.slot.0);
        if *current == Some(self.attempt) {
            *current = None;
        }
    }
}

/// The attempt that a core prover works for at the moment: for names that do not say.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<AttemptId>>>);

/// Both services. Each core prover has clients of its own slot; the recursion prover, shared by all, has those of no
/// slot.
#[derive(Clone)]
pub(crate) struct AttemptClient {
    pub(crate) inside: Arc<Inside>,
    pub(crate) slot: Slot,
}

impl AttemptClient {
    /// Whose artifact `text` is, and its name. Artifacts that an attempt made are uploaded by their maker and
    /// downloaded by anyone.
    fn owner(&self, text: &str, upload: bool) -> Result<(Arc<Entry>, String)> {
        let (attempt, name) = match unscoped(text) {
            Some((attempt, name)) => (Some(attempt), name),
            None if upload => (maker(text), text),
            None => (*lock(&self.slot.0), text),
        };
        let attempt = attempt.with_context(|| format!("artifact {text} belongs to no attempt"))?;
        let entry = lock(&self.inside.attempts).get(&attempt).cloned();
        Ok((entry.with_context(|| format!("attempt {attempt} is over"))?, name.to_owned()))
    }
}

fn remember<T>(entry: &Entry, outcome: Result<T, IoError>) -> Result<T> {
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

    /// Only asked to skip work that an earlier attempt did: with us a result counts when it is accepted, not when it
    /// exists.
    async fn exists(&self, _: &impl ArtifactId, _: ArtifactType) -> Result<bool> {
        Ok(false)
    }

    /// Workers do not decide what goes: the orchestrator frees a task's inputs when it accepts the result.
    async fn delete(&self, _: &impl ArtifactId, _: ArtifactType) -> Result<()> {
        Ok(())
    }

    async fn delete_batch(&self, _: &[impl ArtifactId], _: ArtifactType) -> Result<()> {
        Ok(())
    }

    fn create_artifact(&self) -> Result<Artifact> {
        let attempt = (*lock(&self.slot.0)).context("only a core shard's attempt makes artifacts")?;
        Ok(Artifact(made(attempt, self.inside.next_made.fetch_add(1, Ordering::Relaxed))))
    }

    fn create_artifacts(&self, count: usize) -> Result<ArtifactBatch> {
        Ok((0..count).map(|_| self.create_artifact()).collect::<Result<Vec<_>>>()?.into())
    }
}

impl WorkerClient for AttemptClient {
    async fn submit_task(&self, kind: TaskType, _: RawTaskRequest) -> Result<TaskId> {
        bail!("a task on a worker submits no other task ({kind:?})")
    }

    /// A core shard completes its marker, which is named like its artifacts.
    async fn complete_task(&self, _: ProofId, task_id: TaskId, _: TaskMetadata) -> Result<()> {
        let (entry, _) = self.owner(&task_id.to_string(), true)?;
        remember(&entry, entry.io.complete_marker().await)
    }

    async fn complete_proof(
        &self,
        _: ProofId,
        _: Option<TaskId>,
        _: ProofRequestStatus,
        _: impl Into<String> + Send,
    ) -> Result<()> {
        bail!("a worker completes no proof")
    }

    async fn subscriber(&self, _: ProofId) -> Result<SubscriberBuilder<Self>> {
        bail!("a worker waits for no task")
    }

    async fn subscribe_task_messages(&self, _: &TaskId) -> Result<mpsc::UnboundedReceiver<Vec<u8>>> {
        bail!("a worker reads no messages")
    }

    async fn send_task_message(&self, _: &TaskId, _: Vec<u8>) -> Result<()> {
        bail!("a worker sends no messages")
    }
}
