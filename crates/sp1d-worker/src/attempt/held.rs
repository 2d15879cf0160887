//! An attempt that a worker holds.

use super::journal::AttemptJournal;
use sp1d_artifacts::Digest;
use sp1d_model::AttemptId;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One attempt. It is running, or the orchestrator has not yet confirmed its outcome.
#[derive(Clone)]
pub(super) struct HeldAttempt {
    pub(super) journal: Arc<AttemptJournal>,
    pub(super) cancel: CancellationToken,
    pub(super) key: Option<Digest>,
    /// The number under which the attempt started. The names of artifacts that it makes contain this number.
    pub(super) first_number: AttemptId,
}
