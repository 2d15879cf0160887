//! Proofs: what a client asks for, what happens to a proof, what it waits for, and how it ends.
//!
//! It does not know how tasks are made or run.

mod cut;
mod event;
mod failure;
mod mode;
mod open_tasks;
mod program;
mod request;
mod state;
mod summary;
mod time_left;

pub use cut::cut_sentence;
pub use event::{AttemptInfo, EventRecord, ProofEvent};
pub use failure::{FailureInfo, ProofFailureKind};
pub use mode::ProofMode;
pub use open_tasks::{OpenTask, OpenTaskState, OpenTasks, WaitCode, WaitingTasks};
pub use program::ProgramSummary;
pub use request::NewProof;
pub use state::ProofState;
pub use summary::{ProofSummary, TaskCounts, WorkerTasks};
pub use time_left::MIN_PROVEN_TASKS;
