//! Tries, their tasks and markers, and the attempts at tasks.
//!
//! This folder keeps the facts about each of them. It decides nothing, and does not know which workers are ready.

mod attempt;
mod memory_claims;
mod task;

pub(crate) use attempt::{AttemptState, Loss, ScheduledAttempt};
pub(crate) use task::{
    CountedWorker, LIMITS as TASK_LIMITS, MAX_HISTORY, MAX_LAPSED, ScheduledMarker, ScheduledTask, ScheduledTry,
    TaskState, WorkerCounts,
};
