//! The real scheduler in virtual time, with workers that fail only when the scenario says so. It does not know where
//! durations come from.

mod fleet;
mod run;
mod shards;

pub(crate) use fleet::{FleetKind, SimulatedFleet};
pub(crate) use run::simulate;
pub(crate) use shards::{HubRate, ShardPlan, plan_shards};
