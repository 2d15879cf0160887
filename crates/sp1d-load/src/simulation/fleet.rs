//! The workers of a simulated run.

use fastrand::Rng;
use serde::Serialize;

/// What sort of workers a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FleetKind {
    /// All have the same speed, and all shards the same size.
    Even,
    /// Speeds from half to one and a half, and shards that differ by up to 30 %.
    Uneven,
    /// As uneven. Each worker also fails after the time of 40 shards on average, and returns a minute later.
    Failing,
}

impl FleetKind {
    pub(crate) const ALL: [Self; 3] = [Self::Even, Self::Uneven, Self::Failing];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Uneven => "uneven",
            Self::Failing => "failing",
        }
    }

    /// Returns how much a shard differs from the average at most, as a fraction.
    pub(crate) const fn shard_spread(self) -> f64 {
        match self {
            Self::Even => 0.0,
            Self::Uneven | Self::Failing => 0.3,
        }
    }
}

/// The workers of a simulated run.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedFleet {
    /// The speed of each worker. A worker of speed 2 takes half the time.
    pub(crate) speeds: Vec<f64>,
    /// Average time until a worker fails, in seconds. `None` if workers never fail.
    pub(super) mean_uptime: Option<f64>,
}

/// Time until a failed worker is ready again, in seconds.
pub(super) const DOWN_SECONDS: f64 = 60.0;

/// Average number of shards until a worker fails.
const SHARDS_PER_FAILURE: f64 = 40.0;

impl SimulatedFleet {
    pub(crate) fn new(kind: FleetKind, workers: usize, shard_seconds: f64, random: &mut Rng) -> Self {
        let speed = |_: usize| match kind {
            FleetKind::Even => 1.0,
            FleetKind::Uneven | FleetKind::Failing => 0.5 + random.f64(),
        };
        let speeds = (0..workers).map(speed).collect();
        let mean_uptime = (kind == FleetKind::Failing).then_some(SHARDS_PER_FAILURE * shard_seconds);
        Self { speeds, mean_uptime }
    }

    /// Returns the speed of all workers together.
    pub(crate) fn speed(&self) -> f64 {
        self.speeds.iter().sum()
    }

    /// Returns the speed of the fastest worker.
    pub(crate) fn fastest(&self) -> f64 {
        self.speeds.iter().copied().fold(0.0, f64::max)
    }
}
