//! Scheduling of proving tasks: a pure state machine.
//!
//! ```text
//!   Event + Timestamp ──► Scheduler::handle ──► Vec<Command>
//! ```
//!
//! It decides which worker gets which task, whose result counts, and when a task has failed for good. It deliberately
//! knows no network, no clock, no thread, no disk and nothing of SP1: its driver tells it what happened and when, and
//! carries out what it asks for. So it can be tested by tables and simulated for thousands of workers from one seed.

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
