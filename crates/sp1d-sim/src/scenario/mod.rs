//! What a seed decides in advance: the size of the world, its work and its faults.
//!
//! This folder knows nothing of time that passes or of what happens in a world.

mod claims;
mod dice;
mod fault;
mod parameters;
mod plan;

pub(crate) use claims::{Claims, UploadedClaims, earlier_claims};
pub(crate) use dice::{Dice, Purpose, mixed};
pub(crate) use fault::{InjectedFault, Lie, MachineId, PlannedFault, draw_faults};
pub(crate) use parameters::{LAST_ATTEMPT_BEFORE_RESTART, WorldParameters};
#[cfg(test)]
pub(crate) use plan::TaskPlan;
pub(crate) use plan::{Plan, Value};
