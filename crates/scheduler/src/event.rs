//! What the scheduler is told and what it asks for.

use crate::{
    AttemptId, KindSet, PaceRules, PeerId, Placement, ProofId, QuarantineRules, TaskId, TaskKind, Timestamp, WorkerId,
};
use std::{fmt, time::Duration};

/// Something that happened. Every event may come late, twice, or about something already forgotten: such an event
/// changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A proof was accepted; its tasks follow.
    ProofStarted {
        /// The new proof.
        proof: ProofId,
    },
    /// A task of a running proof can be given to a worker.
    TaskSubmitted {
        /// The proof it belongs to.
        proof: ProofId,
        /// The new task.
        task: TaskId,
        /// What it asks for.
        kind: TaskKind,
        /// A marker, submitted before, that an attempt of this task completes on its way.
        marker: Option<TaskId>,
        /// A worker that began it for an orchestrator that was restarted since: it goes on, if it may and has a slot
        /// for it.
        begun_on: Option<WorkerId>,
    },
    /// A task that is never given to a worker: an attempt of another task completes it.
    MarkerSubmitted {
        /// The proof it belongs to.
        proof: ProofId,
        /// The new marker.
        task: TaskId,
    },
    /// A worker is ready for attempts.
    WorkerJoined {
        /// Its session.
        worker: WorkerId,
        /// Who it is, whatever the session.
        peer: PeerId,
        /// Bytes of memory that an attempt on it can have; 0 for unknown.
        memory_bytes: u64,
        /// How many attempts it may hold at a time, at least 1.
        slots: u32,
        /// What it can do.
        kinds: KindSet,
        /// Attempts of an earlier session that it still runs, or whose results it still has. Each is adopted or
        /// cancelled.
        holds: Vec<AttemptId>,
        /// Tasks that it began for an orchestrator that was restarted since. It goes on with those that nobody has
        /// begun again, as far as it has slots.
        begun: Vec<TaskId>,
    },
    /// A worker is to finish what it proves and get nothing more; what only waits on it goes to others. Answered by
    /// [`Command::WorkerDrained`], at once when it holds nothing.
    WorkerDraining {
        /// The session.
        worker: WorkerId,
    },
    /// A worker that was drained, or is being drained, may get tasks again.
    WorkerResumed {
        /// The session.
        worker: WorkerId,
    },
    /// The prover of a worker ended and is being started again. The worker gets nothing until then; what only waits on
    /// it goes to others.
    WorkerUnready {
        /// The session.
        worker: WorkerId,
    },
    /// The prover of a worker is loaded again.
    WorkerReady {
        /// The session.
        worker: WorkerId,
    },
    /// A worker's session ended.
    WorkerLost {
        /// The session that ended.
        worker: WorkerId,
    },
    /// Something was heard from a worker: its leases run anew from now.
    LeasesRenewed {
        /// The session heard from.
        worker: WorkerId,
    },
    /// An attempt left the worker's waiting room: proving began.
    AttemptStarted {
        /// The session that says so.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// An attempt says that its task's marker is complete.
    MarkerReported {
        /// The session that says so.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// An attempt delivered its result, which is not yet verified. Its slot is free again.
    AttemptReported {
        /// The session that says so.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// A delivered result was verified.
    ResultVerified {
        /// The attempt that delivered it.
        attempt: AttemptId,
    },
    /// A delivered result does not verify, or misses a part.
    ResultRejected {
        /// The attempt that delivered it.
        attempt: AttemptId,
        /// What is wrong with it, for people.
        reason: String,
    },
    /// An attempt failed on its worker.
    AttemptFailed {
        /// The session that says so.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// What happened.
        failure: Failure,
    },
    /// Something that a worker did earlier has turned out to be wrong.
    PeerBlamed {
        /// Whoever did it.
        peer: PeerId,
        /// What it was, for people.
        reason: String,
    },
    /// A proof is over, whatever the outcome: everything of it is forgotten.
    ProofEnded {
        /// The proof.
        proof: ProofId,
    },
    /// Nothing happened but time.
    Tick,
}

/// Why an attempt ended without a result that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The worker could not do it, this time.
    Worker(String),
    /// The attempt took more memory than its worker has.
    OutOfMemory(String),
    /// The result did not verify.
    Rejected(String),
    /// The session ended, or fell silent for longer than a lease.
    WorkerLost,
    /// Nobody has confirmed what it claims, and it could be wrong; its worker isn't blamed for that.
    Disputed,
    /// It ran for much longer than such tasks take. Its result still counts if it comes first.
    Overdue,
    /// The worker did not start it, though it proved nothing else: see [`Config::start_deadline`].
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
            Self::Disputed => f.write_str("nobody confirmed the events it claims"),
            Self::Overdue => f.write_str("it ran for much longer than such tasks take"),
            Self::NeverStarted => f.write_str("the worker never started it"),
            Self::Cancelled => f.write_str("taken back"),
        }
    }
}

/// One line of a task's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// Its number.
    pub attempt: AttemptId,
    /// The session it was given to.
    pub worker: WorkerId,
    /// The worker behind that session.
    pub peer: PeerId,
    /// From assignment to its end.
    pub duration: Duration,
    /// What happened.
    pub failure: Failure,
}

/// Something to be done, in order, before the next event is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Give `task` to `worker`.
    Assign {
        /// Who gets it.
        worker: WorkerId,
        /// The assignment's number.
        attempt: AttemptId,
        /// The proof the task belongs to.
        proof: ProofId,
        /// The task.
        task: TaskId,
        /// What it asks for.
        kind: TaskKind,
    },
    /// Tell `worker` to drop `attempt`.
    Cancel {
        /// Who holds it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// `marker` is complete: what `attempt` has uploaded for it becomes the proof's own.
    CompleteMarker {
        /// The proof.
        proof: ProofId,
        /// The marker.
        marker: TaskId,
        /// The attempt whose uploads count.
        attempt: AttemptId,
    },
    /// `task` is done: the result of `attempt` is final.
    AcceptResult {
        /// The proof.
        proof: ProofId,
        /// The task.
        task: TaskId,
        /// The attempt whose result counts.
        attempt: AttemptId,
        /// Who did it.
        worker: WorkerId,
    },
    /// Nothing of `attempt` will be used any more: what it uploaded and did not become the proof's own can go.
    Discard {
        /// The attempt.
        attempt: AttemptId,
    },
    /// `task` failed for good, and with it its proof. The proof stays known until [`Event::ProofEnded`].
    FailProof {
        /// The proof.
        proof: ProofId,
        /// The task.
        task: TaskId,
        /// What it asked for.
        kind: TaskKind,
        /// Its attempts, oldest first.
        history: Vec<PastAttempt>,
    },
    /// `attempt`, of an earlier session of the same worker, goes on in this one.
    Adopt {
        /// The session that has it now.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// `worker` gets nothing for a while, as too much of what it did was bad.
    Quarantine {
        /// The session.
        worker: WorkerId,
        /// For how long.
        duration: Duration,
        /// Its last fault.
        reason: String,
    },
    /// The quarantine of `worker` is over: it gets one task, on which it depends whether it gets more.
    Probation {
        /// The session.
        worker: WorkerId,
    },
    /// `worker`, which was to be drained, holds nothing any more.
    WorkerDrained {
        /// The session.
        worker: WorkerId,
    },
    /// `worker` was silent for longer than a lease, or is here again under another session: end its session. Its
    /// attempts are already taken from it.
    ExpireWorker {
        /// The session to end.
        worker: WorkerId,
    },
}

/// Limits, times and policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Silence after which a worker loses its attempts.
    pub lease_ttl: Duration,
    /// A task fails for good when this many different workers failed at it (or their results were rejected). If fewer
    /// workers are left that could do it, this many failures of those are enough. At least 1.
    pub max_failures: u32,
    /// The same for workers that were lost while they proved the task, or that never ended it. At least 1.
    pub max_losses: u32,
    /// An attempt fails if its worker does not start it, and proves nothing else, for this long. Fetching inputs and
    /// waiting for memory that other workers of the same machine use takes minutes at most.
    pub start_deadline: Duration,
    /// How long a task that needs more memory than every connected worker has waits for a larger worker that left.
    pub patience: Duration,
    /// A step of the clock longer than this is a pause of the scheduler itself: leases are extended by what exceeds it.
    pub max_clock_step: Duration,
    /// Who gets a task when several workers could take it.
    pub placement: Placement,
    /// What follows from how long tasks take; none to make nothing of it.
    pub pace: Option<PaceRules>,
    /// When a worker gets nothing for a while; none for never.
    pub quarantine: Option<QuarantineRules>,
    /// The number before that of the first attempt.
    pub attempts_before: u64,
}

impl Default for Config {
    /// Three missed heartbeats of one second, three failures, five losses, and everybody at work.
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

/// What the scheduler holds, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Proofs not ended.
    pub proofs: usize,
    /// Tasks without a final result.
    pub open_tasks: usize,
    /// Tasks waiting for a slot.
    pub queued_tasks: usize,
    /// Attempts held by workers.
    pub live_attempts: usize,
    /// Workers.
    pub workers: usize,
}

/// The next time [`crate::Scheduler::handle`] must be called with [`Event::Tick`], if nothing happens before.
pub type Deadline = Option<Timestamp>;
