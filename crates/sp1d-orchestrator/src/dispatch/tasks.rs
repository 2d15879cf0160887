//! What a runner submits to the dispatcher, and what the dispatcher keeps of it.

use crate::{proof::running::RunningProof, runner::task::TaskSpec};
use sp1d_artifacts::{Digest, Stored};
use std::sync::Arc;

/// Artifacts that an attempt uploaded for its marker, held until its result is accepted.
pub(crate) type MarkerUploads = Vec<(String, Stored)>;

/// A submitted task without an accepted result.
pub(crate) struct SubmittedTask {
    pub(crate) proof: Arc<RunningProof>,
    pub(crate) spec: TaskSpec,
    /// Key of its results in the result cache; `None` if they are not cached.
    pub(crate) key: Option<Digest>,
    /// Artifacts uploaded for its marker, to be cached together with its result. Empty until its marker is complete.
    pub(crate) marker_uploads: MarkerUploads,
}
