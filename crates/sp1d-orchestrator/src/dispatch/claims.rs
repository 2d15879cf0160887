//! What an attempt claims about the deferred events of its shard.

use crate::{
    scope::{attempt_scope, try_scope},
    state::shared_state::SharedState,
    tries::submitted_task::SubmittedTask,
};
use sp1d_artifacts::{Scope, Store};
use sp1d_scheduler::{AttemptId, DeferredClaim, TaskId, TryId};

/// Returns the claim that `attempt` makes for the shard of `task`. `names` are the artifacts with the claimed events.
///
/// # Errors
/// Fails if the task is not a shard, or if its record or one of the artifacts does not exist. The check of the events
/// has read these artifacts, so the worker is not at fault.
pub(super) fn deferred_claim(
    shared: &SharedState,
    task: TaskId,
    SubmittedTask { running_try, spec, .. }: &SubmittedTask,
    attempt: AttemptId,
    names: &[String],
) -> Result<DeferredClaim, String> {
    // The record identifies the shard, over all tries. The other inputs are the same for all shards.
    let record = &spec.payload.shard().ok_or_else(|| format!("task {} is not a shard", task.0))?.record;
    let shard = digest_of(&shared.store, try_scope(running_try.id), record)
        .ok_or_else(|| format!("the record of task {} no longer exists", task.0))?;
    let events = event_digests(&shared.store, task, attempt, names)?;
    let has_name_conflict = has_name_conflict(&shared.store, running_try.id, attempt, names);
    Ok(DeferredClaim { shard, events, has_name_conflict })
}

/// Returns the digests of the artifacts `names` that `attempt` uploaded. All are needed: a claim without one of them
/// could refute the right claims of other workers.
fn event_digests(store: &Store, task: TaskId, attempt: AttemptId, names: &[String]) -> Result<Vec<[u8; 32]>, String> {
    let digest = |name: &String| {
        digest_of(store, attempt_scope(attempt), name)
            .ok_or_else(|| format!("artifact {name} with deferred events of task {} no longer exists", task.0))
    };
    names.iter().map(digest).collect()
}

/// Returns true if the try already has other content under one of `names`. These are the names of artifacts that the
/// attempt uploaded. See [`DeferredClaim::has_name_conflict`].
fn has_name_conflict(store: &Store, try_id: TryId, attempt: AttemptId, names: &[String]) -> bool {
    let (from, to) = (attempt_scope(attempt), try_scope(try_id));
    let is_taken =
        |name: &String| digest_of(store, to, name).is_some_and(|present| Some(present) != digest_of(store, from, name));
    names.iter().any(is_taken)
}

fn digest_of(store: &Store, scope: Scope, name: &str) -> Option<[u8; 32]> {
    store.describe(scope, name).map(|found| *found.digest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_artifacts::Blob;

    const ATTEMPT: AttemptId = AttemptId(1);

    #[track_caller]
    fn check_events(uploaded: &[&str], names: &[&str], expected: Result<usize, &str>) {
        let store = Store::unbounded();
        for name in uploaded {
            store.put(attempt_scope(ATTEMPT), *name, Blob::encode(name.as_bytes())).unwrap();
        }
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let found = event_digests(&store, TaskId(7), ATTEMPT, &names).map(|digests| digests.len());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn a_claim_needs_every_artifact_that_it_is_about() {
        check_events(&["a", "b"], &[], Ok(0));
        check_events(&["a", "b"], &["b", "a"], Ok(2));
        let missing = "artifact c with deferred events of task 7 no longer exists";
        check_events(&["a", "b"], &["a", "c", "b"], Err(missing));
    }
}
