//! Tasks: their kinds, and how attempts at them fail.
//!
//! It does not know how tasks are scheduled.

mod failure;
mod kind;

pub use failure::FailureKind;
pub use kind::{KindSet, TaskKind};
