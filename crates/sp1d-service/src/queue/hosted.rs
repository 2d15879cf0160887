//! What the interface for sp1-sdk's network client needs of the queue and the state.

use super::{
    request::RequestError,
    service::{Service, ServiceInner},
};
use crate::{
    access::{Caller, TenantName, TokenRole, TokenRoles},
    state::{HostedArtifact, HostedRequest, NonceOutcome},
};
use sp1d_model::{Moment, NewProof, ProofSummary};
use std::time::Duration;

sp1d_model::limits! {
    /// Longest time between the issue of a nonce and its use. A client uses a nonce at once, unless its machine is
    /// paused.
    const MAX_NONCE_AGE: Duration = Duration::from_secs(60 * 60); Time by Client;
    /// Maximum number of signed requests of one requester within an hour, counted from the nonces.
    const MAX_NONCES_PER_REQUESTER: u64 = 10_000; Count by Client;
    /// Maximum number of uploads of one requester that have not expired.
    const MAX_ARTIFACTS_PER_REQUESTER: u64 = 4096; Count by Client;
}

impl Service {
    /// Returns the secret `name` of this state folder. Makes a missing secret, and waits while the database is
    /// locked or the disk is full.
    pub(crate) async fn secret(&self, name: &'static str) -> Result<[u8; 32], RequestError> {
        let mut new = [0; 32];
        fill(&mut new)?;
        let read = move |inner: &ServiceInner| inner.database.secret(name, new);
        Ok(self.inner.persistently("store a secret", read).await?)
    }

    /// Returns the current time of the service.
    pub(crate) fn now(&self) -> Moment {
        self.inner.clock.now()
    }

    /// Returns the largest nonce that cannot be used any more.
    pub(crate) async fn nonce_floor(&self) -> Result<u64, RequestError> {
        Ok(self.blocking(|inner| inner.database.nonce_floor()).await?)
    }

    /// Uses a nonce of `requester`, which is a time in microseconds since 1970.
    pub(crate) async fn use_nonce(&self, requester: String, nonce: u64) -> Result<NonceOutcome, RequestError> {
        self.blocking(move |inner| {
            inner.check_writable()?;
            let now = u64::try_from(inner.clock.now().0).unwrap_or(0).saturating_mul(1000);
            let oldest = now.saturating_sub(u64::try_from(MAX_NONCE_AGE.as_micros()).unwrap_or(u64::MAX));
            Ok(inner.database.use_nonce(&requester, nonce, oldest, MAX_NONCES_PER_REQUESTER)?)
        })
        .await
    }

    /// Stores an upload. Returns the stored upload, which is another one if the id was used before, or `None` if the
    /// requester has too many uploads.
    pub(crate) async fn add_artifact(&self, new: HostedArtifact) -> Result<Option<HostedArtifact>, RequestError> {
        self.blocking(move |inner| {
            inner.check_writable()?;
            Ok(inner.database.add_artifact(&new, inner.clock.now(), MAX_ARTIFACTS_PER_REQUESTER)?)
        })
        .await
    }

    /// Returns the upload `id`, if it exists and has not expired.
    pub(crate) async fn artifact(&self, id: String) -> Result<Option<HostedArtifact>, RequestError> {
        Ok(self.blocking(move |inner| inner.database.artifact(&id, inner.clock.now())).await?)
    }

    /// Returns the id of the program of `tenant` with this verifying key. A program with a damaged file counts as
    /// unknown: sp1-sdk then uploads it again.
    pub(crate) async fn program_with_key(
        &self,
        tenant: TenantName,
        key: String,
    ) -> Result<Option<String>, RequestError> {
        let found = self.blocking(move |inner| {
            let found = inner.database.program_with_key(tenant.as_str(), &key);
            found.map(|found| found.filter(|program| inner.blobs.is_intact(program)))
        });
        Ok(found.await?)
    }

    /// Returns the request `id` of sp1-sdk's network client, and the id of its proof.
    pub(crate) async fn hosted_request(&self, id: String) -> Result<Option<(HostedRequest, String)>, RequestError> {
        Ok(self.blocking(move |inner| inner.database.hosted_request(&id)).await?)
    }

    /// Accepts a request of sp1-sdk's network client for `tenant`, as [`Service::submit`] does. A request with the same
    /// id is the same request.
    pub(crate) async fn submit_hosted(
        &self,
        tenant: TenantName,
        request: NewProof,
        hosted: HostedRequest,
    ) -> Result<(ProofSummary, bool), RequestError> {
        let caller = Caller { token: None, tenant, roles: TokenRoles::from_iter([TokenRole::Submit]) };
        self.submit_as(caller, request, Some(hosted)).await
    }

    /// Returns 16 random bytes.
    pub(crate) fn random_id() -> Result<[u8; 16], RequestError> {
        let mut bytes = [0; 16];
        fill(&mut bytes)?;
        Ok(bytes)
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), RequestError> {
    getrandom::fill(bytes)
        .map_err(|error| RequestError::Internal(format!("cannot get random bytes from the operating system: {error}")))
}
