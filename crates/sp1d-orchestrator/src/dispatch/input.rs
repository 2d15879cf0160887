//! The inputs of the dispatcher.

use super::tasks::SubmittedTask;
use crate::proof::running::RunningProof;
use sp1d_model::ProofWaiting;
use sp1d_scheduler::{AttemptId, DispatchEvent, ProofId, SessionId, TaskId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An input of the dispatcher.
pub(crate) enum DispatcherInput {
    /// An event that needs nothing from the dispatcher itself.
    Event(DispatchEvent),
    /// A runner submitted a new task.
    Submit { task: TaskId, submitted: SubmittedTask },
    /// `session` reports that `attempt` has uploaded the deferred events of its shard.
    MarkerReported { session: SessionId, attempt: AttemptId },
    /// Drain a worker: it finishes the attempts that it has started, and the others go to other workers. `drained` is
    /// notified when the worker holds no attempt, may get tasks again, or is disconnected.
    Drain { session: SessionId, drained: oneshot::Sender<()> },
    /// Explain why the tasks of a proof wait, and describe at most `limit` of its open tasks, from the first one whose
    /// number is above `after`.
    Explain { proof_id: ProofId, after: TaskId, limit: usize, reply: oneshot::Sender<ProofWaiting> },
    /// A try of a proof request has ended.
    ProofEnded(Arc<RunningProof>),
}
