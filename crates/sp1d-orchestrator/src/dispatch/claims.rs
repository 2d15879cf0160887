//! The verdict on the deferred claims of an attempt.

use super::tasks::SubmittedTask;
use crate::{
    registry::Registry,
    scope::{attempt_scope, proof_scope},
};
use sp1d_scheduler::{AttemptId, ClaimsVerdict};

/// Records the claims that `attempt` makes for the shard of `task`, and returns the verdict. `is_alone` is true if no
/// other worker is available to prove the shard.
pub(super) fn judge_claims(
    registry: &Registry,
    task: &SubmittedTask,
    attempt: AttemptId,
    is_alone: bool,
) -> ClaimsVerdict {
    let verdict = compare_claims(registry, task, attempt, is_alone);
    if has_taken_names(registry, task, attempt) {
        return ClaimsVerdict::NamesTaken;
    }
    if let ClaimsVerdict::Accepted { refuted } = &verdict {
        for worker in refuted {
            let reason = "two other workers claimed other deferred events";
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
    is_alone: bool,
) -> ClaimsVerdict {
    let scope = attempt_scope(attempt);
    let outputs = spec.payload.outputs();
    let made = registry.store.names(scope).into_iter().filter(|name| !outputs.contains(name));
    let claim = made.filter_map(|name| Some(*registry.store.describe(scope, &name)?.digest.as_bytes())).collect();
    // The record identifies the shard. The other inputs are the same for all shards.
    let record = spec.payload.shard().and_then(|shard| registry.store.describe(proof_scope(proof.id), &shard.record));
    // The session may have left the registry already, so the worker comes from the attempt.
    let worker = registry.attempts().get(&attempt).map(|registered| registered.worker_id);
    match (record, worker) {
        (Some(record), Some(worker)) => proof.claims.judge(record.digest, claim, worker, is_alone),
        // The attempt ended in the meantime. Its claims must not count without a comparison.
        _ => ClaimsVerdict::Unconfirmed,
    }
}

/// Returns true if the proof already has an artifact with the name of one that the attempt uploaded, but with other
/// content. See [`ClaimsVerdict::NamesTaken`].
fn has_taken_names(registry: &Registry, SubmittedTask { proof, spec, .. }: &SubmittedTask, attempt: AttemptId) -> bool {
    let (from, to) = (attempt_scope(attempt), proof_scope(proof.id));
    let digest = |scope, name: &str| registry.store.describe(scope, name).map(|found| found.digest);
    let is_taken = |name: &String| digest(to, name).is_some_and(|present| Some(present) != digest(from, name));
    let (names, outputs) = (registry.store.names(from), spec.payload.outputs());
    names.iter().filter(|name| !outputs.contains(name)).any(is_taken)
}
