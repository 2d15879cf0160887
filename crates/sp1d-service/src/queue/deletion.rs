//! Deletes ended proofs with their data.
//!
//! The database deletes the proof and records what is left to remove, in one transaction. Then the files are removed.
//! Garbage collection continues what was interrupted, also after a crash.

use super::{
    request::{RequestError, shortened},
    service::{Service, ServiceInner, lock},
};
use crate::{
    access::TenantScope,
    state::{BlobError, DatabaseError, DeletionOutcome, PendingRemoval, RemovalKind, is_digest},
};
use std::{
    collections::{BTreeSet, HashSet},
    io,
};

/// Why data of a deleted proof is still there.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemovalError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("cannot remove cached results: {0}")]
    Cache(#[from] io::Error),
}

impl Service {
    /// Deletes an ended proof with its data: the finished proof, its events, and, unless another proof uses it, its
    /// input with the cached results that were made for it. Returns false if no proof has this id, for example because
    /// it was deleted before.
    ///
    /// # Errors
    /// [`RequestError::Conflict`] if the proof has not ended. [`RequestError::Internal`] if the proof is deleted, but a
    /// file of it cannot be removed; the service tries again later.
    pub async fn delete(&self, id: &str) -> Result<bool, RequestError> {
        self.delete_in(TenantScope::All, id).await
    }

    /// Deletes an ended proof as [`Self::delete`] does, if it is in `scope`.
    pub(crate) async fn delete_in(&self, scope: TenantScope, id: &str) -> Result<bool, RequestError> {
        let owned = id.to_owned();
        let is_deleted = self.blocking(move |inner| inner.delete(scope.tenant(), &owned)).await?;
        if is_deleted {
            self.inner.followers.notify([id]);
            self.inner.archive_wake.notify_one();
        }
        Ok(is_deleted)
    }
}

impl ServiceInner {
    fn delete(&self, tenant: Option<&str>, id: &str) -> Result<bool, RequestError> {
        self.check_writable()?;
        // A request that is just accepted may need the same input.
        let undisturbed = lock(&self.housekeeping);
        let input = self.database.proof(id)?.map(|proof| proof.input);
        match self.database.delete_ended(tenant, id)? {
            DeletionOutcome::Deleted => {}
            DeletionOutcome::Unknown => return Ok(false),
            DeletionOutcome::NotEnded(state) => {
                let (id, state) = (shortened(id), state.name());
                return Err(RequestError::Conflict(format!(
                    "proof {id} is {state}: only a proof that has ended can be deleted\n\
                     hint: cancel it first with `sp1d cancel {id}`, and wait for its end with `sp1d wait {id}`"
                )));
            }
        }
        let finished = self.remove_files(Some(id));
        drop(undisturbed);
        // Without the lock: a proof that is accepted meanwhile only makes its results again.
        let finished = finished.and(self.remove_cached_results(input.as_deref()));
        tracing::info!(proof_id = id, "proof deleted");
        // The write-ahead log still has the deleted rows. Readers may keep it for a moment; then garbage collection
        // truncates it.
        if let Err(error) = self.database.shrink() {
            tracing::debug!(%error, "cannot shrink the database now; garbage collection tries again");
        }
        match finished {
            Ok(()) => Ok(true),
            Err(error) => Err(RequestError::Internal(format!(
                "proof {id} is deleted, but a part of its data could not be removed: {error}\n\
                 hint: the service tries again every 10 minutes; see its log"
            ))),
        }
    }

    /// Removes the files that are left of deleted proofs, unless something else needs them. The caller holds
    /// `housekeeping`.
    ///
    /// The finished proof of the running proof `except` does not count as needed: it was just deleted, and the service
    /// is about to take it from the running proofs.
    pub(super) fn remove_files(&self, except: Option<&str>) -> Result<(), RemovalError> {
        // Read before the database: a proof that ends between the two reads is found by the second one.
        let running: HashSet<String> = lock(&self.running)
            .iter()
            .filter(|(id, _)| except != Some(id.as_str()))
            .filter_map(|(_, running)| lock(&running.result).clone())
            .collect();
        let mut outcome = Ok(());
        for removal in self.pending(RemovalKind::Blob)? {
            let digest = &removal.digest;
            // A proof that is about to end needs the same file. If that proof is deleted, so is the file.
            if running.contains(digest) {
                continue;
            }
            // Another tenant may have uploaded the same input.
            let is_needed = !is_digest(digest)
                || self.database.is_needed_blob(digest)?
                || self.database.is_input_of_tenant(digest)?;
            let removed = if is_needed { Ok(()) } else { self.blobs.erase(digest).map_err(RemovalError::from) };
            let ended = removed.and_then(|()| Ok(self.database.end_removal(&removal)?));
            // One file that cannot be removed must not keep the others.
            if ended.is_err() {
                outcome = ended;
            }
        }
        outcome
    }

    fn pending(&self, kind: RemovalKind) -> Result<Vec<PendingRemoval>, DatabaseError> {
        let pending = self.database.removals()?;
        Ok(pending.into_iter().filter(|removal| removal.kind == kind).collect())
    }

    /// Removes the cached results of the inputs of deleted proofs, unless another proof has the same input: of the
    /// `deleted` input, or of all of them.
    ///
    /// A result that a worker delivered just before the end of a proof is cached in the background, perhaps after the
    /// deletion. Therefore only the removal for all inputs, by garbage collection, is not repeated.
    pub(super) fn remove_cached_results(&self, deleted: Option<&str>) -> Result<(), RemovalError> {
        let pending = self.pending(RemovalKind::CachedResults)?;
        let mut unused = BTreeSet::new();
        for removal in &pending {
            let is_chosen = deleted.is_none_or(|input| removal.digest == input);
            if is_chosen && !self.database.is_input_of_proof(&removal.digest)? {
                unused.insert(removal.digest.clone());
            }
        }
        if !unused.is_empty() {
            self.result_cache.forget_inputs(&unused)?;
        }
        if deleted.is_none() {
            pending.iter().try_for_each(|removal| self.database.end_removal(removal))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{settings::ServiceSettings, token_store::TokenStore};
    use rusqlite::Connection;
    use sp1d_artifacts::{Blob, Digest};
    use sp1d_model::{Moment, NewProof, ProgramSummary, ProofState};
    use sp1d_orchestrator::{CachedResult, ResultCache};
    use sp1d_testing::{FakeRunner, fake_build};
    use std::{sync::Arc, time::Duration};
    use tokio::time::{sleep, timeout};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_deletion_removes_only_the_cached_results_of_its_own_input() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        // The first garbage collection ends this removal. Then the test starts, because the next collection is later.
        drop(TokenStore::open_or_create(&state).unwrap());
        let plant = "INSERT INTO removals (kind, digest) VALUES ('cached_results', 'planted')";
        Connection::open(state.join("service.db")).unwrap().execute_batch(plant).unwrap();
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state, orchestrator, "{}".to_owned());
        settings.min_free_bytes = 0;
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let inner = &service.inner;
        let collected = async {
            while !inner.database.removals().unwrap().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, collected).await.unwrap();

        let program = inner.blobs.put(b"program").unwrap();
        let known = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        inner.database.add_program("default", &known).unwrap();
        let mut proofs = Vec::new();
        for input in [&b"first"[..], b"second"] {
            let input = Some(inner.blobs.put(input).unwrap());
            // A proof without shards needs no worker.
            let request = NewProof { program: Some(program.clone()), input, ..NewProof::default() };
            let (proof, _) = service.submit(request).await.unwrap();
            let ended = async {
                while service.proof(&proof.id).await.unwrap().state != ProofState::Done {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(PATIENCE, ended).await.unwrap();
            proofs.push(proof.id);
        }
        let key = Digest::of(b"key");
        let keep = || {
            let result = CachedResult {
                input_digest: Digest::of(b"first"),
                output: Blob::encode(b"a result of the first input"),
                event_uploads: Vec::new(),
            };
            inner.result_cache.keep(key, result);
        };
        let is_cached = || inner.result_cache.find(key).is_some();
        keep();
        assert!(is_cached());
        assert!(service.delete(&proofs[0]).await.unwrap());
        assert!(!is_cached());
        // A worker has delivered the result just before the end of the first proof. It stays until garbage collection:
        // a deletion that removed the results of all earlier ones would take longer each time.
        keep();
        assert!(service.delete(&proofs[1]).await.unwrap());
        assert!(is_cached());
        {
            let _undisturbed = lock(&inner.housekeeping);
            inner.remove_cached_results(None).unwrap();
        }
        assert!(!is_cached());
        assert_eq!(inner.database.removals().unwrap(), []);
        service.shutdown().await;
    }
}
