//! Why a call is refused.

use crate::queue::RequestError;
use sp1d_model::hint;
use tonic::{Code, Status};

/// A refused call.
///
/// The code decides what sp1-sdk does. It repeats a call for up to two minutes after `Unavailable`, `Internal` and
/// `Aborted`, each time with a new nonce, and gives up at once after any other code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostedRefusal {
    code: Code,
    text: String,
}

impl HostedRefusal {
    /// A field of the request is not valid, or is not supported.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self { code: Code::InvalidArgument, text: text.into() }
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self { code: Code::NotFound, text: text.into() }
    }

    /// The signature is not valid.
    pub(super) fn unauthenticated(text: impl Into<String>) -> Self {
        Self { code: Code::Unauthenticated, text: text.into() }
    }

    /// The signer may not ask.
    pub(super) fn denied(text: impl Into<String>) -> Self {
        Self { code: Code::PermissionDenied, text: text.into() }
    }

    /// The service cannot do this with the workers that it has.
    pub(super) fn unsupported(text: impl Into<String>) -> Self {
        Self { code: Code::FailedPrecondition, text: text.into() }
    }

    /// The client must repeat the call with a new nonce.
    pub(super) fn aborted(text: impl Into<String>) -> Self {
        Self { code: Code::Aborted, text: text.into() }
    }

    /// The client may repeat the call.
    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self { code: Code::Unavailable, text: text.into() }
    }

    /// The client has used up a quota.
    pub(super) fn exhausted(text: impl Into<String>) -> Self {
        Self { code: Code::ResourceExhausted, text: text.into() }
    }

    /// The call does not exist here. `name` comes from the client.
    pub(super) fn unimplemented(name: &str) -> Self {
        let text = format!(
            "the call {name:.100} is not offered by this service\nhint: run the program with SP1_PROVER=hosted; the guide lists the calls"
        );
        Self { code: Code::Unimplemented, text }
    }

    /// Returns the HTTP status that the audit log has for a call with this refusal. It is the one that
    /// [`google.rpc.Code`](https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto) names.
    pub(super) const fn http_status(&self) -> u16 {
        match self.code {
            Code::InvalidArgument | Code::FailedPrecondition => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::Aborted => 409,
            Code::ResourceExhausted => 429,
            Code::Unimplemented => 501,
            Code::Unavailable => 503,
            _ => 500,
        }
    }

    /// Returns the name of the code, for metrics.
    pub(super) const fn code_name(&self) -> &'static str {
        match self.code {
            Code::InvalidArgument => "invalid_argument",
            Code::NotFound => "not_found",
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "permission_denied",
            Code::FailedPrecondition => "failed_precondition",
            Code::Aborted => "aborted",
            Code::Unavailable => "unavailable",
            Code::ResourceExhausted => "resource_exhausted",
            Code::Unimplemented => "unimplemented",
            _ => "internal",
        }
    }
}

impl From<RequestError> for HostedRefusal {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::Unknown(_) => Code::NotFound,
            RequestError::Invalid(_) => Code::InvalidArgument,
            RequestError::TooLong { .. } | RequestError::DiskFull | RequestError::Quota(_) => Code::ResourceExhausted,
            RequestError::Conflict(_) => Code::FailedPrecondition,
            RequestError::QueueFull(_) | RequestError::Busy | RequestError::Locked => Code::Unavailable,
            RequestError::Internal(text) => {
                tracing::error!(text = %hint::without(text), "call failed: internal error");
                Code::Internal
            }
        };
        Self { code, text: error.to_string() }
    }
}

impl From<HostedRefusal> for Status {
    fn from(refusal: HostedRefusal) -> Self {
        Self::new(refusal.code, refusal.text)
    }
}
