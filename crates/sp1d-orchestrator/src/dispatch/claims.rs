//! What an attempt claims about the deferred events of its shard.

use super::tasks::SubmittedTask;
use crate::{
    scope::{attempt_scope, try_scope},
    shared_state::SharedState,
};
use sp1d_scheduler::{AttemptId, DeferredClaim, TryId};

/// Returns the claim that `attempt` makes for the shard of the submitted task. `names` are the artifacts with the
/// claimed events. All of them exist, because the check of the events has read them. `None` if the task is not a shard
/// or its record does not exist.
pub(super) fn deferred_claim(
    shared: &SharedState,
    SubmittedTask { running_try, spec, .. }: &SubmittedTask,
    attempt: AttemptId,
    names: &[String],
) -> Option<DeferredClaim> {
    // The record identifies the shard, over all tries. The other inputs are the same for all shards.
    let record = &spec.payload.shard()?.record;
    let shard = *shared.store.describe(try_scope(running_try.id), record)?.digest.as_bytes();
    let digest = |name: &String| Some(*shared.store.describe(attempt_scope(attempt), name)?.digest.as_bytes());
    let events = names.iter().filter_map(digest).collect();
    Some(DeferredClaim { shard, events, has_name_conflict: has_name_conflict(shared, running_try.id, attempt, names) })
}

/// Returns true if the try already has other content under one of `names`. These are the names of artifacts that the
/// attempt uploaded. See [`DeferredClaim::has_name_conflict`].
fn has_name_conflict(shared: &SharedState, try_id: TryId, attempt: AttemptId, names: &[String]) -> bool {
    let (from, to) = (attempt_scope(attempt), try_scope(try_id));
    let digest = |scope, name: &str| shared.store.describe(scope, name).map(|found| found.digest);
    let is_taken = |name: &String| digest(to, name).is_some_and(|present| Some(present) != digest(from, name));
    names.iter().any(is_taken)
}
