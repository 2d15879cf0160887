//! Uses a cached result in a try.

use super::handle::ProofHandle;
use crate::{
    runner::task::TaskSpec,
    scope::try_scope,
    tries::{cache_entry::EVENT_LIST, result_cache::CachedResult},
};
use sp1d_artifacts::{Blob, StoreError};
use sp1d_model::hint::one_line;
use sp1d_protocol::MessageLimits;
use std::collections::HashSet;

/// Why a cached result cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CachedResultError {
    /// The result does not pass the check, or lacks a part.
    #[error("{0}")]
    Wrong(String),
    /// The store of this orchestrator cannot take it. The result itself may be right.
    #[error(transparent)]
    Store(StoreError),
}

impl From<String> for CachedResultError {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

/// Uses `found` as the result of `spec`: its artifacts become artifacts of `proof`, and the inputs that only this task
/// uses are removed. The artifacts are stored compressed. The result is small, so it is decoded as a whole for its
/// check. The check of the events decodes one chunk at a time. Blocks.
///
/// # Errors
/// Returns what is wrong with `found`, or why it cannot be stored. Nothing is stored then.
pub(crate) fn use_cached_result(
    proof: &ProofHandle,
    spec: &TaskSpec,
    found: CachedResult,
) -> Result<(), CachedResultError> {
    let CachedResult { output, event_uploads, .. } = found;
    let uploads = match spec.payload.marker() {
        Some(marker) => checked_uploads(proof, spec, &marker.event_list, event_uploads)?,
        None if event_uploads.is_empty() => Vec::new(),
        None => return Err("it has uploads for a marker, and the task has no marker".to_owned().into()),
    };
    if output.len() > MessageLimits::RESULT_BYTES {
        return Err(
            format!("the result has {} bytes; the limit is {}", output.len(), MessageLimits::RESULT_BYTES).into()
        );
    }
    let content = output.clone().decode().map_err(|error| error.to_string())?;
    proof.running_try.check_result(&proof.shared.store, spec, &content)?;
    let result = (spec.payload.result().to_owned(), output);
    let mut added: Vec<String> = Vec::new();
    for (name, blob) in uploads.into_iter().chain([result]) {
        let is_new = !proof.exists(&name);
        if let Err(error) = proof.put_blocking(&name, blob) {
            // A worker will upload artifacts with these names, perhaps with different content.
            for name in &added {
                proof.shared.store.remove(try_scope(proof.running_try.id), name);
            }
            return Err(match error {
                StoreError::Exists(_) => CachedResultError::Wrong(one_line(&error.to_string())),
                _ => CachedResultError::Store(error),
            });
        }
        if is_new {
            added.push(name);
        }
    }
    spec.payload.unshared_inputs().for_each(|name| proof.remove(name));
    Ok(())
}

/// Returns the artifacts of a cached result that belong to the marker of `spec`: the list of deferred events, which is
/// called `list` in this proof, and the artifacts that it names.
///
/// # Errors
/// Returns what is wrong with them. An artifact that the list does not name is wrong, too.
fn checked_uploads(
    proof: &ProofHandle,
    spec: &TaskSpec,
    list: &str,
    uploads: Vec<(String, Blob)>,
) -> Result<Vec<(String, Blob)>, String> {
    let named = |name: String| if name == EVENT_LIST { list.to_owned() } else { name };
    let uploads: Vec<(String, Blob)> = uploads.into_iter().map(|(name, blob)| (named(name), blob)).collect();
    let find = |name: &str| uploads.iter().find(|(found, _)| found == name).map(|(_, blob)| blob.clone());
    if find(list).is_none() {
        return Err("the list of deferred events is missing".to_owned());
    }
    let events: HashSet<String> = proof.running_try.checks()?.check_deferred_events(spec, &find)?.into_iter().collect();
    let undeclared = uploads.iter().map(|(name, _)| name).find(|name| *name != list && !events.contains(*name));
    if let Some(name) = undeclared {
        return Err(format!("it has the artifact {name:?}, which its list of deferred events does not name"));
    }
    Ok(uploads)
}
