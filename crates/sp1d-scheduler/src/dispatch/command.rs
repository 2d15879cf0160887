//! The outputs of the dispatch state machine.

use crate::{AttemptId, KindSet, PastAttempt, SessionId, TaskId, TaskKind, TryId, WorkerId};
use std::{fmt, time::Duration};

/// An action for the driver. Commands are carried out in order, before the next event from outside is handled. An event
/// that follows from carrying out a command is handled at once, and its commands come after the remaining ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DispatchCommand {
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
        /// The attempt from before the orchestrator restarted that the worker resumes, if it still has it.
        resumes: Option<AttemptId>,
    },
    /// Tell `session` to stop `attempt`. Its uploads stay until [`DispatchCommand::Discard`].
    Cancel {
        /// The session that holds the attempt, or held it last.
        session: SessionId,
        /// The attempt to stop.
        attempt: AttemptId,
    },
    /// Tell `session` to continue `attempt`, which an earlier session of the same worker held.
    Continue {
        /// The session that holds the attempt now.
        session: SessionId,
        /// The attempt that continues.
        attempt: AttemptId,
    },
    /// Check the deferred events that `attempt` uploaded: whether all are there, and whether SP1 can make precompile
    /// shards from them. SP1 itself does not check them. [`DispatchEvent::DeferredEventsChecked`] follows, unless the
    /// try stops, the task is done, or the attempt is discarded before. It carries the claim of the attempt, which may
    /// then be compared with the claims of other workers for the same shard. During the check, `attempt` may still
    /// prove its shard.
    ///
    /// [`DispatchEvent::DeferredEventsChecked`]: crate::DispatchEvent::DeferredEventsChecked
    CheckDeferredEvents {
        /// The attempt whose uploads are checked.
        attempt: AttemptId,
        /// The task of the attempt.
        task: TaskId,
    },
    /// `marker` is complete: the deferred events that `attempt` uploaded now belong to the try.
    CompleteMarker {
        /// The try that the marker belongs to.
        try_id: TryId,
        /// The completed marker.
        marker: TaskId,
        /// The task of the attempt.
        task: TaskId,
        /// The attempt whose uploads count.
        attempt: AttemptId,
    },
    /// Check the result of `attempt`. [`DispatchEvent::ResultChecked`] follows, unless the try stops or the attempt is
    /// discarded before.
    ///
    /// [`DispatchEvent::ResultChecked`]: crate::DispatchEvent::ResultChecked
    CheckResult {
        /// The attempt that delivered the result.
        attempt: AttemptId,
        /// The task of the attempt.
        task: TaskId,
    },
    /// `task` is done: the result of `attempt` is final and now belongs to the try. Forget the task and the attempt,
    /// and delete the attempt's other uploads.
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
    /// Delete the uploads of `attempt`, except those that already belong to the try, and forget the attempt. Its
    /// result does not count any more.
    Discard {
        /// The attempt whose uploads are deleted.
        attempt: AttemptId,
    },
    /// `task` failed for good, and its try fails with it. The proof may restart.
    FailTry {
        /// The try that failed.
        try_id: TryId,
        /// The task that failed.
        task: TaskId,
        /// The kind of the task.
        kind: TaskKind,
        /// The past attempts of the task, oldest first.
        history: Vec<PastAttempt>,
        /// Why the task failed.
        cause: TryFailureCause,
        /// True if the deferred claims of the try may be wrong: the task is a shard without a marker, so it may be a
        /// precompile shard, which is made from them.
        are_claims_suspect: bool,
    },
    /// Log that workers of two origins refuted a claim of `worker`. The scheduler quarantines the
    /// worker, whether or not a task has used the events of the claim.
    LogRefutedClaim {
        /// The worker that made the claim.
        worker: WorkerId,
    },
    /// Log that the worker of `session` is quarantined: it had too many faults, or was proven wrong. Also follows when
    /// a quarantined worker is ready in a new session. The scheduler enforces the quarantine: the worker gets no tasks
    /// of `kinds` meanwhile.
    LogQuarantine {
        /// The present session of the quarantined worker.
        session: SessionId,
        /// The kinds for which the worker is quarantined.
        kinds: KindSet,
        /// How long the quarantine lasts from now.
        duration: Duration,
        /// The last fault, or what was proven wrong, for people.
        reason: String,
    },
    /// Log that a quarantine of the worker is over and its probation starts. The scheduler enforces the probation: for
    /// each of the kinds, the worker gets one task at a time, until a result of this kind is accepted or a fault starts
    /// the next quarantine.
    LogProbation {
        /// The present session of the worker on probation.
        session: SessionId,
        /// The kinds of the quarantine.
        kinds: KindSet,
    },
    /// End the wait of all callers that wait for the drain of `session`.
    EndDrainWait {
        /// The session that holds nothing, may get tasks again, or has ended.
        session: SessionId,
    },
    /// End `session`: it was silent for longer than a lease, or the same worker is ready in a new one.
    EndSession {
        /// The session to end.
        session: SessionId,
    },
    /// Tell the watchers of the try that `attempt` took a step. Ignore this command if the attempt was never given to
    /// its worker.
    PublishStep {
        /// The task of the attempt.
        task: TaskId,
        /// The attempt.
        attempt: AttemptId,
        /// The session that holds the attempt, or held it last.
        session: SessionId,
        /// The step.
        step: AttemptStep,
    },
}

/// Why a task failed for good, and its try with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryFailureCause {
    /// The task failed, was lost or was refused too often. If it is a shard, none of its attempts ran out of memory.
    TaskFailed,
    /// The task is not a shard. It ran out of memory, and no ready worker is larger. Smaller shards would not help.
    TaskOutOfMemory,
    /// The task is a shard, and one of its attempts ran out of memory. A smaller shard may help.
    ShardOutOfMemory,
    /// The task is a shard. The workers that are large enough for it have left, and the ready ones are too small.
    /// None of its attempts ran out of memory.
    NoLargeWorkerRemains,
}

impl TryFailureCause {
    /// Returns why a task of `kind` failed for good after the attempts in `history`. `lacks_large_worker` is the
    /// field of [`Command::FailTry`](crate::Command::FailTry).
    pub(super) fn from_history(kind: TaskKind, history: &[PastAttempt], lacks_large_worker: bool) -> Self {
        if !kind.is_shard() {
            // Only shards become smaller with a smaller cut. Another task that lacks memory has run out of it.
            if lacks_large_worker { Self::TaskOutOfMemory } else { Self::TaskFailed }
        } else if history.iter().any(|past| past.reason.is_out_of_memory()) {
            // One attempt that ran out of memory is reason enough for a smaller cut: on other workers, the kernel may
            // have killed provers for the same cause.
            Self::ShardOutOfMemory
        } else if lacks_large_worker {
            Self::NoLargeWorkerRemains
        } else {
            Self::TaskFailed
        }
    }
}

impl fmt::Display for TryFailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TaskFailed => "failed",
            Self::ShardOutOfMemory | Self::TaskOutOfMemory => "ran out of memory",
            Self::NoLargeWorkerRemains => "finds no large worker",
        })
    }
}

/// A step of an attempt, as the watchers of its try see it.
///
/// `Done`, `Failed` and `Dropped` are outcomes. No step follows `Done` or `Dropped`. Only `Done` can follow `Failed`,
/// in two cases: the worker delivers the result after it reported a failure, or the deferred events were rejected while
/// the worker was disconnected and pass when the worker continues the attempt.
///
/// After `Interrupted` or `TakenBack`, usually no step follows. `Continued` follows if the worker reconnects and the
/// task still needs the attempt. `Done` or `Failed` follows if the result or the failure arrives nevertheless.
/// `Dropped` does not follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptStep {
    /// It was assigned to its worker, and waits there.
    Assigned,
    /// Proving started.
    Started,
    /// Its worker was lost while it held the attempt. Another worker may get the task.
    Interrupted,
    /// It was taken back from its worker, because another worker gets the task, or because the worker must not get new
    /// tasks now.
    TakenBack,
    /// Its worker has it again after `Interrupted` or `TakenBack`. `Started` follows if the worker proves it.
    Continued,
    /// Its result was accepted.
    Done,
    /// It failed on its worker, or what it delivered was wrong or incomplete, for this reason.
    Failed(String),
    /// Its result does not count any more: another result of its task was accepted, or its try ended.
    Dropped,
}

impl AttemptStep {
    /// Returns true if this step is an outcome. Then only `Done` can follow, and only after `Failed`.
    #[must_use]
    pub const fn is_outcome(&self) -> bool {
        match self {
            Self::Done | Self::Failed(_) | Self::Dropped => true,
            Self::Assigned | Self::Started | Self::Interrupted | Self::TakenBack | Self::Continued => false,
        }
    }

    /// Returns true if the worker no longer has the attempt after this step, unless `Continued` follows.
    #[must_use]
    pub const fn interrupts_attempt(&self) -> bool {
        match self {
            Self::Interrupted | Self::TakenBack => true,
            Self::Assigned | Self::Started | Self::Continued | Self::Done | Self::Failed(_) | Self::Dropped => false,
        }
    }
}

impl fmt::Display for AttemptStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned => f.write_str("assigned"),
            Self::Started => f.write_str("started"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::TakenBack => f.write_str("taken back"),
            Self::Continued => f.write_str("continued"),
            Self::Done => f.write_str("done"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

impl fmt::Display for DispatchCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assign { session, attempt, try_id, task, resumes } => {
                write!(f, "assign {attempt} of {try_id} {task} to {session}")?;
                resumes.map_or(Ok(()), |earlier| write!(f, ", which resumes {earlier}"))
            }
            Self::Cancel { session, attempt } => write!(f, "cancel {attempt} on {session}"),
            Self::Continue { session, attempt } => write!(f, "continue {attempt} on {session}"),
            Self::CheckDeferredEvents { attempt, task } => write!(f, "check the deferred events of {attempt} ({task})"),
            Self::CompleteMarker { try_id, marker, attempt, .. } => {
                write!(f, "complete the marker {marker} of {try_id} with {attempt}")
            }
            Self::CheckResult { attempt, task } => write!(f, "check the result of {attempt} ({task})"),
            Self::AcceptResult { try_id, task, attempt, session } => {
                write!(f, "accept the result of {attempt} on {session} for {try_id} {task}")
            }
            Self::Discard { attempt } => write!(f, "discard {attempt}"),
            Self::FailTry { try_id, task, history, cause, .. } => {
                write!(f, "fail {try_id}, because {task} {cause} after {} attempts", history.len())
            }
            Self::LogRefutedClaim { worker } => write!(f, "log that a claim of {worker} is refuted"),
            Self::LogQuarantine { session, kinds, duration, reason } => {
                write!(f, "log that {session} is quarantined for {} s ({kinds}): {reason}", duration.as_secs())
            }
            Self::LogProbation { session, kinds } => write!(f, "log that {session} is on probation ({kinds})"),
            Self::EndDrainWait { session } => write!(f, "end the wait for the drain of {session}"),
            Self::EndSession { session } => write!(f, "end the session {session}"),
            Self::PublishStep { task, attempt, session, step } => {
                write!(f, "publish that {attempt} ({task}) on {session} is {step}")
            }
        }
    }
}
