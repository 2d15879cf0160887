//! Workers and the service itself, in the types of the HTTP interface.

use crate::Moment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A worker that is connected to the service, or that should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Worker {
    /// Name of the worker.
    pub name: String,
    /// Address at which the worker is connected, or at which the service tries to reach it.
    pub address: String,
    /// State of the worker: starting, idle, busy, draining (it finishes its attempts and gets no further tasks),
    /// drained, quarantined (it gets no tasks for a while, because too many of its attempts were faulty), or lost (it
    /// should be connected, but is not).
    pub state: String,
    /// Number of attempts that the worker has at the moment.
    pub holds: usize,
    /// Number of tasks of which the worker's result was accepted, since it connected.
    pub done: u64,
    /// Number of attempts that failed or had a wrong result, since the worker connected.
    pub faults: u64,
    /// Why the worker is in quarantine.
    #[serde(default)]
    pub quarantine: Option<String>,
    /// Since when and why the worker is lost.
    #[serde(default)]
    pub lost: Option<Lost>,
    /// Number of threads that prove; 0 if unknown.
    pub threads: u32,
    /// Memory of the worker's machine in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Processor of the worker's machine.
    pub cpu: String,
    /// Kinds of tasks that the worker supports.
    pub kinds: Vec<String>,
}

/// Since when and why a worker is not connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lost {
    /// When the worker disconnected, or when the service first failed to reach it.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub since: Moment,
    /// Why the worker disconnected, or why the service could not reach it at first.
    pub reason: String,
    /// Why the last try to reach the worker failed, if there was a try since.
    #[serde(default)]
    pub last_try: Option<String>,
}

/// The result of the last read of the worker list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListStatus {
    /// Number of workers in the list.
    pub workers: usize,
    /// Why the last read of the file failed. The earlier content then stays in use.
    pub error: Option<String>,
}

/// The workers of the service, and the worker list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Workers {
    /// The connected workers in the order in which they connected, then the lost workers.
    pub workers: Vec<Worker>,
    /// The result of the last read of the worker list.
    pub list: ListStatus,
}

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
}
