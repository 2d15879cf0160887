//! Summaries of workers, and of the worker list.

use super::{activity::WorkerActivity, gpu_state::GpuState};
use crate::moment::Moment;
use serde::{Deserialize, Serialize};

/// A worker that is connected to the service, or that should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WorkerSummary {
    /// Name of the worker.
    pub name: String,
    /// Address at which the worker is connected, or at which the service tries to reach it.
    pub address: String,
    /// State of the worker.
    pub state: WorkerActivity,
    /// Whether the worker gets tasks of proofs that are only for trusted workers.
    #[serde(default)]
    pub trusted: bool,
    /// Number of attempts that the worker has at the moment.
    pub holds: usize,
    /// Number of tasks of which the worker's result was accepted, since it connected.
    pub done: u64,
    /// Number of attempts that failed since the worker connected, wrong results included.
    pub failed_attempts: u64,
    /// For which task kinds the worker is in quarantine, and why.
    #[serde(default)]
    pub quarantine: Option<String>,
    /// Since when and why the worker is disconnected.
    #[serde(default)]
    pub disconnection: Option<Disconnection>,
    /// Number of threads that prove; 0 if unknown.
    pub threads: u32,
    /// Memory of the worker's machine in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Processor of the worker's machine, after its GPUs if the worker proves on them.
    #[serde(rename = "cpu")]
    pub hardware: String,
    /// State of the GPUs that the worker proves on.
    #[serde(default)]
    pub gpus: Vec<GpuState>,
    /// Kinds of tasks that the worker supports.
    pub kinds: Vec<String>,
}

/// Since when and why a worker is not connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Disconnection {
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
pub struct WorkersReport {
    /// The connected workers in the order in which they connected, then the disconnected workers.
    pub workers: Vec<WorkerSummary>,
    /// The result of the last read of the worker list.
    pub list: ListStatus,
}
