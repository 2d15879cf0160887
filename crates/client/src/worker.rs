//! Workers and the service itself, as the interface shows them.

use crate::Moment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Where it was reached, or is called.
    pub address: String,
    /// What it is doing: starting, idle, busy, draining (it finishes what it has, and gets nothing more), drained,
    /// quarantined (it gets nothing for a while: too much of what it did was bad), or lost (it is not connected, and
    /// should be).
    pub state: String,
    /// Attempts that it holds.
    pub holds: usize,
    /// Tasks whose result counted, since it connected.
    pub done: u64,
    /// Attempts that failed or came out wrong, since it connected.
    pub faults: u64,
    /// Why it is in quarantine.
    #[serde(default)]
    pub quarantine: Option<String>,
    /// Why it is lost.
    #[serde(default)]
    pub lost: Option<Lost>,
    /// Threads that prove; 0 for unknown.
    pub threads: u32,
    /// Memory of its machine in bytes; 0 for unknown.
    pub memory_bytes: u64,
    /// Its processor.
    pub cpu: String,
    /// Kinds of tasks that it does.
    pub kinds: Vec<String>,
}

/// Why a worker is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lost {
    /// When it left, or was first called in vain.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub since: Moment,
    /// Why it left.
    pub reason: String,
    /// Why it could not be reached the last time, if it was called since.
    #[serde(default)]
    pub last_try: Option<String>,
}

/// How the list of workers was last read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListStatus {
    /// Workers that it names.
    pub workers: usize,
    /// Why its file could not be read the last time: what it said before goes on to count.
    pub error: Option<String>,
}

/// Workers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Workers {
    /// Those that are connected, in the order in which they came; then those that are lost.
    pub workers: Vec<Worker>,
    /// How the list of workers was last read.
    pub list: ListStatus,
}

/// How the service is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// Its release.
    pub release: String,
    /// Proofs by state.
    pub proofs: BTreeMap<String, u64>,
    /// Proofs that may run at the same time.
    pub parallel_proofs: usize,
    /// Proofs that may wait.
    pub max_queue: u64,
    /// Workers that are connected.
    pub workers: usize,
    /// Those of them whose prover is loaded.
    pub ready_workers: usize,
}
