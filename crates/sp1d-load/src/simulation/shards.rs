//! The shards of a simulated run.

use fastrand::Rng;

/// A shard of a simulated run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardPlan {
    /// When the executor has made its record, in seconds.
    pub(crate) available: f64,
    /// Time on a worker of speed 1, in seconds.
    pub(crate) seconds: f64,
}

/// Shards that an orchestrator can receive, send, check and book in a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubRate(pub(crate) f64);

/// Makes `count` shards that take `seconds` on average. `spread` is how much a shard differs from that at most, as a
/// fraction. The executor makes a record every `interval` seconds.
pub(crate) fn plan_shards(count: usize, seconds: f64, spread: f64, interval: f64, random: &mut Rng) -> Vec<ShardPlan> {
    let shard = |number: usize| ShardPlan {
        available: interval * number as f64,
        seconds: seconds * (1.0 + spread * (2.0 * random.f64() - 1.0)),
    };
    (1..=count).map(shard).collect()
}
