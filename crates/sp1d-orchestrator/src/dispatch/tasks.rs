//! What the dispatcher keeps for each task and attempt, so that it can carry out commands.

use crate::{
    controller::task::TaskSpec,
    proof::{cached_results::Delivered, running::RunningProof},
};
use sp1d_artifacts::Digest;
use sp1d_scheduler::WorkerId;
use std::sync::Arc;

/// A submitted task without an accepted result.
pub(super) struct SubmittedTask {
    pub(super) proof: Arc<RunningProof>,
    pub(super) spec: TaskSpec,
    /// Key under which its results are cached.
    pub(super) key: Option<Digest>,
    /// Artifacts uploaded for its marker, to be cached together with its result.
    pub(super) delivered: Delivered,
}

/// The worker that got an attempt. It may be disconnected when the result of the attempt is accepted.
#[derive(Debug, Clone)]
pub(super) struct AttemptWorker {
    pub(super) id: WorkerId,
    pub(super) name: String,
    pub(super) address: String,
}
