//! The words that all crates share, as plain data. The HTTP interface sends many of them.
//!
//! This crate knows no network, file, thread or runtime. It names SP1's proof modes and task kinds, but does not depend
//! on SP1's crates.
//!
//! - `ids.rs`: ids of proofs, tasks, attempts, workers and sessions.
//! - `task/`: the kinds of tasks, and the kinds of failures that workers report.
//! - `proof/`: requests for proofs, and the events, open tasks, states and failures of proofs.
//! - `worker/` and `health.rs`: what a service shows of its workers and of itself.
//! - `moment.rs`: points in time. `hint.rs`: hints in error texts. `limit.rs`: bounds that remote peers can reach.
//! - `plain_text.rs`: texts of others, made safe to show. `counted.rs`: numbers of things, in words.

mod counted;
mod health;
pub mod hint;
mod ids;
mod limit;
mod moment;
mod plain_text;
mod proof;
mod task;
mod worker;

pub use counted::counted;
pub use health::Health;
pub use ids::{AttemptId, SessionId, TaskId, TryId, WorkerId};
pub use limit::{Limit, LimitPeer, LimitValue, Rate};
pub use moment::Moment;
pub use plain_text::clean_line;
pub use proof::{
    AttemptInfo, EventRecord, FailureInfo, MIN_PROVEN_TASKS, NewProof, OpenTask, OpenTaskState, OpenTasks,
    ProgramSummary, ProofEvent, ProofFailureKind, ProofMode, ProofState, ProofSummary, TaskCounts, WaitCode,
    WaitingTasks, WorkerTasks, cut_sentence,
};
pub use task::{FailureKind, KindSet, TaskKind};
pub use worker::{Disconnection, GpuState, ListStatus, WorkerActivity, WorkerSummary, WorkersReport};
