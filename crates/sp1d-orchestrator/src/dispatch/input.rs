//! The inputs of the dispatcher.

use super::tasks::SubmittedTask;
use crate::proof::running::RunningTry;
use sp1d_model::OpenTasks;
use sp1d_scheduler::{AttemptId, ClaimHistory, DispatchEvent, SessionId, TaskId, TryId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An input of the dispatcher.
pub(crate) enum DispatcherInput {
    /// An event that is passed on unchanged. Not `TaskSubmitted`, `TryEnded`, `DrainRequested`,
    /// `DeferredEventsReported` and `DeferredEventsChecked`: they have inputs of their own.
    Event(DispatchEvent),
    /// A runner submitted a new task.
    Submit { task: TaskId, submitted: SubmittedTask },
    /// `session` reports that `attempt` has uploaded the deferred events of its shard.
    DeferredEventsReport { session: SessionId, attempt: AttemptId },
    /// The check of the deferred events of `attempt`, an attempt of `task`, ended. If they passed, the outcome has the
    /// names of the artifacts with deferred events. The list of deferred events also belongs to the marker, but its
    /// name is not among them.
    DeferredEventsOutcome { task: TaskId, attempt: AttemptId, outcome: Result<Vec<String>, String> },
    /// Drain a worker: it finishes the attempts that it has started, and the others go to other workers. `wait_ended`
    /// is notified when the worker holds no attempt, may get tasks again, or is disconnected.
    Drain { session: SessionId, wait_ended: oneshot::Sender<()> },
    /// Describe at most `limit` open tasks of a try, from the first one whose number is above `after`, and say why some
    /// tasks wait.
    OpenTasks { try_id: TryId, after: TaskId, limit: usize, reply: oneshot::Sender<OpenTasks> },
    /// Return the claims of a running try and of the earlier tries of its request. If the try is not running, `reply`
    /// is dropped.
    Claims { try_id: TryId, reply: oneshot::Sender<ClaimHistory> },
    /// A try has ended: forget everything about it.
    EndTry(Arc<RunningTry>),
}
