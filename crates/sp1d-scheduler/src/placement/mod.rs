//! The choice of the next task and its worker.
//!
//! This folder only decides. It changes nothing, and `scheduler/slots.rs` applies its choices.

mod choice;
mod pack_plan;

pub(crate) use choice::{AttemptProgress, FreedWorker, PlacementInputs, Stealable};
pub(crate) use pack_plan::PackPlans;
