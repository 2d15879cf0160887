//! The inputs of the dispatch state machine.
//!
//! Each new event is a variant of [`DispatchEvent`]. If the scheduler decides on it, it also gets a variant of
//! [`Event`](crate::Event), which the dispatch state machine creates. If other parts of the orchestrator than the
//! dispatcher create it, it also gets a variant of `ForwardedEvent`, or of `DispatcherInput` if the dispatcher adds
//! something. The table lists who creates an event in the orchestrator, and who changes or drops it on the way to the
//! scheduler. `dispatch/mod.rs` has the events that the scheduler gets instead.
//!
//! | event | who creates it | who may change or drop it |
//! |---|---|---|
//! | `TryStarted` | the proof | the dispatch state machine keeps the claims |
//! | `MarkerSubmitted` | the runner | none |
//! | `TaskSubmitted` | the dispatcher, for the runner | the dispatcher; the dispatch state machine replaces the key |
//! | `SmallWorkersExcluded` | the runner, the session | none |
//! | `TryEnded` | the dispatcher, for the proof | none |
//! | `WorkerReady` | the session | the dispatch state machine looks the attempts up and adds an early drain |
//! | `DrainRequested` | the dispatcher, for the caller or session | the dispatch state machine, if it is early |
//! | `DrainCancelled` | the caller | none |
//! | `SessionEnded` | the session, the dispatcher | none |
//! | `LeaseRenewed`, `LastProverLost`, `FirstProverReady` | the session | none |
//! | `AttemptStarted` | the session | none |
//! | `AttemptFailed` | the session; the dispatcher, if a worker continues an attempt that it never got | none |
//! | `DeferredEventsUploaded` | the dispatcher, for the session | the dispatch state machine; the scheduler gets none |
//! | `DeferredEventsChecked` | the dispatcher, for the check | the dispatcher, the dispatch state machine |
//! | `ResultDelivered` | the session | the dispatch state machine, for example if it is a second report |
//! | `ResultChecked` | the check | the dispatch state machine |
//! | `CheckDelayed` | the check | the dispatch state machine |
//! | `AssignmentFailed` | the dispatcher | none |
//! | `ProvenWrong` | the audit | none |
//! | `Tick` | the dispatcher | none |

use super::{ClaimHistory, DeferredClaim, ResultKey, ResumableAttempt};
use crate::{AttemptId, FailureKind, ReadyWorker, SessionId, ShardSize, ShareGroup, TaskId, TaskKind, TryId, WorkerId};
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
        /// False if the session has ended. [`DispatchEvent::SessionEnded`] may still follow. If true, the drain is
        /// remembered until the worker is ready or the session ends.
        is_connected: bool,
    },
    /// The drain of a worker was cancelled, while it ran or after its end. The worker may get tasks again.
    DrainCancelled {
        /// The session that takes tasks again.
        session: SessionId,
    },
    /// A worker's session ended. If carrying out a command shows this, pass it on before any other event.
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
    DeferredEventsUploaded {
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
    /// check of the same worker. [`DispatchEvent::ResultChecked`] or [`DispatchEvent::DeferredEventsChecked`] follows,
    /// unless the try stops or the attempt is discarded.
    CheckDelayed {
        /// The attempt whose output is checked.
        attempt: AttemptId,
    },
    /// An attempt failed on its worker. Ignored if the attempt has delivered its result.
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
    /// The shards of a running try are too large for small workers. Workers into which shards of `size` do not fit get
    /// none of them, even if they connect later. Only the first such event of a try counts.
    SmallWorkersExcluded {
        /// The try whose shards are too large.
        try_id: TryId,
        /// The size of its full shards.
        size: ShardSize,
    },
    /// A marker was submitted. An attempt of another task completes it.
    MarkerSubmitted {
        /// The try that the marker belongs to.
        try_id: TryId,
        /// The new marker.
        marker: TaskId,
    },
    /// The driver could not give an attempt to its worker, because an input of the task does not exist. The try fails:
    /// none of its tasks is assigned any more. Its claims and everything else about it stay until
    /// [`DispatchEvent::TryEnded`].
    AssignmentFailed {
        /// The attempt that its worker did not get.
        attempt: AttemptId,
    },
    /// The last loaded prover of a worker ended, so the worker can prove nothing until the first of its provers is
    /// loaded again.
    LastProverLost {
        /// The session whose last prover ended.
        session: SessionId,
    },
    /// The first prover of a worker is loaded again, so the worker can prove again.
    FirstProverReady {
        /// The session whose first prover is ready.
        session: SessionId,
    },
    /// Data arrived in a worker's session: its lease starts again now.
    LeaseRenewed {
        /// The session that the data came from.
        session: SessionId,
    },
    /// An audit proved that a result of a worker is wrong, after other tasks had used it. The worker is quarantined at
    /// once for every kind, even if it is needed.
    ProvenWrong {
        /// The worker that delivered the result.
        worker: WorkerId,
        /// What was wrong, for people.
        reason: String,
    },
    /// Only time has passed.
    Tick,
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
            Self::DrainRequested { session, is_connected: true } => write!(f, "drain requested for {session}"),
            Self::DrainRequested { session, is_connected: false } => {
                write!(f, "drain requested for {session}, which has ended")
            }
            Self::DrainCancelled { session } => write!(f, "drain cancelled for {session}"),
            Self::SessionEnded { session } => write!(f, "{session} ended"),
            Self::AttemptStarted { session, attempt } => write!(f, "{session} started {attempt}"),
            Self::DeferredEventsUploaded { session, attempt, has_list: true } => {
                write!(f, "{session} uploaded the deferred events of {attempt}")
            }
            Self::DeferredEventsUploaded { session, attempt, has_list: false } => {
                write!(f, "{session} uploaded the deferred events of {attempt}, but the list is missing")
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
            Self::SmallWorkersExcluded { try_id, size: ShardSize { cells, memory_bytes } } => {
                write!(f, "{try_id} excludes GPUs below {cells} cells and processors below {memory_bytes} bytes")
            }
            Self::MarkerSubmitted { try_id, marker } => write!(f, "{try_id} submitted the marker {marker}"),
            Self::AssignmentFailed { attempt } => write!(f, "{attempt} could not be given to its worker"),
            Self::LastProverLost { session } => write!(f, "{session} lost its last prover"),
            Self::FirstProverReady { session } => write!(f, "{session} has its first prover ready"),
            Self::LeaseRenewed { session } => write!(f, "{session} renewed its lease"),
            Self::ProvenWrong { worker, reason } => write!(f, "{worker} proven wrong: {reason}"),
            Self::Tick => f.write_str("tick"),
        }
    }
}
