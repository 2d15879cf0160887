//! The interface between a worker and its proving engine. The worker calls `ProvingEngine`, and the engine calls back
//! through `AttemptIo`.

use async_trait::async_trait;
use sp1d_protocol::{Assignment, FailureKind};
use std::{fmt, sync::Arc};

/// Runs tasks. Heavy work happens on the engine's own threads, never on the caller's.
#[async_trait]
pub trait ProvingEngine: Send + Sync + 'static {
    /// Returns the maximum number of attempts that run in the engine at the same time, at least 1.
    fn places(&self) -> usize;

    /// Resolves when the engine can start another attempt at once, and keeps the room for it. For example, this waits
    /// until a prover that was lost is loaded again. Keep the returned value until the attempt has ended. The default
    /// implementation resolves immediately, for engines that always have room for [`ProvingEngine::places`] attempts.
    async fn ready(&self) -> EngineRoom {
        EngineRoom::default()
    }

    /// Runs one attempt: fetches its inputs from `io` and uploads its outputs to `io`. `place` is the number of the
    /// attempt's place in the engine. It is below [`ProvingEngine::places`], and no other attempt in the engine has it.
    ///
    /// # Errors
    /// Returns why this attempt failed. Another attempt of the same task may succeed.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt. A stage that cannot be interrupted runs to its end without effect.
    async fn run(&self, place: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError>;

    /// Resolves when no proving stage runs in the engine, stages of cancelled attempts included. The default
    /// implementation resolves immediately.
    async fn rests(&self) {}

    /// Returns the processes that prove. The default implementation returns the calling process, with unknown memory at
    /// rest.
    fn footprint(&self) -> Footprint {
        Footprint { processes: vec![std::process::id()], rest_bytes: 0 }
    }

    /// Returns how many provers of the engine are loaded. The default implementation returns one, for engines that are
    /// a single prover.
    fn prover_counts(&self) -> ProverCounts {
        ProverCounts { ready: 1, failed: 0 }
    }

    /// Gives memory that the engine keeps for the next task back to the operating system. Blocks for a moment. The
    /// default implementation does nothing, for engines that keep no memory.
    fn release_memory(&self) {}

    /// Returns true if every later attempt would fail in this process, for example because its GPU reported an error.
    /// A prover process ends then, and is started again. The default implementation returns false.
    fn is_broken(&self) -> bool {
        false
    }
}

/// Room for one attempt in an engine. Another attempt can have it when this value is dropped.
#[derive(Default)]
#[must_use = "another attempt can have the room when this value is dropped"]
pub struct EngineRoom {
    _claim: Option<Box<dyn Send>>,
}

impl EngineRoom {
    /// Creates room that is free again when `claim` is dropped.
    pub(crate) fn new(claim: impl Send + 'static) -> Self {
        Self { _claim: Some(Box::new(claim)) }
    }
}

impl fmt::Debug for EngineRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineRoom")
    }
}

/// How many provers of a worker are loaded, and how many can never be. The others are loading, or end the stage of a
/// cancelled attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProverCounts {
    /// Number of provers that are loaded.
    pub ready: u32,
    /// Number of provers that the worker has given up.
    pub failed: u32,
}

/// The processes that prove, and the memory that they use at rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Process ids. A process that is being restarted is not included.
    pub processes: Vec<u32>,
    /// Resident bytes of all these processes together, measured while no attempt was running; 0 if unknown.
    pub rest_bytes: u64,
}

/// Access to the artifacts of one attempt. The methods can be called from any thread, inside or outside an asynchronous
/// runtime.
#[async_trait]
pub trait AttemptIo: Send + Sync + 'static {
    /// Returns the content of an artifact.
    ///
    /// # Errors
    /// Fails if the artifact does not exist, if it differs from what was announced, or if the attempt is over.
    async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError>;

    /// Sends an artifact that the attempt made to the orchestrator.
    ///
    /// # Errors
    /// Fails if the orchestrator rejects the artifact, or if the attempt is over.
    async fn deliver(&self, name: &str, content: Vec<u8>) -> Result<(), IoError>;

    /// Reports that all deferred events of the attempt's shard are uploaded. Once they are accepted, the marker is
    /// complete.
    ///
    /// # Errors
    /// Fails if the attempt is over.
    async fn report_deferred_events(&self) -> Result<(), IoError>;

    /// Records the measurement with the highest ratio of used to estimated memory. Called at most once, when the
    /// attempt ends. The default implementation does nothing.
    fn note_memory(&self, _: MemoryUse) {}
}

/// Memory use of a prover process at one moment, while attempts were running in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Live bytes of the process, minus the fewest live bytes that were seen since it was loaded.
    pub used_bytes: u64,
    /// Sum of the estimates of all attempts that were running in the process at that moment.
    pub estimated_bytes: u64,
}

impl MemoryUse {
    /// Returns the ratio of used to estimated memory, or 0 without an estimate.
    pub(crate) fn ratio(self) -> f64 {
        if self.estimated_bytes == 0 { 0.0 } else { self.used_bytes as f64 / self.estimated_bytes as f64 }
    }
}

/// What an attempt does with its artifacts through [`AttemptIo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoAction {
    /// Fetches an artifact.
    Fetch,
    /// Delivers an artifact.
    Deliver,
    /// Reports the deferred events.
    ReportDeferredEvents,
}

impl fmt::Display for IoAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Deliver => "deliver",
            Self::ReportDeferredEvents => "report",
        })
    }
}

/// Why an artifact could not be transferred.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} {name}: {reason}")]
pub struct IoError {
    /// The action that failed.
    pub action: IoAction,
    /// The name of the artifact.
    pub name: String,
    /// Why it failed.
    pub reason: String,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {text}")]
pub struct AttemptError {
    /// The kind of failure, which decides how the orchestrator reacts.
    pub kind: FailureKind,
    /// Details for people.
    pub text: String,
}
