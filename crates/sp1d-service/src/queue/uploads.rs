//! Accepts programs and inputs.

use super::{
    client_network::ClientNetwork,
    request::RequestError,
    service::{Service, ServiceInner, lock},
    upload_places::{MAX_TURN, UploadPlace},
};
use crate::{
    access::{TenantName, TenantScope},
    state::{BlobError, BlobWriter, StoredBlob},
};
use bytes::Bytes;
use sp1d_model::{ProgramSummary, hint};
use sp1d_orchestrator::ProofFailure;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

impl Service {
    /// Waits up to `MAX_TURN` for an upload place, and checks that the disk has room, and that the quota of `tenant` is
    /// not used up.
    pub(crate) async fn place_for_upload(
        &self,
        client: ClientNetwork,
        tenant: &TenantName,
    ) -> Result<Arc<UploadPlace>, RequestError> {
        let place = self.inner.uploads.place(client, Instant::now() + MAX_TURN).await.ok_or(RequestError::Busy)?;
        let place = place.of_tenant(tenant.clone(), self.inner.uploads.unaccepted.clone());
        let tenant = tenant.clone();
        self.blocking(move |inner| {
            inner.check_disk()?;
            // An upload has at least one byte.
            inner.check_bytes(tenant.as_str(), 1)?;
            // The files of refused uploads stay on the disk for a while.
            let quota = inner.database.quota(tenant.as_str())?;
            Ok::<_, RequestError>(quota.check_refused(inner.uploads.unaccepted.of(&tenant))?)
        })
        .await?;
        Ok(Arc::new(place))
    }

    /// Returns a writer for an upload of at most `limit` bytes, whose length the client may have `declared`. Blocks, as
    /// do the methods of the writer.
    pub(crate) fn writer(&self, limit: u64, declared: Option<u64>) -> Result<BlobWriter, BlobError> {
        self.inner.blobs.writer(limit, declared)
    }

    /// Adds a program that `tenant` has uploaded, and computes its verifying key in the background. A program that the
    /// tenant has is kept for the full time again. A program of another tenant is checked and its key computed once
    /// more, so that the response and its time do not show that another tenant has it.
    pub(crate) async fn add_program(
        &self,
        tenant: &TenantName,
        blob: StoredBlob,
    ) -> Result<ProgramSummary, RequestError> {
        let (id, owner) = (blob.digest.clone(), tenant.clone());
        let known = self.blocking(move |inner| {
            let Some(known) = inner.database.program(Some(owner.as_str()), &id)? else { return Ok(None) };
            let program = ProgramSummary { created: inner.clock.now(), ..known };
            inner.database.add_program(owner.as_str(), &program)?;
            inner.uploads.unaccepted.accept(&owner, program.bytes);
            Ok::<_, RequestError>(Some(program))
        });
        if let Some(program) = known.await? {
            // A known program has no key if the service was killed before the key was computed.
            if program.verifying_key.is_none() {
                self.compute_key(tenant.clone(), program.id.clone());
            }
            return Ok(program);
        }
        {
            let _turn = self.inner.uploads.checks.acquire().await.expect("the semaphore is never closed");
            let content = self.program_content(&blob.digest).await?;
            match self.inner.runner.check_program(content).await {
                Ok(()) => {}
                // The file is not removed here: the same bytes may be another client's input or a finished proof. If
                // nothing needs the file, garbage collection removes it.
                Err(ProofFailure::Request(text)) => return Err(RequestError::Invalid(text)),
                Err(failure) => return Err(RequestError::Internal(failure.to_string())),
            }
        }
        let owner = tenant.clone();
        let added = self.blocking(move |inner| {
            let (id, bytes) = (blob.digest, blob.length);
            // Uploads of the tenant at the same time would all find the same room.
            let _undisturbed = lock(&inner.housekeeping);
            inner.check_bytes(owner.as_str(), bytes)?;
            let program = ProgramSummary { id, bytes, verifying_key: None, created: inner.clock.now() };
            inner.database.add_program(owner.as_str(), &program)?;
            inner.uploads.unaccepted.accept(&owner, program.bytes);
            Ok::<_, RequestError>(program)
        });
        let program = added.await?;
        self.compute_key(tenant.clone(), program.id.clone());
        Ok(program)
    }

    async fn program_content(&self, id: &str) -> Result<Bytes, RequestError> {
        let id = id.to_owned();
        Ok(self.blocking(move |inner| inner.blobs.read(&id)).await?.into())
    }

    /// Computes and stores the verifying key of a program of `tenant` in the background, unless that is under way. This
    /// takes up to a minute, and the upload does not wait for it.
    fn compute_key(&self, tenant: TenantName, program: String) {
        if !lock(&self.inner.uploads.without_key).insert((tenant.clone(), program.clone())) {
            return;
        }
        let service = self.clone();
        self.spawn(async move {
            let stored = tokio::select! {
                stored = service.store_key(&tenant, &program) => stored,
                () = service.inner.stop.cancelled() => Ok(()),
            };
            // No client needs to be notified: proofs of this program fail for the same reason.
            if let Err(error) = stored {
                let error = hint::without(&error);
                tracing::warn!(%program, %error, "cannot compute or store the verifying key of a program");
            }
            lock(&service.inner.uploads.without_key).remove(&(tenant, program));
            service.inner.uploads.key_tried.notify_waiters();
        });
    }

    /// Returns the verifying key of the program `id` of `tenant`. Waits until it is computed, and at most for
    /// `max_time`: then returns `None`.
    pub(crate) async fn verifying_key(
        &self,
        tenant: &TenantName,
        id: &str,
        max_time: Duration,
    ) -> Result<Option<String>, RequestError> {
        let scope = || TenantScope::One(tenant.clone());
        let deadline = Instant::now() + max_time;
        // A known program has no key if the service was killed before the key was computed.
        if self.program(scope(), id).await?.verifying_key.is_none() {
            self.compute_key(tenant.clone(), id.to_owned());
        }
        loop {
            let mut tried = pin!(self.inner.uploads.key_tried.notified());
            tried.as_mut().enable();
            let is_under_way = lock(&self.inner.uploads.without_key).contains(&(tenant.clone(), id.to_owned()));
            if let Some(key) = self.program(scope(), id).await?.verifying_key {
                return Ok(Some(key));
            }
            if !is_under_way && self.inner.stop.is_cancelled() {
                return Ok(None);
            }
            if !is_under_way {
                let text = "cannot compute the verifying key of the program\nhint: see the log of the service";
                return Err(RequestError::Invalid(text.to_owned()));
            }
            if timeout_at(deadline, tried).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn store_key(&self, tenant: &TenantName, program: &str) -> Result<(), String> {
        let _turn = self.inner.uploads.keys.acquire().await.expect("the semaphore is never closed");
        let content = self.program_content(program).await.map_err(|error| error.to_string())?;
        let key = self.inner.runner.program_key(content).await.map_err(|failure| failure.to_string())?;
        let (tenant, program) = (tenant.clone(), program.to_owned());
        let store = move |inner: &ServiceInner| inner.database.set_verifying_key(tenant.as_str(), &program, &key);
        let stored = self.inner.persistently("store a verifying key", store).await;
        stored.map_err(|error| error.to_string())
    }

    /// Checks that a blob that `tenant` has uploaded is a valid input, and returns it. The input is never in memory as
    /// a whole.
    pub(crate) async fn add_input(&self, tenant: &TenantName, blob: StoredBlob) -> Result<StoredBlob, RequestError> {
        let tenant = tenant.clone();
        self.blocking(move |inner| {
            let mut content = inner.blobs.open_blob(&blob.digest)?.file;
            match inner.runner.check_stdin(&mut content) {
                Ok(()) => {
                    // Uploads of the tenant at the same time would all find the same room.
                    let _undisturbed = lock(&inner.housekeeping);
                    if !inner.database.has_input(tenant.as_str(), &blob.digest)? {
                        inner.check_bytes(tenant.as_str(), blob.length)?;
                    }
                    inner.database.add_input(tenant.as_str(), &blob.digest, blob.length, inner.clock.now())?;
                    inner.uploads.unaccepted.accept(&tenant, blob.length);
                    Ok(blob)
                }
                Err(ProofFailure::Request(text)) => Err(RequestError::Invalid(text)),
                Err(failure) => Err(RequestError::Internal(failure.to_string())),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::TenantQuota,
        queue::{settings::ServiceSettings, token_store::TokenStore},
    };
    use sp1d_model::Moment;
    use sp1d_testing::{FakeRunner, fake_build};
    use std::path::PathBuf;
    use tokio::{runtime::Runtime, time::timeout};

    async fn start(state: PathBuf) -> Service {
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state, orchestrator, "{}".to_owned());
        settings.min_free_bytes = 0;
        Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap()
    }

    /// Checks that an upload, which `add` adds, waits for another upload that is checked at the same time, and then
    /// does not find the room that the other one has taken.
    fn check<T: Send + 'static, F>(content: &[u8], add: impl FnOnce(Service, TenantName, StoredBlob) -> F)
    where
        F: Future<Output = Result<T, RequestError>> + Send + 'static,
    {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let state = folder.path().join("state");
        let service = runtime.block_on(start(state.clone()));
        let tenant: TenantName = "team".parse().unwrap();
        let quota = TenantQuota { max_bytes: Some(10), ..TenantQuota::default() };
        TokenStore::open(&state).unwrap().set_quota(&tenant, &quota).unwrap();
        let inner = service.inner.clone();
        let blob = StoredBlob { digest: inner.blobs.put(content).unwrap(), length: content.len() as u64 };

        let undisturbed = lock(&inner.housekeeping);
        let mut adding = runtime.spawn(add(service.clone(), tenant.clone(), blob));
        let early = runtime.block_on(async { timeout(Duration::from_millis(200), &mut adding).await });
        assert!(early.is_err(), "the upload does not wait for the other one");
        inner.database.add_input(tenant.as_str(), "the other upload", 6, Moment::now()).unwrap();
        drop(undisturbed);
        let added = runtime.block_on(adding).unwrap();
        assert!(matches!(added, Err(RequestError::Quota(_))), "both uploads together exceed the quota");
        assert_eq!(inner.database.used_bytes(tenant.as_str()).unwrap(), 6);
        runtime.block_on(service.shutdown());
    }

    #[test]
    fn inputs_that_are_uploaded_at_the_same_time_do_not_exceed_the_quota() {
        check(b"an input", |service, tenant, blob| async move { service.add_input(&tenant, blob).await });
    }

    #[test]
    fn programs_that_are_uploaded_at_the_same_time_do_not_exceed_the_quota() {
        check(b"program", |service, tenant, blob| async move { service.add_program(&tenant, blob).await });
    }
}
