//! Summaries of proofs.

use super::{failure::FailureInfo, mode::ProofMode, request::is_false, state::ProofState};
use crate::moment::Moment;
use serde::{Deserialize, Serialize};

/// Numbers of tasks of a proof, since its last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskCounts {
    /// Tasks that are known so far.
    pub known: u64,
    /// Tasks that are done, including the tasks in `cached`.
    pub done: u64,
    /// Tasks whose result came from the result cache.
    pub cached: u64,
}

impl TaskCounts {
    /// Returns the number of known tasks that are not done.
    #[must_use]
    pub const fn open(self) -> u64 {
        self.known.saturating_sub(self.done)
    }
}

/// A worker's share of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WorkerTasks {
    /// Name of the worker.
    pub name: String,
    /// Address at which the worker was connected.
    pub address: String,
    /// Number of tasks of which the worker's result was accepted.
    pub tasks: u64,
}

/// A proof that was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProofSummary {
    /// Id of the proof.
    pub id: String,
    /// Tenant that owns the proof. Empty if the service is older than tenants.
    #[serde(default)]
    pub tenant: String,
    /// Id of the program.
    pub program: String,
    /// Id of the input.
    pub input: String,
    /// Kind of proof.
    pub mode: ProofMode,
    /// State of the proof.
    pub state: ProofState,
    /// Proofs with a higher priority start earlier.
    pub priority: i32,
    /// Number of cycles after which the program is stopped.
    pub cycle_limit: Option<u64>,
    /// Gas that the program may use.
    pub gas_limit: Option<u64>,
    /// Whether only trusted workers get tasks of the proof.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trusted_only: bool,
    /// The nonce that the proof commits to.
    pub nonce: [u32; 4],
    /// When the request was accepted.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Moment,
    /// When the proof was last started.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub started: Option<Moment>,
    /// When the proof ended.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub ended: Option<Moment>,
    /// When the proof fails because of its timeout.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub deadline: Option<Moment>,
    /// Number of times that the proof was started: more than one if the service was restarted meanwhile.
    pub starts: u32,
    /// Tasks of the proof. Known once the proof runs.
    pub tasks: TaskCounts,
    /// Number of cycles that the program ran, once the proof is done.
    pub cycles: Option<u64>,
    /// Gas that the program used, once the proof is done. Known only if the request has a gas limit.
    pub gas: Option<u64>,
    /// Number of shards, once the proof is done.
    pub shards: Option<u64>,
    /// Length of the finished proof in bytes.
    pub proof_bytes: Option<u64>,
    /// The share of each worker, once the proof is done.
    pub workers: Vec<WorkerTasks>,
    /// Address of the requester, if the request came from sp1-sdk's network client (`SP1_PROVER=hosted`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// Why the proof failed or was cancelled.
    pub failure: Option<FailureInfo>,
}
