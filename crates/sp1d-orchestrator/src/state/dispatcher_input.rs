//! The inputs of the dispatcher.

use crate::tries::{running::RunningTry, submitted_task::SubmittedTask};
use sp1d_model::OpenTasks;
use sp1d_scheduler::{
    AttemptId, ClaimHistory, DispatchEvent, FailureKind, ReadyWorker, ResumableAttempt, SessionId, ShardSize,
    ShareGroup, TaskId, TryId, WorkerId,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An input of the dispatcher.
pub(crate) enum DispatcherInput {
    /// An event that the dispatcher passes on unchanged.
    Event(ForwardedEvent),
    /// A runner submitted a new task.
    Submit { task: TaskId, submitted: SubmittedTask },
    /// `session` reports that `attempt` has uploaded the deferred events of its shard. The dispatcher adds whether
    /// their list has arrived, and passes this on as [`DispatchEvent::DeferredEventsUploaded`].
    DeferredEventsUploaded { session: SessionId, attempt: AttemptId },
    /// The check of the deferred events of `attempt`, an attempt of `task`, ended. If they passed, the outcome has the
    /// names of the artifacts with deferred events. The list of deferred events also belongs to the marker, but its
    /// name is not among them. The dispatcher makes the attempt's claim from these artifacts, and passes it on as
    /// [`DispatchEvent::DeferredEventsChecked`].
    DeferredEventsChecked { task: TaskId, attempt: AttemptId, outcome: Result<Vec<String>, String> },
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
    /// The deadline of the dispatch state machine has passed. Only the dispatcher itself adds this input.
    Tick,
}

/// An event that the dispatcher passes on unchanged, as the variant of [`DispatchEvent`] with the same name, which says
/// what it means. It lacks the events that only the dispatcher makes, from other inputs or from what it finds out while
/// it carries out a command. No other code can send these.
pub(crate) enum ForwardedEvent {
    TryStarted { try_id: TryId, group: ShareGroup, claims: ClaimHistory, trusted_only: bool },
    WorkerReady { session: SessionId, ready: ReadyWorker, resumable_attempts: Vec<ResumableAttempt> },
    DrainCancelled { session: SessionId },
    SessionEnded { session: SessionId },
    AttemptStarted { session: SessionId, attempt: AttemptId },
    ResultDelivered { session: SessionId, attempt: AttemptId },
    ResultChecked { attempt: AttemptId, outcome: Result<(), String> },
    CheckDelayed { attempt: AttemptId },
    AttemptFailed { session: SessionId, attempt: AttemptId, kind: FailureKind, text: String },
    SmallWorkersExcluded { try_id: TryId, size: ShardSize },
    MarkerSubmitted { try_id: TryId, marker: TaskId },
    LastProverLost { session: SessionId },
    FirstProverReady { session: SessionId },
    LeaseRenewed { session: SessionId },
    ProvenWrong { worker: WorkerId, reason: String },
}

impl From<ForwardedEvent> for DispatchEvent {
    fn from(event: ForwardedEvent) -> Self {
        match event {
            ForwardedEvent::TryStarted { try_id, group, claims, trusted_only } => {
                Self::TryStarted { try_id, group, claims, trusted_only }
            }
            ForwardedEvent::WorkerReady { session, ready, resumable_attempts } => {
                Self::WorkerReady { session, ready, resumable_attempts }
            }
            ForwardedEvent::DrainCancelled { session } => Self::DrainCancelled { session },
            ForwardedEvent::SessionEnded { session } => Self::SessionEnded { session },
            ForwardedEvent::AttemptStarted { session, attempt } => Self::AttemptStarted { session, attempt },
            ForwardedEvent::ResultDelivered { session, attempt } => Self::ResultDelivered { session, attempt },
            ForwardedEvent::ResultChecked { attempt, outcome } => Self::ResultChecked { attempt, outcome },
            ForwardedEvent::CheckDelayed { attempt } => Self::CheckDelayed { attempt },
            ForwardedEvent::AttemptFailed { session, attempt, kind, text } => {
                Self::AttemptFailed { session, attempt, kind, text }
            }
            ForwardedEvent::SmallWorkersExcluded { try_id, size } => Self::SmallWorkersExcluded { try_id, size },
            ForwardedEvent::MarkerSubmitted { try_id, marker } => Self::MarkerSubmitted { try_id, marker },
            ForwardedEvent::LastProverLost { session } => Self::LastProverLost { session },
            ForwardedEvent::FirstProverReady { session } => Self::FirstProverReady { session },
            ForwardedEvent::LeaseRenewed { session } => Self::LeaseRenewed { session },
            ForwardedEvent::ProvenWrong { worker, reason } => Self::ProvenWrong { worker, reason },
        }
    }
}
