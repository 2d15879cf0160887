//! Progress of a running proof, as users see it.

use scheduler::{AttemptId, TaskId, TaskKind};

/// A progress report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A task was submitted.
    Submitted(TaskKind),
    /// A task was completed.
    Done {
        /// Kind of the task.
        kind: TaskKind,
        /// Name of the worker that completed it.
        worker: String,
    },
    /// A task was completed by a cached result, without a worker.
    Remembered(TaskKind),
    /// An attempt changed its state.
    Attempt(AttemptNews),
    /// The program has run to its end. The only shards that follow are those of its memory and its precompiles.
    Executed {
        /// Number of cycles that it ran.
        cycles: u64,
    },
    /// The controller chose how the run is cut into shards.
    Cut {
        /// The setting as users write it.
        name: String,
        /// Why it was chosen.
        reason: String,
        /// The options of the request with this choice, for use in another request. Empty if the proof runs on a
        /// service, because only the service has them.
        options: String,
    },
    /// A worker is ready for tasks.
    WorkerReady(String),
    /// A worker was disconnected. Its tasks go to other workers.
    WorkerLost {
        /// Its name.
        worker: String,
        /// Why it was disconnected.
        reason: String,
    },
    /// The proof restarts. Earlier reports about its tasks no longer count.
    Restarted {
        /// Why it restarts.
        reason: String,
    },
    /// All parts are proven, and the finished proof is being verified.
    Verifying,
}

/// A report about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptNews {
    /// The task of the attempt.
    pub task: TaskId,
    /// Number of the attempt.
    pub attempt: AttemptId,
    /// Kind of the task.
    pub kind: TaskKind,
    /// Number of program cycles that the task proves; 0 if it proves none, or if the number is unknown.
    pub cycles: u64,
    /// Name of the worker that holds the attempt.
    pub worker: String,
    /// The step.
    pub step: AttemptStep,
}

/// Steps of an attempt, in their order. The last three end the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptStep {
    /// It was assigned to its worker, and waits there.
    Assigned,
    /// Proving started.
    Started,
    /// Its result was accepted.
    Done,
    /// It failed, for this reason.
    Failed(String),
    /// Its result is no longer needed.
    Dropped,
}

/// The share of a worker in a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerShare {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Number of its results that were accepted.
    pub tasks: u64,
}
