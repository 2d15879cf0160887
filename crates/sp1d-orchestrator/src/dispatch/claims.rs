//! The comparison of the deferred claims of an attempt with those of other attempts.

use super::tasks::SubmittedTask;
use crate::{
    registry::Registry,
    scope::{attempt_scope, proof_scope},
};
use sp1d_scheduler::{AttemptId, ClaimsVerdict, SessionId};

/// Records what `attempt` of `task` in `session` claims, and compares it with the claims of other attempts. `is_alone`
/// is true if no other worker could be asked.
pub(super) fn compare_claims(
    registry: &Registry,
    task: &SubmittedTask,
    session: SessionId,
    attempt: AttemptId,
    is_alone: bool,
) -> ClaimsVerdict {
    let verdict = add_claim(registry, task, session, attempt, is_alone);
    if has_taken_names(registry, task, attempt) {
        return ClaimsVerdict::NamesTaken;
    }
    if let ClaimsVerdict::Accepted { refuted } = &verdict {
        for worker in refuted {
            tracing::warn!(%worker, reason = "two other workers claimed other events", "worker made a wrong claim");
        }
    }
    verdict
}

/// Records the deferred events that `attempt` claims, and compares them with those that other attempts claimed for the
/// same shard.
fn add_claim(
    registry: &Registry,
    SubmittedTask { proof, spec, .. }: &SubmittedTask,
    session: SessionId,
    attempt: AttemptId,
    is_alone: bool,
) -> ClaimsVerdict {
    let accepted = ClaimsVerdict::Accepted { refuted: Vec::new() };
    let scope = attempt_scope(attempt);
    let outputs = spec.payload.outputs();
    let made = registry.store.names(scope).into_iter().filter(|name| !outputs.contains(name));
    let claim = made.filter_map(|name| Some(*registry.store.describe(scope, &name)?.digest.as_bytes())).collect();
    // The record identifies the shard. The other inputs are the same for all shards.
    let record = spec.payload.shard().and_then(|shard| registry.store.describe(proof_scope(proof.id), &shard.record));
    let (Some(record), Some(found)) = (record, registry.worker(session)) else { return accepted };
    proof.claims.add_claim(record.digest, claim, found.id, is_alone)
}

/// Returns true if the attempt uploaded an artifact whose name the proof already has with other content. This is
/// possible because a worker itself names the attempt that it resumes.
fn has_taken_names(registry: &Registry, SubmittedTask { proof, spec, .. }: &SubmittedTask, attempt: AttemptId) -> bool {
    let (from, to) = (attempt_scope(attempt), proof_scope(proof.id));
    let digest = |scope, name: &str| registry.store.describe(scope, name).map(|found| found.digest);
    let is_taken = |name: &String| digest(to, name).is_some_and(|present| Some(present) != digest(from, name));
    let (names, outputs) = (registry.store.names(from), spec.payload.outputs());
    names.iter().filter(|name| !outputs.contains(name)).any(is_taken)
}
