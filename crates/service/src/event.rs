//! What happens to a proof, as it is kept and told.

use crate::record::{FailureInfo, Moment, ProofState};
use orchestrator::{AttemptNews, AttemptStep, Progress};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened to a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProofEvent {
    /// It was accepted.
    Queued,
    /// It was begun, for the time that `start` says.
    Started {
        /// 1 for the first time.
        start: u32,
    },
    /// A task was found that has to be done.
    Submitted {
        /// What it asks for.
        kind: String,
    },
    /// A task needed not be done: its result is there from an earlier time.
    Remembered {
        /// What it asks for.
        kind: String,
    },
    /// A task was given to a worker, and waits there.
    Assigned(Attempt),
    /// Proving began.
    Proving(Attempt),
    /// A task is done.
    Done(Attempt),
    /// An attempt came to nothing.
    AttemptFailed {
        /// Which one.
        #[serde(flatten)]
        attempt: Attempt,
        /// Why.
        reason: String,
    },
    /// Nobody waits for an attempt any more.
    Dropped(Attempt),
    /// The program has run to its end.
    Executed {
        /// Cycles it took.
        cycles: u64,
    },
    /// A worker is ready for tasks.
    WorkerReady {
        /// Its name.
        worker: String,
    },
    /// A worker is gone; its tasks go to others.
    WorkerLost {
        /// Its name.
        worker: String,
        /// Why.
        reason: String,
    },
    /// It was begun again: tasks so far no longer count.
    Restarted {
        /// Why.
        reason: String,
    },
    /// All parts are there; the whole is being verified.
    Verifying,
    /// It is over.
    Finished {
        /// How it ended.
        state: ProofState,
        /// Why there is no proof, if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureInfo>,
    },
}

/// An attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Number of the task, within the service's process.
    pub task: u64,
    /// Its own number, used once ever.
    pub attempt: u64,
    /// What the task asks for.
    pub kind: String,
    /// Who has it.
    pub worker: String,
}

/// An event with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventRecord {
    /// From 1, without gaps within a proof.
    pub number: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Moment,
    /// What happened.
    #[serde(flatten)]
    pub event: ProofEvent,
}

impl ProofEvent {
    /// What `progress` tells; `None` for what another event says too.
    pub(crate) fn of(progress: Progress) -> Option<Self> {
        Some(match progress {
            Progress::Submitted(kind) => Self::Submitted { kind: kind.to_string() },
            Progress::Remembered(kind) => Self::Remembered { kind: kind.to_string() },
            Progress::Attempt(AttemptNews { task, attempt, kind, worker, step }) => {
                let attempt = Attempt { task: task.0, attempt: attempt.0, kind: kind.to_string(), worker };
                match step {
                    AttemptStep::Assigned => Self::Assigned(attempt),
                    AttemptStep::Started => Self::Proving(attempt),
                    AttemptStep::Done => Self::Done(attempt),
                    AttemptStep::Failed(reason) => Self::AttemptFailed { attempt, reason },
                    AttemptStep::Dropped => Self::Dropped(attempt),
                }
            }
            // Its attempt is done.
            Progress::Done { .. } => return None,
            Progress::Executed { cycles } => Self::Executed { cycles },
            Progress::WorkerReady(worker) => Self::WorkerReady { worker },
            Progress::WorkerLost { worker, reason } => Self::WorkerLost { worker, reason },
            Progress::Restarted { reason } => Self::Restarted { reason },
            Progress::Verifying => Self::Verifying,
        })
    }
}
