//! What a worker needs of a proving engine, and what it offers one.

use async_trait::async_trait;
use protocol::{Assignment, FailureKind};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Runs tasks. Heavy work happens on the engine's own threads, never on the caller's.
#[async_trait]
pub trait ProvingEngine: Send + Sync + 'static {
    /// How many attempts may be inside at a time, at least 1.
    fn slots(&self) -> usize;

    /// Resolves when an attempt that is run now begins at once: a prover that was lost is loaded again first.
    async fn ready(&self) {}

    /// Does one task: fetches its inputs from `io` and delivers its outputs there. `slot` is below
    /// [`ProvingEngine::slots`] and no two attempts inside have the same.
    ///
    /// # Errors
    /// When the task could not be done, this time.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt; a stage that cannot be interrupted goes on to its end without effect.
    async fn run(&self, slot: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError>;

    /// Resolves when no stage of an attempt runs inside, also of one that was cancelled.
    async fn rests(&self) {}

    /// The processes that prove.
    fn footprint(&self) -> Footprint {
        Footprint { processes: vec![std::process::id()], rest_bytes: 0 }
    }

    /// Gives memory back to the system that it keeps for the next task. Blocks for a moment. Nothing is kept unless
    /// this is overridden.
    fn give_back(&self) {}
}

/// The processes that prove, and what they take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Their numbers. One that is being started again is not among them.
    pub processes: Vec<u32>,
    /// Resident bytes of all of them together while nothing was inside; 0 for unknown.
    pub rest_bytes: u64,
}

/// Artifacts of one attempt. Works from any thread, inside or outside an asynchronous runtime.
#[async_trait]
pub trait AttemptIo: Send + Sync + 'static {
    /// The content of an artifact.
    ///
    /// # Errors
    /// When it does not exist, is not what was announced, or the session is over.
    async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError>;

    /// Hands over an artifact that the attempt made.
    ///
    /// # Errors
    /// When the orchestrator does not take it, or the session is over.
    async fn deliver(&self, name: &str, content: Vec<u8>) -> Result<(), IoError>;

    /// Says that the attempt's marker is complete: everything delivered for it is there.
    ///
    /// # Errors
    /// When the session is over.
    async fn complete_marker(&self) -> Result<(), IoError>;

    /// Notes the highest ratio of used to estimated memory. Called at most once, when the attempt is over. By default
    /// nothing happens.
    fn note_memory(&self, _: MemoryUse) {}
}

/// Memory of a prover process while an attempt was inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Live bytes of the process, beyond those that it had when it was loaded.
    pub used_bytes: u64,
    /// Sum of the estimates of all attempts that were inside at that moment.
    pub estimated_bytes: u64,
}

impl MemoryUse {
    /// What was used, as a part of the estimates; 0 without an estimate.
    pub(crate) fn part(self) -> f64 {
        if self.estimated_bytes == 0 { 0.0 } else { self.used_bytes as f64 / self.estimated_bytes as f64 }
    }
}

/// Why an artifact did not get through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action} {name}: {reason}")]
pub struct IoError {
    /// What was tried: a verb.
    pub action: &'static str,
    /// The artifact.
    pub name: String,
    /// Why it failed.
    pub reason: String,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {text}")]
pub struct AttemptError {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// Details, for people.
    pub text: String,
}

/// Where an engine is on its way to being usable.
#[derive(Clone)]
pub enum EngineState {
    /// Not yet.
    Starting {
        /// When it will be ready, by estimate.
        ready_at: Instant,
    },
    /// Ready for tasks.
    Ready(Arc<dyn ProvingEngine>),
    /// It will never be; why, and the way out.
    Failed(String),
}

/// Where the starter of an engine says how far it is.
pub type StateSender = watch::Sender<EngineState>;

/// The two ends of an engine's state, `Starting` with `estimate` to go.
#[must_use]
pub fn engine_state(estimate: Duration) -> (StateSender, watch::Receiver<EngineState>) {
    watch::channel(EngineState::Starting { ready_at: Instant::now() + estimate })
}

impl EngineState {
    /// Whole seconds until ready, by estimate: 0 when ready, at least 1 when not.
    #[must_use]
    pub fn seconds_left(&self) -> u32 {
        match self {
            Self::Starting { ready_at } => {
                let left = ready_at.saturating_duration_since(Instant::now());
                u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)
            }
            Self::Ready(_) | Self::Failed(_) => 0,
        }
    }
}
