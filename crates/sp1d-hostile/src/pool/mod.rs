//! The processes under measurement: a service with a fake runner, and two honest workers that prove nothing.

mod process;
mod processes;

pub(crate) use process::MeasuredProcess;
pub(crate) use processes::{HEARTBEAT, MeasuredPool, RECORD_BYTES, SHARD_TIME, STORE_BYTES, WORKERS, budget_bytes};
