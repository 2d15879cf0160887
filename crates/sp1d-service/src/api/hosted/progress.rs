//! How the state of a proof is reported to the client.

use super::wire::network::{ExecuteFailureCause, ExecutionStatus, FulfillmentStatus, ProofRequestError};
use sp1d_model::{ProofFailureKind, ProofState, ProofSummary};

/// The state of a proof in the words of the prover network. sp1-sdk knows only these values and fails on others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostedProgress {
    pub(super) fulfillment: FulfillmentStatus,
    pub(super) execution: ExecutionStatus,
    pub(super) error: ProofRequestError,
    /// Known only for a gas limit. The text of the failure says more.
    pub(super) cause: ExecuteFailureCause,
}

/// Returns the state of `proof`.
pub(super) fn progress_of(proof: &ProofSummary) -> HostedProgress {
    use ExecutionStatus::{Executed, Unexecutable, Unexecuted};
    use FulfillmentStatus::{Assigned, Expired, Fulfilled, Requested, Unfulfillable};
    use ProofRequestError::{
        ExecutionFailure, ProvingFailure, UnknownFailure, UnspecifiedProofRequestFailure, VerificationFailure,
    };
    let (fulfillment, execution, error) = match proof.state {
        ProofState::Queued => (Requested, Unexecuted, UnspecifiedProofRequestFailure),
        ProofState::Running => (Assigned, Unexecuted, UnspecifiedProofRequestFailure),
        ProofState::Done => (Fulfilled, Executed, UnspecifiedProofRequestFailure),
        ProofState::Cancelled => (Unfulfillable, Unexecuted, UnknownFailure),
        ProofState::Failed => match proof.failure.as_ref().map(|failure| failure.kind) {
            Some(ProofFailureKind::Program | ProofFailureKind::GasLimit) => {
                (Unfulfillable, Unexecutable, ExecutionFailure)
            }
            Some(ProofFailureKind::Timeout) => (Expired, Unexecuted, UnknownFailure),
            Some(ProofFailureKind::Unverified) => (Unfulfillable, Executed, VerificationFailure),
            Some(
                ProofFailureKind::Task
                | ProofFailureKind::Unsupported
                | ProofFailureKind::NoWorkers
                | ProofFailureKind::OutOfMemory,
            ) => (Unfulfillable, Executed, ProvingFailure),
            _ => (Unfulfillable, Unexecuted, UnknownFailure),
        },
    };
    let cause = match proof.failure.as_ref().map(|failure| failure.kind) {
        Some(ProofFailureKind::GasLimit) => ExecuteFailureCause::ExceededGasLimit,
        _ => ExecuteFailureCause::UnspecifiedExecutionFailureCause,
    };
    HostedProgress { fulfillment, execution, error, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Checks the numbers on the wire of a proof with this state and failure.
    #[track_caller]
    fn check(state: &str, failure: Option<&str>, expected: (i32, i32, i32, i32)) {
        let proof: ProofSummary = serde_json::from_value(json!({
            "id": "0123456789ab", "program": "", "input": "", "mode": "core", "state": state, "priority": 0,
            "nonce": [0, 0, 0, 0], "created": "2026-01-01T00:00:10Z", "starts": 1,
            "tasks": {"known": 0, "done": 0, "cached": 0}, "workers": [],
            "failure": failure.map(|kind| json!({"kind": kind, "text": "why"}))
        }))
        .unwrap();
        let progress = progress_of(&proof);
        let (fulfillment, execution) = (progress.fulfillment as i32, progress.execution as i32);
        let found = (fulfillment, execution, progress.error as i32, progress.cause as i32);
        assert_eq!(found, expected, "{state} {failure:?}");
    }

    #[test]
    fn states_have_values_that_sp1_sdk_knows() {
        check("queued", None, (1, 1, 0, 0));
        check("running", None, (2, 1, 0, 0));
        check("done", None, (3, 2, 0, 0));
        check("cancelled", Some("cancelled"), (4, 1, 3, 0));
        check("failed", Some("program"), (4, 3, 1, 0));
        check("failed", Some("gas_limit"), (4, 3, 1, 9));
        check("failed", Some("timeout"), (6, 1, 3, 0));
        check("failed", Some("unverified"), (4, 2, 5, 0));
        check("failed", Some("task"), (4, 2, 6, 0));
        check("failed", Some("machine"), (4, 1, 3, 0));
        check("failed", Some("a_kind_of_a_later_release"), (4, 1, 3, 0));
        check("failed", None, (4, 1, 3, 0));
    }
}
