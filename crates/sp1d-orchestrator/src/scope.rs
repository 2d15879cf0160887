//! The scopes of artifacts in the store.

use sp1d_artifacts::Scope;
use sp1d_scheduler::{AttemptId, TryId};

/// Returns the scope of the artifacts of a try.
pub(crate) fn try_scope(try_id: TryId) -> Scope {
    Scope::Try(try_id.0)
}

/// Returns the scope of the artifacts that an attempt has uploaded and that are not accepted yet.
pub(crate) fn attempt_scope(attempt: AttemptId) -> Scope {
    Scope::Attempt(attempt.0)
}
