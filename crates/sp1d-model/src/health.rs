//! The state of a service.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The state of the service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// Release of the service.
    pub release: String,
    /// Number of proofs by state.
    pub proofs: BTreeMap<String, u64>,
    /// Maximum number of proofs that run at the same time.
    pub parallel_proofs: usize,
    /// Maximum number of proofs that wait in the queue.
    pub max_queue: u64,
    /// Number of connected workers.
    pub workers: usize,
    /// Number of connected workers whose prover is loaded.
    pub ready_workers: usize,
    /// What a person should look at, in sentences: why the service can only be read, for example because its disk is
    /// full, an implausible step of its clock, and trouble with its archive. Absent if there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Seconds since the archive last contained the whole state. Absent without an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_age_seconds: Option<u64>,
}
