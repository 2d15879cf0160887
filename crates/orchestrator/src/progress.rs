//! What a user sees of a proof while it runs.

use scheduler::{AttemptId, TaskId, TaskKind};

/// Something worth showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A task was found that has to be done.
    Submitted(TaskKind),
    /// A task is done.
    Done {
        /// What it was.
        kind: TaskKind,
        /// Who did it.
        worker: String,
    },
    /// A task needed not be done: the result of an earlier time counts.
    Remembered(TaskKind),
    /// Something happened to an attempt.
    Attempt(AttemptNews),
    /// The program has run to its end: no further shards of it will come but those of its memory and precompiles.
    Executed {
        /// Cycles it took.
        cycles: u64,
    },
    /// How the run is cut into shards was chosen.
    Cut {
        /// As people set it.
        name: String,
        /// Why.
        reason: String,
        /// The request's options with this choice, as another request may have them; empty where only a service has
        /// them.
        options: String,
    },
    /// A worker is ready for tasks.
    WorkerReady(String),
    /// A worker is gone; its tasks go to others.
    WorkerLost {
        /// Its name.
        worker: String,
        /// Why.
        reason: String,
    },
    /// The proof is begun again: what was reported of its tasks so far no longer counts.
    Restarted {
        /// Why.
        reason: String,
    },
    /// All parts are there; the whole is being verified.
    Verifying,
}

/// Something that happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptNews {
    /// The task it is an attempt of.
    pub task: TaskId,
    /// Its number.
    pub attempt: AttemptId,
    /// What the task asks for.
    pub kind: TaskKind,
    /// Cycles of the program that the task proves; 0 if it proves none, or an unknown number.
    pub cycles: u64,
    /// Who has it.
    pub worker: String,
    /// What happened.
    pub step: AttemptStep,
}

/// Steps of an attempt, in their order; the last three are ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptStep {
    /// It was given to its worker, and waits there.
    Assigned,
    /// Proving began.
    Started,
    /// Its result counts.
    Done,
    /// It came to nothing, for this reason.
    Failed(String),
    /// Nobody waits for it any more.
    Dropped,
}

/// What a worker did for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerShare {
    /// Its name.
    pub name: String,
    /// Where it was reached.
    pub address: String,
    /// Tasks whose result counted.
    pub tasks: u64,
}
