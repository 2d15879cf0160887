//! The scheduler's inputs (events) and outputs (commands).
//!
//! - **Worker and session.** A worker is one `sp1d worker`, or the worker of a program, across all its connections. A
//!   session is one of these connections. A [`WorkerId`] names the *worker*, and a [`SessionId`] names the *session*. A
//!   worker that reconnects keeps its `WorkerId` and gets a new `SessionId`. What a worker reports, and what it gets,
//!   belongs to a session. Faults and standing belong to the worker.
//! - **Proof and try.** A proof request is tried at most three times. A try has a number, its [`TryId`]. The scheduler
//!   knows tries only: a task belongs to a try, and a failed try may be followed by another one of the same proof.
//! - **Marker.** A marker is an empty SP1 task that no worker runs. SP1 submits one with each core shard. While the
//!   attempt of the shard still proves, it uploads the shard's deferred events (of its precompile calls) and reports
//!   them. The marker is complete once the events are checked and the claim about them is accepted. A result that
//!   arrives during these checks waits. SP1 waits for the marker before it builds precompile shards from these events.
//! - **Cancel and discard.** To cancel an attempt is to stop it on its worker ([`Command::Cancel`]). To discard an
//!   attempt is to delete its uploads ([`Command::Discard`]).

use crate::{
    AttemptFailure, AttemptId, KindSet, PastAttempt, ReadyWorker, SessionId, ShardSize, ShareGroup, TaskId, TaskKind,
    TryId, WorkerId,
};
use std::{fmt, time::Duration};

/// Something that happened. Late events, duplicated events and events about forgotten items do no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A try of a proof request started. Its tasks follow.
    TryStarted {
        /// The number of the try.
        try_id: TryId,
        /// The group with which the try shares slots.
        group: ShareGroup,
        /// True if only trusted workers may get the tasks of the try.
        trusted_only: bool,
    },
    /// The shards of a running try are too large for small workers. Workers into which shards of `size` do not fit get
    /// none of them, also if they connect later. Only the first such event of a try counts.
    SmallWorkersExcluded {
        /// The try whose shards are too large.
        try_id: TryId,
        /// The size of its full shards.
        size: ShardSize,
    },
    /// A task of a running try was submitted and can be given to a worker.
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
        /// The session of a worker that started this task before the orchestrator restarted. The worker resumes the
        /// task if it may take it and has a free slot.
        resumable_on: Option<SessionId>,
    },
    /// A marker was submitted. An attempt of another task completes it.
    MarkerSubmitted {
        /// The try that the marker belongs to.
        try_id: TryId,
        /// The new marker.
        marker: TaskId,
    },
    /// A worker is ready for attempts.
    WorkerReady {
        /// The new session.
        session: SessionId,
        /// The worker.
        ready: ReadyWorker,
        /// Tasks that the worker started before the orchestrator restarted. It gets those that no worker has started
        /// since, until its slots are full.
        resumable_tasks: Vec<TaskId>,
        /// True if a drain was requested before the worker was ready. The worker gets no task then, and continues only
        /// those of its attempts that it has started.
        draining: bool,
    },
    /// A worker is asked to finish its started attempts and to take no more. Its attempts that have not started go to
    /// other workers. [`Command::WorkerDrained`] follows once the worker holds nothing, which may be at once.
    DrainRequested {
        /// The session to drain.
        session: SessionId,
    },
    /// The drain of a worker was cancelled, while it ran or after its end. The worker may get tasks again.
    DrainCancelled {
        /// The session that takes tasks again.
        session: SessionId,
    },
    /// The last loaded prover of a worker ended, so the worker can prove nothing. Its provers are being started again.
    /// Until the first of them is ready, the worker gets nothing, and its attempts that have not started go to other
    /// workers. The loss of one of several loaded provers is not an event: the worker reports only the attempts that
    /// failed with it.
    LastProverLost {
        /// The session whose last prover ended.
        session: SessionId,
    },
    /// The first prover of a worker is loaded again, so the worker can prove again.
    FirstProverReady {
        /// The session whose first prover is ready.
        session: SessionId,
    },
    /// A worker's session ended.
    SessionEnded {
        /// The session that ended.
        session: SessionId,
    },
    /// Data arrived in a worker's session: its lease starts again now.
    LeaseRenewed {
        /// The session that the data came from.
        session: SessionId,
    },
    /// The driver could not give an attempt to its worker, because an input of the task does not exist. No worker can
    /// prove the task, so its try fails, and none of its tasks is assigned any more. The worker is not at fault, and
    /// its slot is free again. Everything else about the try stays until [`Event::TryEnded`].
    AssignmentFailed {
        /// The attempt that its worker did not get.
        attempt: AttemptId,
    },
    /// A worker started to prove an attempt.
    AttemptStarted {
        /// The session that reports this.
        session: SessionId,
        /// The attempt that started.
        attempt: AttemptId,
    },
    /// The deferred events that `attempt` uploaded for its marker were checked, and its claim was accepted.
    DeferredEventsAccepted {
        /// The session that holds the attempt, or that delivered its result. It may have ended since the delivery.
        session: SessionId,
        /// The attempt that uploaded the events.
        attempt: AttemptId,
    },
    /// An attempt delivered its result, which is not yet verified. Its deferred events may still be checked. The
    /// attempt's slot is free again.
    ResultDelivered {
        /// The session that reports this.
        session: SessionId,
        /// The attempt that delivered its result.
        attempt: AttemptId,
    },
    /// A delivered result passed its check. If the orchestrator verifies only the finished proof, the check only tests
    /// that the result is there.
    ResultPassed {
        /// The attempt that delivered it.
        attempt: AttemptId,
    },
    /// A delivered result did not pass its check: it does not verify, or lacks a part.
    ResultRejected {
        /// The attempt that delivered it.
        attempt: AttemptId,
        /// What is wrong with the result, for people.
        reason: String,
    },
    /// A delivered result waits for its own check or for the check of the attempt's deferred events. That check takes
    /// much longer than usual, or waits behind such a check of the same worker. The outcome of the check follows.
    /// Meanwhile, another worker may prove the task, and the first result that passes its check counts.
    CheckDelayed {
        /// The attempt that delivered the result.
        attempt: AttemptId,
    },
    /// An attempt failed on its worker, or its deferred events or its claim were rejected. After the result was
    /// delivered, only a rejection counts.
    AttemptFailed {
        /// The session that holds the attempt, or that delivered its result.
        session: SessionId,
        /// The attempt that failed.
        attempt: AttemptId,
        /// Why the attempt failed.
        failure: AttemptFailure,
    },
    /// A result of a worker was proven wrong after other tasks had used it, or workers of two origins refuted one of
    /// the worker's claims. The worker is quarantined at once for every kind, even if it is needed.
    ProvenWrong {
        /// The worker that delivered the result, or that made the claim.
        worker: WorkerId,
        /// What was wrong, for people.
        reason: String,
    },
    /// A try of a proof request ended, with any outcome: everything about it is forgotten.
    TryEnded {
        /// The number of the try.
        try_id: TryId,
    },
    /// Only time has passed.
    Tick,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryStarted { try_id, trusted_only, .. } => {
                write!(f, "{try_id} started{}", if *trusted_only { " for trusted workers only" } else { "" })
            }
            Self::SmallWorkersExcluded { try_id, size: ShardSize { cells, memory_bytes } } => {
                write!(f, "{try_id} excludes GPUs below {cells} cells and processors below {memory_bytes} bytes")
            }
            Self::TaskSubmitted { try_id, task, kind, marker, resumable_on } => {
                write!(f, "{kind} {task} of {try_id} submitted")?;
                marker.map_or(Ok(()), |marker| write!(f, ", with marker {marker}"))?;
                resumable_on.map_or(Ok(()), |session| write!(f, ", resumable on {session}"))
            }
            Self::MarkerSubmitted { try_id, marker } => write!(f, "marker {marker} of {try_id} submitted"),
            Self::WorkerReady { session, ready, resumable_tasks, draining } => {
                let ReadyWorker { worker, origin, trusted, comparable_bytes, slots, supported_kinds, holds, .. } =
                    ready;
                write!(
                    f,
                    "{session} of {}{worker} is ready, from {origin}: {slots} slots, {comparable_bytes} bytes, {} \
                     kinds, {} held attempts, {} resumable tasks{}",
                    if *trusted { "trusted " } else { "" },
                    supported_kinds.iter().count(),
                    holds.len(),
                    resumable_tasks.len(),
                    if *draining { ", draining" } else { "" }
                )
            }
            Self::DrainRequested { session } => write!(f, "drain requested for {session}"),
            Self::DrainCancelled { session } => write!(f, "drain cancelled for {session}"),
            Self::LastProverLost { session } => write!(f, "{session} lost its last prover"),
            Self::FirstProverReady { session } => write!(f, "{session} has its first prover ready"),
            Self::SessionEnded { session } => write!(f, "{session} ended"),
            Self::LeaseRenewed { session } => write!(f, "{session} renewed its lease"),
            Self::AssignmentFailed { attempt } => write!(f, "{attempt} could not be given to its worker"),
            Self::AttemptStarted { session, attempt } => write!(f, "{session} started {attempt}"),
            Self::DeferredEventsAccepted { session, attempt } => {
                write!(f, "deferred events of {attempt} on {session} accepted")
            }
            Self::ResultDelivered { session, attempt } => write!(f, "{session} delivered the result of {attempt}"),
            Self::ResultPassed { attempt } => write!(f, "result of {attempt} passed its check"),
            Self::ResultRejected { attempt, reason } => write!(f, "result of {attempt} rejected: {reason}"),
            Self::CheckDelayed { attempt } => write!(f, "check of {attempt} is delayed"),
            Self::AttemptFailed { session, attempt, failure } => write!(f, "{attempt} failed on {session}: {failure}"),
            Self::ProvenWrong { worker, reason } => write!(f, "{worker} proven wrong: {reason}"),
            Self::TryEnded { try_id } => write!(f, "{try_id} ended"),
            Self::Tick => f.write_str("tick"),
        }
    }
}

/// What the scheduler decided. [`DispatchState`](crate::DispatchState) turns each command into
/// [`DispatchCommand`](crate::DispatchCommand)s, in order and before the next event is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Give `task` to `session`.
    Assign {
        /// The session that gets the task.
        session: SessionId,
        /// The number of the new attempt.
        attempt: AttemptId,
        /// The try that the task belongs to.
        try_id: TryId,
        /// The task to prove.
        task: TaskId,
        /// The kind of the task.
        kind: TaskKind,
    },
    /// Stop `attempt` on its worker. Its uploads stay, and its result still counts if it arrives, until
    /// [`Command::Discard`].
    Cancel {
        /// The session that holds the attempt.
        session: SessionId,
        /// The attempt to stop.
        attempt: AttemptId,
    },
    /// `marker` is complete: the deferred events that `attempt` uploaded now belong to the try.
    CompleteMarker {
        /// The try that the marker belongs to.
        try_id: TryId,
        /// The completed marker.
        marker: TaskId,
        /// The attempt whose uploads count.
        attempt: AttemptId,
    },
    /// `task` is done: the result of `attempt` is final.
    AcceptResult {
        /// The try that the task belongs to.
        try_id: TryId,
        /// The finished task.
        task: TaskId,
        /// The attempt whose result counts.
        attempt: AttemptId,
        /// The session that delivered the result.
        session: SessionId,
    },
    /// Delete the uploads of `attempt`, except those that already belong to the try. Its result does not count any
    /// more.
    Discard {
        /// The attempt whose uploads are deleted.
        attempt: AttemptId,
    },
    /// `task` failed for good, and its try fails with it. The proof may restart. The try stays known until
    /// [`Event::TryEnded`].
    FailTry {
        /// The try that failed.
        try_id: TryId,
        /// The task that failed.
        task: TaskId,
        /// The kind of the task.
        kind: TaskKind,
        /// The past attempts of the task, oldest first.
        history: Vec<PastAttempt>,
        /// True if the task failed because no ready worker is large enough for it. Either it ran out of memory on a
        /// worker, and no ready worker has over 1/16 more memory than that one. Or its try excludes small workers.
        /// False if the task failed because it reached a limit of failures, losses or refusals. It may have run out of
        /// memory before.
        lacks_large_worker: bool,
    },
    /// `attempt`, which an earlier session of the same worker held, continues in a new session.
    Continue {
        /// The session that holds the attempt now.
        session: SessionId,
        /// The attempt that continues.
        attempt: AttemptId,
    },
    /// The worker is quarantined: it had too many faults, or was proven wrong. Also follows when a quarantined worker
    /// is ready in a new session. The worker gets no tasks of `kinds` meanwhile.
    Quarantine {
        /// The worker's present session.
        session: SessionId,
        /// The kinds for which the worker is quarantined.
        kinds: KindSet,
        /// How long the quarantine lasts from now.
        duration: Duration,
        /// The last fault, or what was proven wrong, for people.
        reason: String,
    },
    /// A quarantine of the worker is over, and its probation starts: for each of the kinds, it gets one task at a time,
    /// until a result of this kind is accepted or a fault starts the next quarantine.
    Probation {
        /// The worker's present session.
        session: SessionId,
        /// The kinds of the quarantine.
        kinds: KindSet,
    },
    /// `session` is draining and holds nothing any more.
    WorkerDrained {
        /// The drained session.
        session: SessionId,
    },
    /// End a session: it was silent for longer than a lease, or its worker is ready in a new session. The scheduler has
    /// already taken the attempts from it.
    EndSession {
        /// The session to end.
        session: SessionId,
    },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assign { session, attempt, try_id, task, kind } => {
                write!(f, "assign {kind} {task} of {try_id} to {session} as {attempt}")
            }
            Self::Cancel { session, attempt } => write!(f, "cancel {attempt} on {session}"),
            Self::CompleteMarker { try_id, marker, attempt } => {
                write!(f, "complete marker {marker} of {try_id} with {attempt}")
            }
            Self::AcceptResult { try_id, task, attempt, session } => {
                write!(f, "accept {attempt} of {session} for {task} of {try_id}")
            }
            Self::Discard { attempt } => write!(f, "discard {attempt}"),
            Self::FailTry { try_id, task, kind, history, .. } => {
                write!(f, "fail {try_id} because of {kind} {task} after {} past attempts", history.len())
            }
            Self::Continue { session, attempt } => write!(f, "continue {attempt} on {session}"),
            Self::Quarantine { session, kinds, duration, reason } => {
                write!(f, "quarantine {session} for {duration:?} ({kinds}): {reason}")
            }
            Self::Probation { session, kinds } => write!(f, "put {session} on probation ({kinds})"),
            Self::WorkerDrained { session } => write!(f, "report {session} as drained"),
            Self::EndSession { session } => write!(f, "end the session {session}"),
        }
    }
}
