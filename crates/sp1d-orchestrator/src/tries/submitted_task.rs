//! What a runner submits to the dispatcher, and what the dispatcher keeps of it.

use super::{attempt_rights::AttemptRights, running::RunningTry};
use crate::runner::task::TaskSpec;
use sp1d_artifacts::{Digest, Stored};
use std::sync::Arc;

/// A submitted task without an accepted result.
pub(crate) struct SubmittedTask {
    pub(crate) running_try: Arc<RunningTry>,
    pub(crate) spec: TaskSpec,
    /// What its attempts may read and upload.
    pub(crate) rights: Arc<AttemptRights>,
    /// Key of its results in the result cache; `None` if they are not cached.
    pub(crate) key: Option<Digest>,
    /// Uploaded deferred events, to be cached together with its result. Empty until its marker is complete, and always
    /// if its results are not cached.
    pub(crate) event_uploads: DeferredEventUploads,
}

/// The deferred events that an attempt uploaded, and their list. Held until its result is accepted.
pub(crate) type DeferredEventUploads = Vec<(String, Stored)>;
