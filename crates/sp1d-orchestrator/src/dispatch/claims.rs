//! The verdict on the deferred claims of an attempt.

use super::tasks::SubmittedTask;
use crate::{
    registry::Registry,
    scope::{attempt_scope, proof_scope},
};
use sp1d_scheduler::{AttemptId, ClaimsVerdict, ProofId};

/// Records the claims that `attempt` makes for the shard of `task`, and returns the verdict. `names` are the artifacts
/// with the claimed events. `is_alone` is true if no worker of another origin is available to prove the shard.
pub(super) fn judge_claims(
    registry: &Registry,
    task: &SubmittedTask,
    attempt: AttemptId,
    names: &[String],
    is_alone: bool,
) -> ClaimsVerdict {
    let verdict = compare_claims(registry, task, attempt, names, is_alone);
    if has_taken_names(registry, task.proof.id, attempt, names) {
        return ClaimsVerdict::NamesTaken;
    }
    if let ClaimsVerdict::Accepted { refuted } = &verdict {
        for worker in refuted {
            let reason = "workers of two origins claimed other deferred events";
            tracing::warn!(%worker, reason, "worker made a wrong claim");
        }
    }
    verdict
}

/// Records the deferred events that `attempt` claims for its shard, and returns the verdict on them. Their names are
/// not considered.
fn compare_claims(
    registry: &Registry,
    SubmittedTask { proof, spec, .. }: &SubmittedTask,
    attempt: AttemptId,
    names: &[String],
    is_alone: bool,
) -> ClaimsVerdict {
    let digest = |name: &String| Some(*registry.store.describe(attempt_scope(attempt), name)?.digest.as_bytes());
    let claim = names.iter().filter_map(digest).collect();
    // The record identifies the shard. The other inputs are the same for all shards.
    let record = spec.payload.shard().and_then(|shard| registry.store.describe(proof_scope(proof.id), &shard.record));
    // The session may have left the registry already, so the worker comes from the attempt.
    let worker = registry.attempts().get(&attempt).map(|registered| (registered.worker_id, registered.worker_origin));
    match (record, worker) {
        (Some(record), Some(worker)) => proof.claims.judge(record.digest, claim, worker, is_alone),
        // The attempt ended in the meantime. Its claims must not count without a comparison.
        _ => ClaimsVerdict::Unconfirmed,
    }
}

/// Returns true if the proof already has an artifact with one of `names`, artifacts that the attempt uploaded, but with
/// other content. See [`ClaimsVerdict::NamesTaken`].
fn has_taken_names(registry: &Registry, proof: ProofId, attempt: AttemptId, names: &[String]) -> bool {
    let (from, to) = (attempt_scope(attempt), proof_scope(proof));
    let digest = |scope, name: &str| registry.store.describe(scope, name).map(|found| found.digest);
    let is_taken = |name: &String| digest(to, name).is_some_and(|present| Some(present) != digest(from, name));
    names.iter().any(is_taken)
}
