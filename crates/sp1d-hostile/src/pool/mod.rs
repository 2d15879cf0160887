//! The processes under measurement: a service with a fake runner, and two honest workers that prove nothing.

mod process;
mod processes;

pub(crate) use processes::{
    HEARTBEAT, INPUT_BYTES, MeasuredPool, PeakMemory, RECORD_BYTES, SHARD_TIME, WORKERS, budget_bytes,
};
