//! Translates the assignment of an attempt into SP1's form.

use crate::{
    names::scoped,
    task_lists::{input_list, output_list},
};
use sp1_prover::worker::{ProofId, RawTaskRequest, RequesterId, TaskContext};
use sp1_prover_types::Artifact;
use sp1d_protocol::Assignment;

/// Returns the task of `assignment`. Artifacts and the marker have names that are scoped to the attempt: SP1 completes
/// the marker under that name.
pub(super) fn to_sp1(assignment: Assignment) -> RawTaskRequest {
    let Assignment { attempt, proof, payload, .. } = assignment;
    let payload = payload.map(|artifact| artifact.name.clone());
    let name = |name: &str| scoped(attempt, name);
    RawTaskRequest {
        inputs: input_list(&payload, name).into_iter().map(Artifact).collect(),
        outputs: output_list(&payload, name).into_iter().map(Artifact).collect(),
        context: TaskContext {
            proof_id: ProofId::new(proof),
            parent_id: None,
            parent_context: None,
            requester_id: RequesterId::new("sp1-distributed"),
        },
    }
}
