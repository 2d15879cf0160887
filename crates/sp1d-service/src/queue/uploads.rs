//! Accepts programs and inputs.

use super::{
    client_network::ClientNetwork,
    request::RequestError,
    service::{Service, ServiceInner, lock},
    upload_places::{MAX_PLACE_WAIT, UploadPlace},
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
    /// Waits up to `MAX_PLACE_WAIT` for an upload place, and checks that the disk has room, and that the quota of
    /// `tenant` is not used up.
    pub(crate) async fn place_for_upload(
        &self,
        client: ClientNetwork,
        tenant: &TenantName,
    ) -> Result<Arc<UploadPlace>, RequestError> {
        let place =
            self.inner.uploads.place(client, Instant::now() + MAX_PLACE_WAIT).await.ok_or(RequestError::Busy)?;
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
    /// more, so that the response and its time do not show that another tenant has it. The check holds `place` until it
    /// ends.
    pub(crate) async fn add_program(
        &self,
        tenant: &TenantName,
        blob: StoredBlob,
        place: &Arc<UploadPlace>,
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
        self.check_program(blob.digest.clone(), place.clone()).await?;
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

    /// Checks that the blob `id` is a valid program. The check continues if the client leaves, because the runner
    /// cannot interrupt it. Until its end, it holds `place` and the permit to have a program in memory.
    async fn check_program(&self, id: String, place: Arc<UploadPlace>) -> Result<(), RequestError> {
        let permit = self.inner.uploads.checks.clone().acquire_owned().await.expect("the semaphore is never closed");
        let service = self.clone();
        let check = async move {
            let _held = (permit, place);
            let content = service.program_content(&id).await?;
            service.inner.runner.check_program(content).await.map_err(|failure| match failure {
                // The file is not removed here: the same bytes may be another client's input or a finished proof. If
                // nothing needs the file, garbage collection removes it.
                ProofFailure::Request(text) => RequestError::Invalid(text),
                failure => RequestError::Internal(failure.to_string()),
            })
        };
        let checked = self.inner.tasks.spawn(check).await;
        checked.unwrap_or_else(|error| Err(RequestError::Internal(error.to_string())))
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
        let _permit = self.inner.uploads.keys.acquire().await.expect("the semaphore is never closed");
        let content = self.program_content(program).await.map_err(|error| error.to_string())?;
        let key = self.inner.runner.program_key(content).await.map_err(|failure| failure.to_string())?;
        let (tenant, program) = (tenant.clone(), program.to_owned());
        let store = move |inner: &ServiceInner| inner.database.set_verifying_key(tenant.as_str(), &program, &key);
        let stored = self.inner.persistently("store a verifying key", store).await;
        stored.map_err(|error| error.to_string())
    }

    /// Checks that a blob that `tenant` has uploaded is a valid input, and returns it. The input is never in memory as
    /// a whole. The check holds `place` until it ends, also if the client leaves.
    pub(crate) async fn add_input(
        &self,
        tenant: &TenantName,
        blob: StoredBlob,
        place: &Arc<UploadPlace>,
    ) -> Result<StoredBlob, RequestError> {
        let (tenant, place) = (tenant.clone(), place.clone());
        self.blocking(move |inner| {
            let _held = place;
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
        queue::{settings::ServiceSettings, token_store::TokenStore, upload_places::MAX_PROGRAMS_IN_MEMORY},
    };
    use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
    use sp1d_model::Moment;
    use sp1d_testing::{FakeRunner, fake_build};
    use std::{
        fs,
        path::{Path, PathBuf},
    };
    use tokio::{
        runtime::Runtime,
        sync::Semaphore,
        time::{sleep, timeout},
    };

    async fn start(state: PathBuf) -> Service {
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state, orchestrator, "{}".to_owned());
        settings.min_free_bytes = 0;
        Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap()
    }

    /// Returns a place, and what shows whether it is held.
    fn place() -> (Arc<UploadPlace>, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.clone().try_acquire_owned().unwrap();
        (Arc::new(UploadPlace::of_permit(permit)), permits)
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

    /// Replaces the blob `digest` by a pipe: who reads the blob waits for the other end of the pipe. Returns its path.
    fn replace_by_pipe(state: &Path, digest: &str) -> PathBuf {
        let path = state.join("blobs").join(&digest[..2]).join(digest);
        fs::remove_file(&path).unwrap();
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        path
    }

    /// Checks that the check of an upload, which `add` adds, holds its place after the client has left, and that
    /// `free_permits` other programs may be checked meanwhile.
    fn check_departure<T: Send + 'static, F>(
        free_permits: usize,
        add: impl FnOnce(Service, TenantName, StoredBlob, Arc<UploadPlace>) -> F,
    ) where
        F: Future<Output = Result<T, RequestError>> + Send + 'static,
    {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let state = folder.path().join("state");
        let service = runtime.block_on(start(state.clone()));
        let blob = StoredBlob { digest: service.inner.blobs.put(b"program").unwrap(), length: 7 };
        let pipe = replace_by_pipe(&state, &blob.digest);
        let (place, permits) = place();
        let adding = runtime.spawn(add(service.clone(), "team".parse().unwrap(), blob, place));
        // Opening the pipe fails until the check reads it.
        let reading = async {
            loop {
                match open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                    Ok(writer) => return writer,
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let writer = runtime.block_on(async { timeout(Duration::from_secs(20), reading).await }).unwrap();
        adding.abort();
        assert!(runtime.block_on(adding).is_err_and(|error| error.is_cancelled()));
        let free = (permits.available_permits(), service.inner.uploads.checks.available_permits());
        assert_eq!(free, (0, free_permits));
        // The check reads to the end of the pipe.
        drop(writer);
        let freed = runtime.block_on(async { timeout(Duration::from_secs(20), permits.acquire()).await });
        assert!(freed.is_ok_and(|permit| permit.is_ok()), "the place is free after the check");
        runtime.block_on(service.shutdown());
        assert_eq!(service.inner.uploads.checks.available_permits(), MAX_PROGRAMS_IN_MEMORY);
    }

    #[test]
    fn the_check_of_an_input_keeps_its_place_when_the_client_leaves() {
        check_departure(MAX_PROGRAMS_IN_MEMORY, |service, tenant, blob, place| async move {
            service.add_input(&tenant, blob, &place).await
        });
    }

    #[test]
    fn the_check_of_a_program_keeps_its_place_and_its_permit_when_the_client_leaves() {
        check_departure(MAX_PROGRAMS_IN_MEMORY - 1, |service, tenant, blob, place| async move {
            service.add_program(&tenant, blob, &place).await
        });
    }

    #[test]
    fn inputs_that_are_uploaded_at_the_same_time_do_not_exceed_the_quota() {
        check(b"an input", |service, tenant, blob| async move { service.add_input(&tenant, blob, &place().0).await });
    }

    #[test]
    fn programs_that_are_uploaded_at_the_same_time_do_not_exceed_the_quota() {
        check(b"program", |service, tenant, blob| async move { service.add_program(&tenant, blob, &place().0).await });
    }
}
