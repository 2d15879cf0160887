//! Queries of proofs, programs and workers.

use super::{
    followers::Follower,
    request::{RequestError, shortened},
    service::{Service, ServiceInner, lock},
};
use crate::{
    access::TenantScope,
    state::{OpenBlob, ProofSelection, free_bytes},
    telemetry::MetricsSnapshot,
};
use sp1d_model::{EventRecord, OpenTasks, ProgramSummary, ProofState, ProofSummary, TaskId};
use sp1d_orchestrator::WorkerInfo;
use std::{collections::BTreeMap, time::Duration};

/// Maximum age of the numbers of proofs. The removal of old proofs wakes no reader of an event stream, and shows after
/// this time.
pub(super) const MAX_COUNTS_AGE: Duration = Duration::from_secs(1);

impl Service {
    /// Returns the proof `id`.
    ///
    /// # Errors
    /// [`RequestError::Unknown`] if no proof has this id.
    pub async fn proof(&self, id: &str) -> Result<ProofSummary, RequestError> {
        let id = id.to_owned();
        self.blocking(move |inner| inner.find(&id)).await
    }

    /// Returns the proof `id` if it is in `scope`. For the caller, a proof of another tenant does not exist.
    pub(crate) async fn proof_in(&self, scope: TenantScope, id: &str) -> Result<ProofSummary, RequestError> {
        let id = id.to_owned();
        self.blocking(move |inner| match scope.tenant() {
            Some(tenant) if !inner.database.owns_proof(tenant, &id)? => Err(unknown_proof(&id)),
            _ => inner.find(&id),
        })
        .await
    }

    /// Returns the selected proofs in `scope`.
    pub(crate) async fn proofs(
        &self,
        scope: TenantScope,
        selection: ProofSelection,
    ) -> Result<Vec<(i64, ProofSummary)>, RequestError> {
        self.blocking(move |inner| {
            let mut found = inner.database.proofs(scope.tenant(), selection)?;
            found.iter_mut().for_each(|(_, proof)| inner.complete(proof));
            Ok(found)
        })
        .await
    }

    /// Returns at most `limit` open tasks of the proof `id`, from the first one whose number is above `after`, and why
    /// some tasks wait. Only a running proof has open tasks.
    pub(crate) async fn open_tasks(&self, id: &str, after: TaskId, limit: u32) -> Result<OpenTasks, RequestError> {
        if self.proof(id).await?.state != ProofState::Running {
            return Ok(OpenTasks::default());
        }
        // The dispatcher handles nothing else while it makes a reply, so replies are made one at a time.
        let _permit = self.inner.explanations.acquire().await.expect("the semaphore is never closed");
        // Without a reply, the service is stopping, and the proof returns to the queue.
        Ok(self.inner.orchestrator.open_tasks(id, after, limit as usize).await.unwrap_or_default())
    }

    /// Returns the program `id` if it is in `scope`.
    pub(crate) async fn program(&self, scope: TenantScope, id: &str) -> Result<ProgramSummary, RequestError> {
        let id = id.to_owned();
        let text = format!("there is no program {}\nhint: list the programs with `GET /v1/programs`", shortened(&id));
        let unknown = RequestError::Unknown(text);
        self.blocking(move |inner| inner.database.program(scope.tenant(), &id)).await?.ok_or(unknown)
    }

    /// Returns the newest programs in `scope`.
    pub(crate) async fn programs(&self, scope: TenantScope) -> Result<Vec<ProgramSummary>, RequestError> {
        Ok(self.blocking(move |inner| inner.database.programs(scope.tenant())).await?)
    }

    /// Opens the file of a finished proof.
    pub(crate) async fn result(&self, id: &str) -> Result<OpenBlob, RequestError> {
        let id = id.to_owned();
        self.blocking(move |inner| {
            let proof = inner.find(&id)?;
            let Some(digest) = inner.database.result(&id)? else {
                let state = proof.state.name();
                let (step, command) =
                    if proof.state.is_final() { ("see its events", "logs") } else { ("wait for its end", "wait") };
                return Err(RequestError::Conflict(format!(
                    "proof {id} is {state}: there is nothing to fetch\nhint: {step} with `sp1d {command} {id}`"
                )));
            };
            Ok(inner.blobs.open_blob(&digest)?)
        })
        .await
    }

    /// Returns the events of a proof after number `after`, in order and at most `limit`. Events that wait for the
    /// writer are not included.
    pub(crate) async fn events(&self, id: &str, after: u64, limit: u32) -> Result<Vec<EventRecord>, RequestError> {
        let id = id.to_owned();
        Ok(self.blocking(move |inner| inner.database.events(&id, after, limit)).await?)
    }

    /// Returns a follower of the proof `id`, which wakes when the database has new events of the proof.
    pub(crate) fn follow(&self, id: &str) -> Follower {
        self.inner.followers.follow(id)
    }

    /// Returns the number of proofs in each state. They are counted once for all clients, until a proof
    /// changes or `MAX_COUNTS_AGE` has passed.
    pub(crate) async fn counts(&self) -> Result<BTreeMap<&'static str, u64>, RequestError> {
        let count = self.blocking(|inner| {
            let count = |state: ProofState| Ok((state.name(), inner.database.count(state)?));
            ProofState::ALL.into_iter().map(count).collect::<Result<BTreeMap<_, _>, RequestError>>()
        });
        self.inner.counts.get(self.inner.followers.changes(), count).await
    }

    /// Returns the number of proofs in each state, of the proofs in `scope`.
    pub(crate) async fn counts_in(&self, scope: TenantScope) -> Result<BTreeMap<&'static str, u64>, RequestError> {
        let TenantScope::One(tenant) = scope else { return self.counts().await };
        self.blocking(move |inner| {
            let count = |state: ProofState| Ok((state.name(), inner.database.count_of(tenant.as_str(), state)?));
            ProofState::ALL.into_iter().map(count).collect::<Result<BTreeMap<_, _>, RequestError>>()
        })
        .await
    }

    /// Returns the connected workers, in the order in which they connected.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.inner.orchestrator.workers()
    }

    /// Returns the metrics as OpenMetrics text.
    pub(crate) async fn metrics_text(&self) -> Result<String, RequestError> {
        let proofs = self.counts().await?;
        let (workers, holdings) = (self.workers(), self.inner.orchestrator.holdings());
        let disconnected = self.inner.orchestrator.disconnected_workers().len();
        let counts = self.inner.orchestrator.counts();
        let free_bytes = self.blocking(|inner| free_bytes(&inner.settings.state)).await.unwrap_or(0);
        let open_tasks = self.inner.open_tasks();
        let archive_age = self.archive_age();
        let now =
            MetricsSnapshot { proofs, open_tasks, workers, disconnected, counts, holdings, free_bytes, archive_age };
        Ok(self.inner.metrics.text(&now))
    }
}

fn unknown_proof(id: &str) -> RequestError {
    RequestError::Unknown(format!("there is no proof {}\nhint: list the proofs with `sp1d proofs`", shortened(id)))
}

impl ServiceInner {
    pub(super) fn find(&self, id: &str) -> Result<ProofSummary, RequestError> {
        let mut proof = self.database.proof(id)?.ok_or_else(|| unknown_proof(id))?;
        self.complete(&mut proof);
        Ok(proof)
    }

    /// Returns the number of known tasks of all running proofs that are not done.
    fn open_tasks(&self) -> u64 {
        lock(&self.running).values().map(|running| lock(&running.tasks).open()).sum()
    }

    /// Fills in the task counts of a running proof, which are not yet in the database.
    pub(super) fn complete(&self, proof: &mut ProofSummary) {
        if let Some(running) = lock(&self.running).get(&proof.id) {
            proof.tasks = *lock(&running.tasks);
        }
    }
}
