//! What all calls share.

use super::{
    address::RequesterAddress,
    held_calls::HeldCalls,
    nonces::NonceIssuer,
    refusal::HostedRefusal,
    signers::{HostedSigners, SignerTerms},
    url_permit::UrlPermitKey,
};
use crate::{access::TenantName, queue::Service, state::NonceOutcome};
use std::sync::Arc;

/// The state of the interface.
#[derive(Clone)]
pub(super) struct HostedInterface(Arc<HostedInner>);

struct HostedInner {
    service: Service,
    signers: HostedSigners,
    key: UrlPermitKey,
    nonces: NonceIssuer,
    held: HeldCalls,
    version: String,
    /// `http` or `https`, for URLs of files without `url`.
    scheme: &'static str,
    url: Option<String>,
}

impl HostedInterface {
    pub(super) fn new(
        service: Service,
        signers: HostedSigners,
        key: UrlPermitKey,
        nonces: NonceIssuer,
        scheme: &'static str,
        url: Option<String>,
    ) -> Self {
        // The client puts the name of the proof system in front.
        let version = format!("sp1-{}", service.settings().orchestrator.build.circuit_version);
        Self(Arc::new(HostedInner { service, signers, key, nonces, held: HeldCalls::default(), version, scheme, url }))
    }

    pub(super) fn service(&self) -> &Service {
        &self.0.service
    }

    pub(super) fn key(&self) -> &UrlPermitKey {
        &self.0.key
    }

    /// Returns the status calls that are held open.
    pub(super) fn held(&self) -> &HeldCalls {
        &self.0.held
    }

    /// Returns the version of the circuits, as the client names it.
    pub(super) fn version(&self) -> &str {
        &self.0.version
    }

    /// Returns the start of the URLs of files, without a slash at its end. `asked` is the address by which the client
    /// has reached the service.
    pub(super) fn base(&self, asked: &str) -> String {
        let scheme = self.0.scheme;
        self.0.url.clone().unwrap_or_else(|| format!("{scheme}://{asked}"))
    }

    /// Returns the current time in seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.0.service.now().0 / 1000).unwrap_or(0)
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.0.service.now().0).unwrap_or(0).saturating_mul(1000)
    }

    /// Returns a new nonce.
    pub(super) fn new_nonce(&self) -> u64 {
        self.0.nonces.issue(self.microseconds())
    }

    /// Returns the tenant of `signer`. `None` if the signer may not ask for proofs.
    pub(super) fn tenant_of(&self, signer: RequesterAddress) -> Option<TenantName> {
        self.0.signers.terms_of(signer).map(|terms| terms.tenant)
    }

    /// Returns the tenant of all signers. `None` if they have different tenants.
    pub(super) fn only_tenant(&self) -> Option<TenantName> {
        self.0.signers.only_tenant()
    }

    /// Checks that `signer` may ask for proofs, and returns what applies to its requests.
    pub(super) fn check_signer(&self, signer: RequesterAddress) -> Result<SignerTerms, HostedRefusal> {
        self.0.signers.terms_of(signer).ok_or_else(|| {
            HostedRefusal::denied(format!(
                "{signer} may not ask this service for proofs, or it did not sign this request\nhint: add the address to the file of `--hosted-signers` of `sp1d serve`"
            ))
        })
    }

    /// Uses a nonce, so that the request cannot be repeated by another.
    pub(super) async fn use_nonce(&self, signer: RequesterAddress, nonce: u64) -> Result<(), HostedRefusal> {
        if !self.0.nonces.may_have_issued(nonce, self.microseconds()) {
            return Err(HostedRefusal::aborted(format!(
                "this service has not issued the nonce {nonce}\nhint: get a nonce for each request"
            )));
        }
        match self.0.service.use_nonce(signer.to_string(), nonce).await? {
            NonceOutcome::New => Ok(()),
            NonceOutcome::Used => Err(HostedRefusal::aborted(format!(
                "the nonce {nonce} was used before, or is older than an hour\nhint: get a nonce for each request"
            ))),
            NonceOutcome::TooMany => Err(HostedRefusal::exhausted(format!(
                "{signer} has sent too many requests within an hour\nhint: try again later"
            ))),
        }
    }
}
