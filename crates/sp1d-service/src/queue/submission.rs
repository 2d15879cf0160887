//! Accepts programs, inputs and proof requests.

use super::{
    request::{RequestError, check_request, shortened},
    service::{Service, ServiceInner, lock},
};
use crate::state::{BlobError, BlobWriter, StoredBlob, SubmissionOutcome, has_less_than, is_digest};
use sp1d_model::{Moment, NewProof, ProgramSummary, ProofState, ProofSummary, hint};
use sp1d_orchestrator::ProofFailure;
use std::time::Duration;
use tokio::{sync::SemaphorePermit, time::timeout};

/// Longest wait for one of the `UPLOADS` places. Then the upload is refused as [`RequestError::Busy`].
const MAX_TURN: Duration = Duration::from_secs(30);

impl Service {
    /// Waits up to `MAX_TURN` for an upload place, and checks that the disk has room.
    pub(crate) async fn place_for_upload(&self) -> Result<SemaphorePermit<'_>, RequestError> {
        let place = timeout(MAX_TURN, self.inner.uploads.acquire()).await;
        let place = place.map_err(|_| RequestError::Busy)?.expect("the semaphore is never closed");
        self.blocking(ServiceInner::check_disk).await?;
        Ok(place)
    }

    /// Returns a writer for an upload of at most `limit` bytes. Blocks, as do the methods of the writer.
    pub(crate) fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        self.inner.blobs.writer(limit)
    }

    /// Adds an uploaded program, unless it is known, and computes its verifying key in the background.
    pub(crate) async fn add_program(&self, blob: StoredBlob) -> Result<ProgramSummary, RequestError> {
        let id = blob.digest.clone();
        let known = self.blocking(move |inner| {
            let known = inner.database.program(&id)?;
            // A known program has no key if the service was killed before the key was computed.
            let is_whole = known.as_ref().is_some_and(|program| program.verifying_key.is_some());
            let content = if is_whole { None } else { Some(inner.blobs.read(&id)?) };
            Ok::<_, RequestError>((known, content.map(bytes::Bytes::from)))
        });
        let content = match known.await? {
            (Some(program), content) => {
                if let Some(content) = content {
                    self.compute_key(program.id.clone(), content);
                }
                return Ok(program);
            }
            (None, content) => content.unwrap_or_default(),
        };
        let checked = self.inner.runner.check_program(content.clone()).await;
        let added = self.blocking(move |inner| match checked {
            Ok(()) => {
                let (id, bytes) = (blob.digest, blob.length);
                let program = ProgramSummary { id, bytes, verifying_key: None, created: Moment::now() };
                inner.database.add_program(&program)?;
                Ok(program)
            }
            // The file is not removed here: the same bytes may be another client's input or a finished proof. If
            // nothing needs the file, garbage collection removes it after an hour.
            Err(ProofFailure::Request(text)) => Err(RequestError::Invalid(text)),
            Err(failure) => Err(RequestError::Internal(failure.to_string())),
        });
        let program = added.await?;
        self.compute_key(program.id.clone(), content);
        Ok(program)
    }

    /// Computes and stores the verifying key of `program` in the background. This takes up to a minute, and the upload
    /// does not wait for it.
    fn compute_key(&self, program: String, content: bytes::Bytes) {
        let (service, id) = (self.clone(), program.clone());
        self.spawn(async move {
            let key = tokio::select! {
                key = service.inner.runner.program_key(content) => key,
                () = service.inner.stop.cancelled() => return,
            };
            let stored = service.blocking(move |inner| match key {
                Ok(key) => inner.database.set_verifying_key(&program, &key).map_err(|error| error.to_string()),
                // No client needs to be notified: proofs of this program fail for the same reason.
                Err(failure) => Err(failure.to_string()),
            });
            if let Err(error) = stored.await {
                let error = hint::without(&error);
                tracing::warn!(program = %id, %error, "cannot compute or store the verifying key of a program");
            }
        });
    }

    /// Checks that an uploaded blob is a valid input, and returns it.
    pub(crate) async fn add_input(&self, blob: StoredBlob) -> Result<StoredBlob, RequestError> {
        self.blocking(move |inner| {
            let content = inner.blobs.read(&blob.digest)?;
            inner.runner.check_stdin(&content).map_err(|failure| RequestError::Invalid(failure.to_string()))?;
            Ok(blob)
        })
        .await
    }

    /// Accepts a proof request. The proof is on disk when this returns, and survives a crash. The flag is `false` if an
    /// earlier request with the same idempotency key was already accepted; then the proof is that of the earlier
    /// request.
    ///
    /// # Errors
    /// If the request is invalid, names an unknown program or input, reuses the idempotency key of a different request,
    /// or if the queue or the disk is full.
    pub async fn submit(&self, request: NewProof) -> Result<(ProofSummary, bool), RequestError> {
        check_request(&request)?;
        let (proof, new) = self.blocking(move |inner| inner.accept(&request)).await?;
        if new {
            self.inner.notify_readers();
            self.inner.wake.notify_one();
        }
        Ok((proof, new))
    }
}

impl ServiceInner {
    fn accept(&self, request: &NewProof) -> Result<(ProofSummary, bool), RequestError> {
        // Keeps garbage collection from removing the program or the input before the proof refers to them.
        let _undisturbed = lock(&self.housekeeping);
        let Some(program) = &request.program else {
            let text = "the request names no program\nhint: set `program` to the id of an uploaded program, or send a form with the part `program`";
            return Err(RequestError::Invalid(text.to_owned()));
        };
        if self.database.program(program)?.is_none() {
            let text = format!("there is no program {}\nhint: upload it with `POST /v1/programs`", shortened(program));
            return Err(RequestError::Unknown(text));
        }
        let input = match &request.input {
            Some(input) if !is_digest(input) || self.blobs.length(input).is_none() => {
                let text = format!("there is no input {}\nhint: upload it with `POST /v1/inputs`", shortened(input));
                return Err(RequestError::Unknown(text));
            }
            Some(input) => input.clone(),
            None => self.blobs.put(&self.runner.empty_stdin())?,
        };
        // A repeated request returns its proof even if the queue or the disk is full.
        let is_known = match &request.idempotency_key {
            Some(key) => self.database.knows_key(key)?,
            None => false,
        };
        if !is_known {
            self.check_room()?;
        }
        let outcome =
            self.database.add_proof(&new_id()?, request, program, &input, &self.settings.options, Moment::now())?;
        match outcome {
            SubmissionOutcome::New(proof) => Ok((proof, true)),
            SubmissionOutcome::Known(mut proof) => {
                self.complete(&mut proof);
                Ok((proof, false))
            }
            SubmissionOutcome::Other { proof, differences } => {
                let differences = if differences.is_empty() {
                    String::new()
                } else {
                    format!(" with another {}", differences.join(", "))
                };
                let text = format!(
                    "a different request has already used this idempotency_key: that of proof {proof}{differences}\n\
                     hint: choose a new key, or repeat the earlier request unchanged"
                );
                Err(RequestError::Conflict(text))
            }
        }
    }

    fn check_room(&self) -> Result<(), RequestError> {
        let waiting = self.database.count(ProofState::Queued)?;
        if waiting >= self.settings.queued {
            return Err(RequestError::QueueFull(waiting));
        }
        self.check_disk()
    }

    fn check_disk(&self) -> Result<(), RequestError> {
        let is_full = has_less_than(&self.settings.state, self.settings.free_bytes);
        if is_full { Err(RequestError::DiskFull) } else { Ok(()) }
    }
}

/// Returns a new random id of twelve hexadecimal digits.
fn new_id() -> Result<String, RequestError> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).map_err(|error| {
        RequestError::Internal(format!("cannot get random bytes from the operating system: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
