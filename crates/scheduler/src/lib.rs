//! Scheduling of proving tasks: a pure state machine.
//!
//! ```text
//!   Event + Timestamp ──► Scheduler::handle ──► Vec<Command>
//! ```
//!
//! The scheduler decides which worker gets which task, which result counts, and when a task has failed for good. It
//! deliberately uses no network, clock, thread or disk, and knows nothing about SP1. Its driver reports each event with
//! its time and carries out the commands that the scheduler returns. The scheduler can therefore be tested with tables
//! and simulated with thousands of workers from one seed.

mod attempt;
mod crew;
mod event;
mod exclusions;
mod ids;
mod kind;
mod lanes;
mod lease;
mod pace;
mod peer;
mod placement;
mod policy;
mod queue;
mod scheduler;
mod status;
mod task;
mod workers;

#[cfg(test)]
mod tests;

pub use event::{Command, Config, Counts, Deadline, Event, Failure, PastAttempt};
pub use ids::{AttemptId, PeerId, ProofId, TaskId, Timestamp, WorkerId};
pub use kind::{KindSet, TaskKind};
pub use pace::PaceRules;
pub use peer::QuarantineRules;
pub use policy::{Placement, UnknownPlacement};
pub use scheduler::Scheduler;
pub use status::{TaskStatus, WorkerStatus};
