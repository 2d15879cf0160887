//! What a user sees of a proof while it runs.

use scheduler::TaskKind;

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
    /// The program has run to its end: no further shards of it will come but those of its memory and precompiles.
    Executed {
        /// Cycles it took.
        cycles: u64,
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
