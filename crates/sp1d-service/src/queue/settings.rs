//! The configuration of a service.

use opentelemetry::global::BoxedTracer;
use sp1d_orchestrator::OrchestratorSettings;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Configuration of a service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The state folder. It contains everything that must survive the process.
    pub state: PathBuf,
    /// Settings of the orchestrator. The service sets `attempts_before` and `lineage` itself and ignores their values
    /// here.
    pub orchestrator: OrchestratorSettings,
    /// Options that decide how new proofs cut their runs into shards, in the runner's serialization format.
    pub options: String,
    /// Proofs that run at the same time. 0 means 1.
    pub running: usize,
    /// Proofs that may wait in the queue. Further requests are refused.
    pub queued: u64,
    /// Maximum length of a program in bytes.
    pub program_bytes: u64,
    /// Maximum length of an input in bytes.
    pub input_bytes: u64,
    /// Maximum size of the result cache on disk in bytes; 0 disables the cache. Garbage collection removes the results
    /// that were not used for the longest time.
    pub result_cache_bytes: u64,
    /// Free disk space in bytes below which the service refuses new proofs and uploads and caches no results.
    pub free_bytes: u64,
    /// How long a proof is kept after its end.
    pub keep: Duration,
    /// Further host names, in lower case, by which clients may address a service that listens on a loopback address.
    /// `localhost` and IP addresses are always allowed.
    pub allowed_hosts: Vec<String>,
    /// Exports traces of proofs; `None` for no traces.
    pub tracer: Option<Arc<BoxedTracer>>,
}

impl ServiceSettings {
    /// Returns the defaults: 2 running and 1000 queued proofs, programs of at most 128 MiB, inputs of at most 1 GiB, a
    /// result cache of 20 GB, 1 GB of disk space left free, ended proofs kept for a week, no further host names, and no
    /// traces.
    #[must_use]
    pub fn new(state: PathBuf, orchestrator: OrchestratorSettings, options: String) -> Self {
        Self {
            state,
            orchestrator,
            options,
            running: 2,
            queued: 1000,
            program_bytes: 128 << 20,
            input_bytes: 1 << 30,
            result_cache_bytes: 20_000_000_000,
            free_bytes: 1_000_000_000,
            keep: Duration::from_secs(7 * 24 * 60 * 60),
            allowed_hosts: Vec::new(),
            tracer: None,
        }
    }
}
