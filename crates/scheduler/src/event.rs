//! The scheduler's inputs (events), outputs (commands) and configuration.

use crate::{
    AttemptId, KindSet, PaceRules, PeerId, Placement, ProofId, QuarantineRules, TaskId, TaskKind, Timestamp, WorkerId,
};
use std::{fmt, time::Duration};

/// Something that happened. An event may be late, duplicated, or about something that the scheduler has forgotten: none
/// of these does harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A proof was accepted. Its tasks follow.
    ProofStarted {
        /// The new proof.
        proof: ProofId,
    },
    /// A task of a running proof was submitted and can be given to a worker.
    TaskSubmitted {
        /// The proof that the task belongs to.
        proof: ProofId,
        /// The new task.
        task: TaskId,
        /// The capability that the task needs.
        kind: TaskKind,
        /// The marker that an attempt of this task completes before the task itself is done.
        marker: Option<TaskId>,
        /// A worker that started this task before the orchestrator restarted. The worker resumes the task if it may
        /// take it and has a free slot.
        begun_on: Option<WorkerId>,
    },
    /// A marker was submitted. A marker is never given to a worker: an attempt of another task completes it.
    MarkerSubmitted {
        /// The proof that the marker belongs to.
        proof: ProofId,
        /// The new marker.
        task: TaskId,
    },
    /// A worker is ready for attempts.
    WorkerJoined {
        /// The new session.
        worker: WorkerId,
        /// The worker's identity, the same in all its sessions.
        peer: PeerId,
        /// Bytes of memory that one attempt can use on this worker; 0 if unknown.
        memory_bytes: u64,
        /// Maximum number of attempts that the worker holds at a time. 0 counts as 1.
        slots: u32,
        /// The task kinds that the worker supports.
        kinds: KindSet,
        /// Attempts of an earlier session that the worker still runs, or whose results it still has. Each is adopted or
        /// cancelled.
        holds: Vec<AttemptId>,
        /// Tasks that the worker started before the orchestrator restarted. The worker resumes those that no worker has
        /// started since, as far as it has free slots.
        begun: Vec<TaskId>,
    },
    /// A worker is asked to finish its started attempts and to take no more. Its attempts that have not started go to
    /// other workers. [`Command::WorkerDrained`] follows once the worker holds nothing, which may be at once.
    WorkerDraining {
        /// The session to drain.
        worker: WorkerId,
    },
    /// A worker that is draining or drained may get tasks again.
    WorkerResumed {
        /// The session that takes tasks again.
        worker: WorkerId,
    },
    /// The prover of a worker ended and is being started again. Until it is ready the worker gets nothing, and its
    /// attempts that have not started go to other workers.
    WorkerUnready {
        /// The session whose prover ended.
        worker: WorkerId,
    },
    /// The prover of a worker is loaded again.
    WorkerReady {
        /// The session whose prover is ready.
        worker: WorkerId,
    },
    /// A worker's session ended.
    WorkerLost {
        /// The session that ended.
        worker: WorkerId,
    },
    /// Data arrived from a worker: its lease starts again now.
    LeasesRenewed {
        /// The session that the data came from.
        worker: WorkerId,
    },
    /// A worker started to prove an attempt.
    AttemptStarted {
        /// The session that reports this.
        worker: WorkerId,
        /// The attempt that started.
        attempt: AttemptId,
    },
    /// An attempt completed its task's marker.
    MarkerReported {
        /// The session that reports this.
        worker: WorkerId,
        /// The attempt that completed the marker.
        attempt: AttemptId,
    },
    /// An attempt delivered its result, which is not yet verified. The attempt's slot is free again.
    AttemptReported {
        /// The session that reports this.
        worker: WorkerId,
        /// The attempt that delivered its result.
        attempt: AttemptId,
    },
    /// A delivered result was verified.
    ResultVerified {
        /// The attempt that delivered it.
        attempt: AttemptId,
    },
    /// A delivered result does not verify, or lacks a part.
    ResultRejected {
        /// The attempt that delivered it.
        attempt: AttemptId,
        /// What is wrong with the result, for people.
        reason: String,
    },
    /// An attempt failed on its worker.
    AttemptFailed {
        /// The session that reports this.
        worker: WorkerId,
        /// The attempt that failed.
        attempt: AttemptId,
        /// Why the attempt failed.
        failure: Failure,
    },
    /// Something that a worker did earlier turned out to be wrong.
    PeerBlamed {
        /// The worker that did it.
        peer: PeerId,
        /// What was wrong, for people.
        reason: String,
    },
    /// A proof ended, with any outcome: everything about it is forgotten.
    ProofEnded {
        /// The proof that ended.
        proof: ProofId,
    },
    /// Only time has passed.
    Tick,
}

/// Why an attempt ended without a result that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The attempt failed on its worker, for the given reason.
    Worker(String),
    /// The attempt needed more memory than its worker has.
    OutOfMemory(String),
    /// The result did not verify.
    Rejected(String),
    /// The session ended, or was silent for longer than a lease.
    WorkerLost,
    /// No other worker confirmed the events that the attempt claims, and they may be wrong. The worker is not blamed.
    Disputed,
    /// The attempt ran for much longer than expected. Its result still counts if it is the first to verify.
    Overdue,
    /// The worker did not start the attempt, although it proved nothing else: see [`Config::start_deadline`].
    NeverStarted,
    /// The scheduler took the attempt back.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(text) => f.write_str(text),
            Self::OutOfMemory(text) => write!(f, "out of memory: {text}"),
            Self::Rejected(reason) => write!(f, "the result was rejected: {reason}"),
            Self::WorkerLost => f.write_str("the worker was lost"),
            Self::Disputed => f.write_str("no other worker confirmed the precompile events that it claims"),
            Self::Overdue => f.write_str("it ran for much longer than expected"),
            Self::NeverStarted => f.write_str("the worker never started it"),
            Self::Cancelled => f.write_str("cancelled by the scheduler"),
        }
    }
}

/// One entry in the history of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// The number of the attempt.
    pub attempt: AttemptId,
    /// The session that held the attempt.
    pub worker: WorkerId,
    /// The worker of that session.
    pub peer: PeerId,
    /// Time from the assignment to the end of the attempt.
    pub duration: Duration,
    /// Why the attempt ended.
    pub failure: Failure,
}

/// An action for the driver. Commands are carried out in order, before the next event is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Give `task` to `worker`.
    Assign {
        /// The session that gets the task.
        worker: WorkerId,
        /// The number of the new attempt.
        attempt: AttemptId,
        /// The proof that the task belongs to.
        proof: ProofId,
        /// The task to prove.
        task: TaskId,
        /// The kind of the task.
        kind: TaskKind,
    },
    /// Tell `worker` to drop `attempt`.
    Cancel {
        /// The session that holds the attempt.
        worker: WorkerId,
        /// The attempt to drop.
        attempt: AttemptId,
    },
    /// `marker` is complete: the artifacts that `attempt` uploaded for it now belong to the proof.
    CompleteMarker {
        /// The proof that the marker belongs to.
        proof: ProofId,
        /// The completed marker.
        marker: TaskId,
        /// The attempt whose uploads count.
        attempt: AttemptId,
    },
    /// `task` is done: the result of `attempt` is final.
    AcceptResult {
        /// The proof that the task belongs to.
        proof: ProofId,
        /// The finished task.
        task: TaskId,
        /// The attempt whose result counts.
        attempt: AttemptId,
        /// The session that delivered the result.
        worker: WorkerId,
    },
    /// `attempt` is no longer needed. Its uploads can be dropped, except those that already belong to the proof.
    Discard {
        /// The attempt to forget.
        attempt: AttemptId,
    },
    /// `task` failed for good, and its proof fails with it. The proof stays known until [`Event::ProofEnded`].
    FailProof {
        /// The proof that failed.
        proof: ProofId,
        /// The task that failed.
        task: TaskId,
        /// The kind of the task.
        kind: TaskKind,
        /// The past attempts of the task, oldest first.
        history: Vec<PastAttempt>,
    },
    /// `attempt`, of an earlier session of the same worker, continues in a new session.
    Adopt {
        /// The session that holds the attempt now.
        worker: WorkerId,
        /// The attempt that continues.
        attempt: AttemptId,
    },
    /// `worker` is quarantined after too many faults: it gets no tasks for a while.
    Quarantine {
        /// The quarantined session.
        worker: WorkerId,
        /// How long the quarantine lasts from now.
        duration: Duration,
        /// The worker's last fault, for people.
        reason: String,
    },
    /// The quarantine of `worker` is over. The worker gets one task at a time until one of its results is accepted.
    Probation {
        /// The session on probation.
        worker: WorkerId,
    },
    /// `worker` is draining and holds nothing any more.
    WorkerDrained {
        /// The drained session.
        worker: WorkerId,
    },
    /// End the session of `worker`: it was silent for longer than a lease, or the same worker has joined again. Its
    /// attempts have already been taken from it.
    ExpireWorker {
        /// The session to end.
        worker: WorkerId,
    },
}

/// Limits, times and policies of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// A worker that is silent for this long loses its attempts.
    pub lease_ttl: Duration,
    /// A task fails for good after failures (rejected results included) on this many different workers. If no other
    /// worker supports the task, this many failures in total are enough. At least 1.
    pub max_failures: u32,
    /// The same limit for losses: the worker was lost with the task, ran it for too long, or never started it. At least
    /// 1.
    pub max_losses: u32,
    /// A worker's oldest attempt fails if the worker holds attempts for this long and starts none of them. Fetching
    /// inputs and waiting for memory that other workers on the same machine use takes minutes at most.
    pub start_deadline: Duration,
    /// A task that ran out of memory fails once it has waited this long while no connected worker had more memory. The
    /// time counts from when the last worker with more memory left, or from when the task was queued if no such worker
    /// was connected. A draining worker counts as one that has left. Time without any connected worker does not count:
    /// the driver decides how long a proof waits for a worker.
    pub patience: Duration,
    /// A longer step of the clock is treated as a pause of the scheduler itself: leases are extended by the excess.
    pub max_clock_step: Duration,
    /// Which worker gets a task when several workers could take it.
    pub placement: Placement,
    /// When an attempt counts as slow or overdue. `None` ignores how long tasks take.
    pub pace: Option<PaceRules>,
    /// When a worker is quarantined. `None` disables quarantine.
    pub quarantine: Option<QuarantineRules>,
    /// The highest attempt number already in use. The first attempt gets the next number.
    pub attempts_before: u64,
}

impl Default for Config {
    /// A lease of 3 s (three missed heartbeats of 1 s), 3 failures and 5 losses. Attempts must start within 10 minutes,
    /// the patience is 60 s, and a clock step has at most 1.5 s. Placement is [`Placement::Spread`]. Pace and
    /// quarantine rules have their defaults.
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(3),
            max_failures: 3,
            max_losses: 5,
            start_deadline: Duration::from_secs(600),
            patience: Duration::from_secs(60),
            max_clock_step: Duration::from_millis(1500),
            placement: Placement::default(),
            pace: Some(PaceRules::default()),
            quarantine: Some(QuarantineRules::default()),
            attempts_before: 0,
        }
    }
}

/// How many items the scheduler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Proofs that have not ended.
    pub proofs: usize,
    /// Tasks without a final result.
    pub open_tasks: usize,
    /// Tasks that wait for a slot.
    pub queued_tasks: usize,
    /// Attempts that workers hold.
    pub live_attempts: usize,
    /// Connected workers.
    pub workers: usize,
}

/// When [`crate::Scheduler::handle`] must be called next, with [`Event::Tick`] if no other event happens before. `None`
/// if no worker is connected.
pub type Deadline = Option<Timestamp>;
