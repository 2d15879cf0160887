//! What an attack may cost at most.

use crate::pool::budget_bytes;
use serde::Serialize;
use std::time::Duration;

/// What an attack may cost at most. Proofs and requests are not in it: none may be lost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct HostileLimits {
    /// Growth of the time of a proof, as a fraction.
    pub(super) growth: f64,
    /// Longest time without a healthy response.
    #[serde(serialize_with = "super::plan::seconds")]
    pub(super) silence: Duration,
    /// Peak memory of the service.
    pub(super) service_bytes: u64,
    /// Peak memory of an honest worker.
    pub(super) worker_bytes: u64,
    /// Growth of the peak memory of a process beside a flood.
    pub(super) flood_bytes: u64,
    /// Connections in a second that a flood must reach, or it shows nothing.
    pub(super) flood_rate: f64,
}

/// Memory of a process beyond its configured budget.
const BEYOND_BUDGET_BYTES: u64 = 200_000_000;

/// Memory in which a worker keeps programs and common inputs: `MAX_CACHE_BYTES` of the crate `worker`.
const WORKER_CACHE_BYTES: u64 = 256 << 20;

pub(super) const LIMITS: HostileLimits = HostileLimits {
    growth: 0.1,
    silence: Duration::from_secs(1),
    service_bytes: budget_bytes() + BEYOND_BUDGET_BYTES,
    worker_bytes: WORKER_CACHE_BYTES + BEYOND_BUDGET_BYTES,
    flood_bytes: 50_000_000,
    flood_rate: 900.0,
};
