//! Accepts proof requests.

use super::{
    request::{RequestError, check_request, shortened},
    service::{Service, ServiceInner, lock},
};
use crate::{
    access::{Caller, TenantScope},
    state::{DatabaseError, HostedRequest, NewProofFields, SubmissionOutcome, is_digest},
};
use sp1d_model::{NewProof, ProofState, ProofSummary};

impl Service {
    /// Accepts a proof request. The proof is on disk when this returns, and survives a crash. The flag is `false` if an
    /// earlier request with the same idempotency key was already accepted; then the proof is that of the earlier
    /// request.
    ///
    /// # Errors
    /// If the request is invalid, names an unknown program or input, reuses the idempotency key of a different request,
    /// or if the queue or the disk is full.
    pub async fn submit(&self, request: NewProof) -> Result<(ProofSummary, bool), RequestError> {
        self.submit_as(Caller::of_open_service(), request, None).await
    }

    /// Accepts a proof request of `caller`, as [`Service::submit`] does.
    pub(crate) async fn submit_for(
        &self,
        caller: Caller,
        request: NewProof,
    ) -> Result<(ProofSummary, bool), RequestError> {
        self.submit_as(caller, request, None).await
    }

    /// Accepts a proof request, as [`Service::submit`] does. A `hosted` request is the same request as an earlier one
    /// if it has the same id.
    pub(super) async fn submit_as(
        &self,
        caller: Caller,
        request: NewProof,
        hosted: Option<HostedRequest>,
    ) -> Result<(ProofSummary, bool), RequestError> {
        check_request(&request)?;
        let accepted = self.blocking(move |inner| {
            // Compares the content of large files before `accept`, which keeps other requests waiting.
            // Only those of the caller: the time of a comparison would show that another tenant has the file.
            let scope = caller.scope();
            for digest in [&request.program, &request.input].into_iter().flatten().filter(|digest| is_digest(digest)) {
                if inner.may_read(&scope, digest)? {
                    inner.blobs.is_intact(digest);
                }
            }
            inner.accept(&caller, &request, hosted.as_ref())
        });
        let (proof, new) = accepted.await?;
        if new {
            self.inner.followers.notify([proof.id.as_str()]);
            self.inner.wake.notify_one();
        }
        Ok((proof, new))
    }
}

impl ServiceInner {
    fn accept(
        &self,
        caller: &Caller,
        request: &NewProof,
        hosted: Option<&HostedRequest>,
    ) -> Result<(ProofSummary, bool), RequestError> {
        let (tenant, scope) = (caller.tenant.as_str(), caller.scope());
        self.check_writable()?;
        // Keeps garbage collection from removing the program or the input before the proof refers to them.
        let _undisturbed = lock(&self.housekeeping);
        let Some(program) = &request.program else {
            let text = "the request names no program\nhint: set `program` to the id of an uploaded program, or send a form with the part `program`";
            return Err(RequestError::Invalid(text.to_owned()));
        };
        if self.database.program(scope.tenant(), program)?.is_none() {
            let text = format!("there is no program {}\nhint: upload it with `POST /v1/programs`", shortened(program));
            return Err(RequestError::Unknown(text));
        }
        if !self.blobs.is_intact(program) {
            let program = shortened(program);
            let text =
                format!("the file of program {program} is damaged\nhint: upload it again with `POST /v1/programs`");
            return Err(RequestError::Unknown(text));
        }
        // The interface for sp1-sdk has checked who uploaded the input.
        let may_use = |input: &str| match scope.tenant() {
            Some(tenant) if hosted.is_none() => self.database.has_input(tenant, input),
            Some(_) | None => Ok(true),
        };
        let input = match &request.input {
            Some(input) if !is_digest(input) || !may_use(input)? || !self.blobs.is_intact(input) => {
                let input = shortened(input);
                let text = format!("there is no intact input {input}\nhint: upload it with `POST /v1/inputs`");
                return Err(RequestError::Unknown(text));
            }
            Some(input) => input.clone(),
            None => self.blobs.put(&self.runner.empty_stdin())?,
        };
        // A repeated request returns its proof even if the queue or the disk is full.
        let is_known = match (hosted, &request.idempotency_key) {
            (Some(hosted), _) => self.database.hosted_request(&hosted.id)?.is_some(),
            (None, Some(key)) => self.database.knows_key(tenant, key)?,
            (None, None) => false,
        };
        if !is_known {
            self.check_room()?;
            let quota = self.database.quota(tenant)?;
            quota.check_priority(request)?;
            if quota.max_queue.is_some() {
                quota.check_queued(self.database.count_of(tenant, ProofState::Queued)?)?;
            }
            self.check_bytes(tenant, 0)?;
        }
        let (id, now) = (new_id()?, self.clock.now());
        let fields = NewProofFields { tenant, program, input: &input, options: &self.settings.options };
        let outcome = match hosted {
            Some(hosted) => self.database.add_hosted_proof(&id, request, hosted, fields, now),
            None => self.database.add_proof(&id, request, fields, now),
        }?;
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

    /// Returns true if `digest` may be that of a program or an input in `scope`.
    fn may_read(&self, scope: &TenantScope, digest: &str) -> Result<bool, DatabaseError> {
        let Some(tenant) = scope.tenant() else { return Ok(true) };
        Ok(self.database.has_input(tenant, digest)? || self.database.program(Some(tenant), digest)?.is_some())
    }

    /// Checks whether the files of `tenant` may have `more` bytes more.
    pub(super) fn check_bytes(&self, tenant: &str, more: u64) -> Result<(), RequestError> {
        let quota = self.database.quota(tenant)?;
        if quota.max_bytes.is_some() {
            quota.check_bytes(self.database.used_bytes(tenant)?, more)?;
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), RequestError> {
        let waiting = self.database.count(ProofState::Queued)?;
        if waiting >= self.settings.max_queue {
            return Err(RequestError::QueueFull(waiting));
        }
        self.check_disk()
    }

    pub(super) fn check_disk(&self) -> Result<(), RequestError> {
        self.check_writable()?;
        self.space.reserve(0).map(drop).ok_or(RequestError::DiskFull)
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
