//! Proofs: what a client asks for, what happens to a proof, what it waits for, and how it ends.
//!
//! It does not know how tasks are made or run.

mod event;
mod failure;
mod mode;
mod program;
mod request;
mod state;
mod summary;
mod waiting;

pub use event::{AttemptInfo, EventRecord, ProofEvent};
pub use failure::{FailureInfo, ProofFailureKind};
pub use mode::ProofMode;
pub use program::ProgramSummary;
pub use request::NewProof;
pub use state::ProofState;
pub use summary::{ProofSummary, TaskCounts, WorkerTasks};
pub use waiting::{OpenTask, OpenTaskState, ProofWaiting, WaitCode, WaitingTasks};
