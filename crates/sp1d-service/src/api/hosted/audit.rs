//! The lines of the audit log about signers.

use super::{address::RequesterAddress, interface::HostedInterface};
use crate::{access::TenantName, queue::ClientNetwork, state::AuditEntry};

/// A request of a signer that may ask this service for proofs: a call, or an upload to a URL that it got.
#[derive(Debug)]
pub(super) struct SignerRequest<'a> {
    pub(super) signer: RequesterAddress,
    pub(super) tenant: &'a TenantName,
    pub(super) from: Option<ClientNetwork>,
    pub(super) method: &'static str,
    /// Does not contain the URL of a file, because the URL grants access.
    pub(super) path: String,
}

/// What a request of a signer has done.
#[derive(Debug)]
pub(super) enum SignerOutcome {
    /// It has made the upload, program or proof with this id.
    Made(String),
    /// It was refused with this HTTP status.
    Refused(u16),
}

impl HostedInterface {
    /// Adds a line to the audit log. It is also written if the connection ends now.
    pub(super) async fn record(&self, request: SignerRequest<'_>, outcome: SignerOutcome) {
        let (object, status) = match outcome {
            SignerOutcome::Made(object) => (Some(object), 200),
            SignerOutcome::Refused(status) => (None, status),
        };
        let entry = AuditEntry {
            at: self.service().now(),
            // No token has this name.
            token: format!("(signer {})", request.signer),
            tenant: request.tenant.to_string(),
            from: request.from.map(|from| from.to_string()),
            method: request.method.to_owned(),
            path: request.path,
            object,
            status: Some(status),
        };
        self.service().record_audit(entry).await;
    }
}
