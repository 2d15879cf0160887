//! What an attempt claims about the deferred events of its shard.

use super::tasks::SubmittedTask;
use crate::{
    registry::Registry,
    scope::{attempt_scope, proof_scope},
};
use sp1d_scheduler::{AttemptId, DeferredClaim, TryId};

/// Returns the claim that `attempt` makes for the shard of `task`. `names` are the artifacts with the claimed events.
/// `None` if the record of the shard does not exist.
pub(super) fn deferred_claim(
    registry: &Registry,
    SubmittedTask { proof, spec, .. }: &SubmittedTask,
    attempt: AttemptId,
    names: &[String],
) -> Option<DeferredClaim> {
    // The record identifies the shard, over all tries. The other inputs are the same for all shards.
    let record = &spec.payload.shard()?.record;
    let shard = *registry.store.describe(proof_scope(proof.id), record)?.digest.as_bytes();
    let digest = |name: &String| Some(*registry.store.describe(attempt_scope(attempt), name)?.digest.as_bytes());
    let events = names.iter().filter_map(digest).collect();
    Some(DeferredClaim { shard, events, has_taken_names: has_taken_names(registry, proof.id, attempt, names) })
}

/// Returns true if the proof already has an artifact with one of `names`, artifacts that the attempt uploaded, but with
/// other content. See [`DeferredClaim::has_taken_names`].
fn has_taken_names(registry: &Registry, proof: TryId, attempt: AttemptId, names: &[String]) -> bool {
    let (from, to) = (attempt_scope(attempt), proof_scope(proof));
    let digest = |scope, name: &str| registry.store.describe(scope, name).map(|found| found.digest);
    let is_taken = |name: &String| digest(to, name).is_some_and(|present| Some(present) != digest(from, name));
    names.iter().any(is_taken)
}
