//! The configuration of a service.

use super::http_limits::HttpLimits;
use crate::archive::ArchivePlace;
use opentelemetry::global::BoxedTracer;
use sp1d_identity::HttpsIdentity;
use sp1d_orchestrator::OrchestratorSettings;
use std::{path::PathBuf, sync::Arc, time::Duration};

sp1d_model::limits! {
    /// Default maximum length of a program. The largest known programs have 12 MB.
    const MAX_PROGRAM_BYTES: u64 = 128 << 20; Bytes by Client;
    /// Default maximum length of an input. The service reads an input as a whole when it starts the proof, and keeps it
    /// until the proof ends, because it executes a program that fails once more. While a proof starts, up to four more
    /// copies are in memory: SP1's controller decodes the input twice, each time from an encoded copy.
    const MAX_INPUT_BYTES: u64 = 1 << 30; Bytes by Client;
    /// Default maximum number of queued proofs. Further requests get status 429.
    const MAX_QUEUED_PROOFS: u64 = 1000; Count by Client;
}

/// Configuration of a service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The state folder. It contains everything that must survive the process.
    pub state: PathBuf,
    /// Settings of the orchestrator. The service sets `last_attempt_before_restart` and `lineage` itself and ignores
    /// their values here.
    pub orchestrator: OrchestratorSettings,
    /// Options that decide how new proofs cut their runs into shards, in the runner's serialization format.
    pub options: String,
    /// Maximum number of proofs that run at the same time. 0 means 1.
    pub parallel_proofs: usize,
    /// Maximum number of cycles of a program; `None` for no limit. A request can only lower it.
    pub max_cycles: Option<u64>,
    /// Maximum time that a proof runs after a start; `None` for no limit. A request can only lower it.
    pub max_time: Option<Duration>,
    /// Maximum number of proofs in the queue. Further requests are refused.
    pub max_queue: u64,
    /// Maximum length of a program in bytes.
    pub max_program_bytes: u64,
    /// Maximum length of an input in bytes.
    pub max_input_bytes: u64,
    /// Maximum size of the result cache on disk in bytes; 0 disables the cache. The results that were not used for the
    /// longest time give way to new ones, and to requests that need their disk space.
    pub max_result_cache_bytes: u64,
    /// Whether a proof may use cached results of other tenants. A tenant can then measure whether another one has
    /// proven the same.
    pub share_results: bool,
    /// Requires tokens, also before the first one is created. A service requires tokens anyway once one was created.
    pub require_tokens: bool,
    /// Free disk space in bytes below which the service refuses new proofs and uploads and caches no results.
    pub min_free_bytes: u64,
    /// How long a proof is kept after its end.
    pub keep: Duration,
    /// Where to archive finished proofs and the database; `None` for no archive. An object store takes its settings
    /// from the `AWS_*` variables of the environment.
    pub archive: Option<ArchivePlace>,
    /// Further host names, in lower case, by which clients may address a service that listens on a loopback address.
    /// `localhost` and IP addresses are always allowed.
    pub allowed_hosts: Vec<String>,
    /// Limits of the HTTP interface.
    pub http: HttpLimits,
    /// Serves HTTPS with this certificate instead of HTTP, except on the loopback interface; `None` for HTTP.
    /// Connections to workers have their own setting, in `orchestrator`.
    pub tls: Option<HttpsIdentity>,
    /// Exports traces of proofs; `None` for no traces.
    pub tracer: Option<Arc<BoxedTracer>>,
}

impl ServiceSettings {
    /// Returns the defaults: 2 running and 1000 queued proofs, no maximum of cycles and time, programs of at most 128
    /// MiB, inputs of at most 1 GiB, a result cache of 20 GB that tenants do not share, tokens only once one was
    /// created, 1 GB of disk space left free, ended proofs kept for a week, no archive, no further host names, the
    /// default limits of the HTTP interface, HTTP, and no traces.
    #[must_use]
    pub fn new(state: PathBuf, orchestrator: OrchestratorSettings, options: String) -> Self {
        Self {
            state,
            orchestrator,
            options,
            parallel_proofs: 2,
            max_cycles: None,
            max_time: None,
            max_queue: MAX_QUEUED_PROOFS,
            max_program_bytes: MAX_PROGRAM_BYTES,
            max_input_bytes: MAX_INPUT_BYTES,
            max_result_cache_bytes: 20_000_000_000,
            share_results: false,
            require_tokens: false,
            min_free_bytes: 1_000_000_000,
            keep: Duration::from_secs(7 * 24 * 60 * 60),
            archive: None,
            allowed_hosts: Vec::new(),
            http: HttpLimits::default(),
            tls: None,
            tracer: None,
        }
    }
}
