//! The decisions about proving tasks, in two pure state machines.
//!
//! ```text
//!   driver ── DispatchEvent + time ──► DispatchState ── Event + time ──► Scheduler
//!          ◄──── DispatchCommands ────               ◄──── Commands ────
//! ```
//!
//! - [`Scheduler`] decides which worker gets which task, which result is final, and when a task has failed for good.
//! - [`DispatchState`] owns a scheduler and filters the workers' reports. It decides when the scheduler learns of a
//!   result, compares what workers claim about deferred events, and decides when a marker is complete.
//!
//! The *driver* passes each event with its time and carries out the commands that it gets back. In production, the
//! driver is the orchestrator's dispatcher. In tests, it is the test or the simulation.
//!
//! This crate deliberately uses no network, clock, thread or disk, and knows nothing about SP1. It can therefore be
//! tested with tables, and simulated with thousands of workers from one seed.

mod config;
mod dispatch;
mod event;
mod failure;
mod limits;
mod placement;
mod policy;
mod queue;
mod scheduler;
mod shard_room;
mod share_group;
mod status;
mod tasks;
mod timestamp;
mod wait_reason;
mod workers;

#[cfg(test)]
mod tests;

pub use config::SchedulerConfig;
pub use dispatch::{
    AttemptStep, ClaimHistory, DeferredClaim, DispatchCommand, DispatchEvent, DispatchState, ResultKey,
    ResumableAttempt, TryFailureCause,
};
pub use event::{Command, Event};
pub use failure::{AttemptEndReason, AttemptFailure, PastAttempt};
pub use limits::limits;
pub use policy::{Placement, UnknownPlacement};
pub use scheduler::Scheduler;
pub use shard_room::{ShardRoom, ShardSize};
pub use share_group::ShareGroup;
pub use sp1d_model::{AttemptId, FailureKind, KindSet, SessionId, TaskId, TaskKind, TryId, WorkerId};
pub use status::{SchedulerCounts, TaskStatus, WorkerChanges, WorkerStanding, WorkerStatus};
pub use timestamp::Timestamp;
pub use wait_reason::WaitReason;
pub use workers::{OriginId, PaceRules, QuarantineRules, ReadyWorker};
