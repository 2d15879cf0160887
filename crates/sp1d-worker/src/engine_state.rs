//! The state of an engine: whether it can run tasks.

use crate::{
    engine::{ProverCounts, ProvingEngine},
    load_error::LoadError,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Whether an engine can run tasks.
#[derive(Clone)]
pub enum EngineState {
    /// The engine is being loaded.
    Starting {
        /// The estimated time at which the engine is ready.
        ready_at: Instant,
        /// Number of provers that can never be loaded. At least one other prover is still loading.
        failed_provers: u32,
    },
    /// The engine can run tasks.
    Ready(Arc<dyn ProvingEngine>),
    /// The engine can never run tasks.
    Failed(LoadError),
}

/// Publishes the state of an engine. The code that starts the engine owns it.
pub type StateSender = watch::Sender<EngineState>;

/// Creates a channel for the state of an engine. The initial state is `Starting`, with `estimate` as the remaining
/// time.
#[must_use]
pub fn engine_state(estimate: Duration) -> (StateSender, watch::Receiver<EngineState>) {
    watch::channel(EngineState::Starting { ready_at: Instant::now() + estimate, failed_provers: 0 })
}

impl EngineState {
    /// Returns the estimated whole seconds until the engine is ready: at least 1 while it starts, 0 if it is ready or
    /// has failed.
    #[must_use]
    pub fn seconds_left(&self) -> u32 {
        match self {
            Self::Starting { ready_at, .. } => {
                let left = ready_at.saturating_duration_since(Instant::now());
                u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)
            }
            Self::Ready(_) | Self::Failed(_) => 0,
        }
    }

    /// Returns how many provers are loaded. For an engine that has failed, the number of failed provers is unknown, and
    /// one is reported.
    #[must_use]
    pub fn prover_counts(&self) -> ProverCounts {
        match self {
            Self::Starting { failed_provers, .. } => ProverCounts { ready: 0, failed: *failed_provers },
            Self::Ready(engine) => engine.prover_counts(),
            Self::Failed(_) => ProverCounts { ready: 0, failed: 1 },
        }
    }
}
