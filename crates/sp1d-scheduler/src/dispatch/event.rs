//! The inputs of the dispatch machine.

use super::{ClaimHistory, DeferredClaim, ResultKey, ResumableAttempt};
use crate::{AttemptId, Event, FailureKind, ReadyWorker, SessionId, ShareGroup, TaskId, TaskKind, TryId};
use std::fmt;

/// Something that happened. An event may be late, duplicated, or about something that was forgotten: none of these does
/// harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DispatchEvent {
    /// A try of a proof request started. Its tasks follow.
    TryStarted {
        /// The number of the try.
        try_id: TryId,
        /// The group with which the try shares slots.
        group: ShareGroup,
        /// The claims of the earlier tries of the request.
        claims: ClaimHistory,
        /// True if only trusted workers may get the tasks of the try.
        trusted_only: bool,
    },
    /// A task of a running try was submitted.
    TaskSubmitted {
        /// The try that the task belongs to.
        try_id: TryId,
        /// The new task.
        task: TaskId,
        /// The kind of the task.
        kind: TaskKind,
        /// The marker that an attempt of this task must complete before a result is accepted. Only core shards have
        /// one.
        marker: Option<TaskId>,
        /// Key of the task's result. `None` if its results are not cached, so no worker can resume it.
        key: Option<ResultKey>,
    },
    /// A try of a proof request ended, with any outcome: everything about it is forgotten.
    TryEnded {
        /// The number of the try.
        try_id: TryId,
    },
    /// A worker is ready for attempts.
    WorkerReady {
        /// The new session.
        session: SessionId,
        /// The worker.
        ready: ReadyWorker,
        /// Attempts from before the orchestrator restarted that the worker can resume.
        resumable_attempts: Vec<ResumableAttempt>,
    },
    /// A caller asks to drain a worker and waits for the end. The worker finishes the attempts that it has started, and
    /// the others go to other workers. [`DispatchCommand::EndDrainWait`] follows once the worker holds nothing, may get
    /// tasks again, or is disconnected, which may be at once.
    ///
    /// [`DispatchCommand::EndDrainWait`]: crate::DispatchCommand::EndDrainWait
    DrainRequested {
        /// The session to drain.
        session: SessionId,
    },
    /// The drain of a worker was cancelled, while it ran or after its end. The worker may get tasks again.
    DrainCancelled {
        /// The session that takes tasks again.
        session: SessionId,
    },
    /// A worker's session ended. If carrying out a command shows this, report it before any other event.
    SessionEnded {
        /// The session that ended.
        session: SessionId,
    },
    /// A worker started to prove an attempt.
    AttemptStarted {
        /// The session that reports this.
        session: SessionId,
        /// The attempt that started.
        attempt: AttemptId,
    },
    /// A worker reports that an attempt has uploaded the deferred events of its shard, and their list. They are not yet
    /// checked.
    DeferredEventsReported {
        /// The session that reports this.
        session: SessionId,
        /// The attempt that uploaded the events.
        attempt: AttemptId,
        /// True if the list of deferred events has arrived. If false, the report is ignored: without the list, the
        /// check would count the events as wrong. If the marker is still incomplete when the result of the attempt
        /// passes its check, the result does not count.
        has_list: bool,
    },
    /// The check of an attempt's deferred events ended: see [`DispatchCommand::CheckDeferredEvents`].
    ///
    /// [`DispatchCommand::CheckDeferredEvents`]: crate::DispatchCommand::CheckDeferredEvents
    DeferredEventsChecked {
        /// The attempt that uploaded what was checked.
        attempt: AttemptId,
        /// What the attempt claims, if the uploads are well-formed. An error says what is wrong, for people.
        outcome: Result<DeferredClaim, String>,
    },
    /// An attempt delivered its result, which is not yet verified.
    ResultDelivered {
        /// The session that reports this.
        session: SessionId,
        /// The attempt that delivered its result.
        attempt: AttemptId,
    },
    /// The check of an attempt's result ended: see [`DispatchCommand::CheckResult`].
    ///
    /// [`DispatchCommand::CheckResult`]: crate::DispatchCommand::CheckResult
    ResultChecked {
        /// The attempt that delivered the result.
        attempt: AttemptId,
        /// The outcome. An error says what is wrong, for people.
        outcome: Result<(), String>,
    },
    /// The check of an attempt's result or deferred events takes much longer than usual, or it waits behind such a
    /// check of the same worker. [`DispatchEvent::ResultChecked`] or [`DispatchEvent::DeferredEventsChecked`] follows.
    CheckDelayed {
        /// The attempt whose output is checked.
        attempt: AttemptId,
    },
    /// An attempt failed on its worker.
    AttemptFailed {
        /// The session that reports this.
        session: SessionId,
        /// The attempt that failed.
        attempt: AttemptId,
        /// What kind of failure it was.
        kind: FailureKind,
        /// The worker's description, for people.
        text: String,
    },
    /// An event that the scheduler gets as it is: `SmallWorkersExcluded`, `MarkerSubmitted`, `AssignmentFailed`,
    /// `LastProverLost`, `FirstProverReady`, `LeaseRenewed`, `ProvenWrong` after an audit, or `Tick`. The dispatch
    /// machine itself makes the other events of the scheduler, and `ProvenWrong` for refuted claims.
    Scheduler(Event),
}

/// Returns true if the driver may report `event` to the scheduler as it is. The dispatch machine makes the others.
pub(super) const fn is_reported_by_driver(event: &Event) -> bool {
    match event {
        Event::SmallWorkersExcluded { .. }
        | Event::MarkerSubmitted { .. }
        | Event::AssignmentFailed { .. }
        | Event::LastProverLost { .. }
        | Event::FirstProverReady { .. }
        | Event::LeaseRenewed { .. }
        | Event::ProvenWrong { .. }
        | Event::Tick => true,
        Event::TryStarted { .. }
        | Event::TaskSubmitted { .. }
        | Event::WorkerReady { .. }
        | Event::DrainRequested { .. }
        | Event::DrainCancelled { .. }
        | Event::SessionEnded { .. }
        | Event::AttemptStarted { .. }
        | Event::DeferredEventsAccepted { .. }
        | Event::ResultDelivered { .. }
        | Event::ResultPassed { .. }
        | Event::ResultRejected { .. }
        | Event::CheckDelayed { .. }
        | Event::AttemptFailed { .. }
        | Event::TryEnded { .. } => false,
    }
}

impl fmt::Display for DispatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryStarted { try_id, trusted_only, .. } => {
                write!(f, "{try_id} started{}", if *trusted_only { " for trusted workers only" } else { "" })
            }
            Self::TaskSubmitted { try_id, task, kind, .. } => write!(f, "{try_id} submitted {task} ({kind})"),
            Self::TryEnded { try_id } => write!(f, "{try_id} ended"),
            Self::WorkerReady { session, ready: ReadyWorker { worker, holds, .. }, resumable_attempts } => {
                let (holds, resumable) = (holds.len(), resumable_attempts.len());
                write!(f, "{session} of {worker} is ready: it holds {holds} attempts and can resume {resumable}")
            }
            Self::DrainRequested { session } => write!(f, "drain requested for {session}"),
            Self::DrainCancelled { session } => write!(f, "drain cancelled for {session}"),
            Self::SessionEnded { session } => write!(f, "{session} ended"),
            Self::AttemptStarted { session, attempt } => write!(f, "{session} started {attempt}"),
            Self::DeferredEventsReported { session, attempt, has_list: true } => {
                write!(f, "{session} reported the deferred events of {attempt}")
            }
            Self::DeferredEventsReported { session, attempt, has_list: false } => {
                write!(f, "{session} reported the deferred events of {attempt}, but the list is missing")
            }
            Self::DeferredEventsChecked { attempt, outcome: Ok(_) } => {
                write!(f, "the deferred events of {attempt} passed their check")
            }
            Self::DeferredEventsChecked { attempt, outcome: Err(reason) } => {
                write!(f, "the deferred events of {attempt} are wrong: {reason}")
            }
            Self::ResultDelivered { session, attempt } => write!(f, "{session} delivered the result of {attempt}"),
            Self::ResultChecked { attempt, outcome: Ok(()) } => write!(f, "the result of {attempt} passed its check"),
            Self::ResultChecked { attempt, outcome: Err(reason) } => {
                write!(f, "the result of {attempt} is wrong: {reason}")
            }
            Self::CheckDelayed { attempt } => write!(f, "the check of {attempt} is delayed"),
            Self::AttemptFailed { session, attempt, kind, text } => {
                write!(f, "{attempt} failed on {session}: {kind}: {text}")
            }
            Self::Scheduler(event) => event.fmt(f),
        }
    }
}
