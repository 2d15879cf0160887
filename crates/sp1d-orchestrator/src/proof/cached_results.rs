//! Turns results of tasks into cached results, and uses cached results in a proof.

use super::{handle::ProofHandle, result_cache::CachedResult};
use crate::{dispatch::tasks::MarkerUploads, runner::task::TaskSpec, scope::proof_scope};
use sp1d_artifacts::{Blob, StoreError, Stored};
use sp1d_model::hint::one_line;

/// Name of the list of deferred events in a cached result. It is part of the file format of the service's cache.
const DEFERRED_EVENTS: &str = "#1";

/// Returns the cached form of the result of `spec`. `None` if a part was spilled and cannot be read back. Blocks.
pub(crate) fn cached_result(spec: &TaskSpec, output: Stored, uploads: MarkerUploads) -> Option<CachedResult> {
    let read = |stored: Stored| stored.load().ok()?.decode().ok();
    let deferred_events = spec.payload.marker().map(|marker| &marker.deferred_events);
    let renamed = |name: String| if deferred_events == Some(&name) { DEFERRED_EVENTS.to_owned() } else { name };
    let uploads = uploads.into_iter().map(|(name, stored)| Some((renamed(name), read(stored)?)));
    Some(CachedResult { output: read(output)?, marker_uploads: uploads.collect::<Option<_>>()? })
}

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
/// uses are removed. Blocks.
///
/// # Errors
/// Returns what is wrong with `found`, or why it cannot be stored. Nothing is stored then.
pub(crate) fn use_cached_result(
    proof: &ProofHandle,
    spec: &TaskSpec,
    found: CachedResult,
) -> Result<(), CachedResultError> {
    let CachedResult { output, marker_uploads } = found;
    let marker = spec.payload.marker();
    let named = |name: String| match (name.as_str(), marker) {
        (DEFERRED_EVENTS, Some(marker)) => Ok(marker.deferred_events.clone()),
        (DEFERRED_EVENTS, None) => Err("it has deferred events, and the task has no marker".to_owned()),
        _ => Ok(name),
    };
    let named = marker_uploads.into_iter().map(|(name, content)| Ok((named(name)?, Blob::encode(&content))));
    let uploads = named.collect::<Result<Vec<(String, Blob)>, String>>()?;
    if let Some(marker) = marker {
        let find = |name: &str| uploads.iter().find(|(found, _)| found == name).map(|(_, blob)| blob.clone());
        if find(&marker.deferred_events).is_none() {
            return Err("the list of deferred events is missing".to_owned().into());
        }
        proof.state.checks()?.check_marker(spec, &find)?;
    }
    let kept = Blob::encode(&output);
    proof.check(spec, &output)?;
    let result = (spec.payload.result().to_owned(), kept);
    let mut added: Vec<String> = Vec::new();
    for (name, blob) in uploads.into_iter().chain([result]) {
        let is_new = !proof.exists(&name);
        if let Err(error) = proof.put_now(&name, blob) {
            // A worker will upload artifacts with these names, perhaps with different content.
            for name in &added {
                proof.registry.store.remove(proof_scope(proof.state.id), name);
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
    spec.payload.private_inputs().for_each(|name| proof.remove(name));
    Ok(())
}
