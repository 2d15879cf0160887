//! Programs and proofs, in the types of the HTTP interface.

use chrono::{DateTime, SecondsFormat, Utc};
use orchestrator::{ProofFailure, ProofMode, WorkerShare};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// A point in time, in milliseconds since 1970. The text form is RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Returns the current time of the system's clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the time `seconds` later. Stops at the largest value instead of overflowing.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(time.timestamp_millis()))
    }
}

/// A program that was uploaded, for which proofs can be requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Program {
    /// BLAKE3 digest of the program's bytes, in hexadecimal digits.
    pub id: String,
    /// Length of the program in bytes.
    pub bytes: u64,
    /// The key that verifies proofs of the program, in hexadecimal digits. Absent until it is computed, which takes up
    /// to a minute.
    pub verifying_key: Option<String>,
    /// When the program was uploaded.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Moment,
}

/// The kind of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One proof per shard. The size grows with the number of shards.
    #[default]
    Core,
    /// One proof of constant size.
    Compressed,
    /// A Groth16 proof, for verification on a blockchain.
    Groth16,
    /// A PLONK proof, for verification on a blockchain.
    Plonk,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Core, Self::Compressed, Self::Groth16, Self::Plonk];

    /// Returns the same mode in the orchestrator's type.
    #[must_use]
    pub const fn proof_mode(self) -> ProofMode {
        match self {
            Self::Core => ProofMode::Core,
            Self::Compressed => ProofMode::Compressed,
            Self::Groth16 => ProofMode::Groth16,
            Self::Plonk => ProofMode::Plonk,
        }
    }

    /// Returns the stable name of the mode, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.proof_mode().name()
    }
}

impl From<ProofMode> for Mode {
    fn from(mode: ProofMode) -> Self {
        match mode {
            ProofMode::Core => Self::Core,
            ProofMode::Compressed => Self::Compressed,
            ProofMode::Groth16 => Self::Groth16,
            ProofMode::Plonk => Self::Plonk,
        }
    }
}

/// The state of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    /// The proof waits in the queue.
    Queued,
    /// The proof is being computed.
    Running,
    /// The proof is finished and verified.
    Done,
    /// The proof has failed. `failure` states the reason.
    Failed,
    /// The proof was cancelled by a request.
    Cancelled,
}

impl ProofState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// Returns the stable name of the state, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns true if the state can no longer change.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// A request for a proof.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewProof {
    /// Id of the program. Not needed if the program itself is a part of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Id of an input that was uploaded before. Without this field, and without an input in the request, the program
    /// gets an empty input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Kind of proof.
    #[serde(default)]
    pub mode: Mode,
    /// Number of cycles after which the program is stopped. No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle_limit: Option<u64>,
    /// Seconds after which the proof fails, counted from the acceptance of the request. No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Proofs with a higher priority start earlier; -100 to 100. Running proofs share the workers evenly.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(minimum = -100, maximum = 100))]
    pub priority: i32,
    /// The nonce that the proof commits to: four numbers below 2^31 - 2^24 + 1.
    #[serde(default)]
    pub nonce: [u32; 4],
    /// A text that the client chooses. If the same request is sent again with the same text, the service returns the
    /// existing proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(max_length = 200))]
    pub idempotency_key: Option<String>,
}

/// Why a proof failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FailureInfo {
    /// Stable name of the kind of failure: `guest`, `request`, `host`, `interrupted`, `unverified`, `task`, `unable`,
    /// `no_workers`, `memory`, `timeout`, `cancelled` or `internal`.
    pub kind: String,
    /// The reason, as text for people.
    pub text: String,
}

impl From<&ProofFailure> for FailureInfo {
    fn from(failure: &ProofFailure) -> Self {
        let kind = match failure {
            ProofFailure::Guest(_) => "guest",
            ProofFailure::Request(_) => "request",
            ProofFailure::Host(_) => "host",
            ProofFailure::Interrupted(_) => "interrupted",
            ProofFailure::Unverified(_) => "unverified",
            ProofFailure::Task { .. } => "task",
            ProofFailure::Unable { .. } => "unable",
            ProofFailure::Memory(_) => "memory",
            ProofFailure::NoWorkers { .. } => "no_workers",
            ProofFailure::Timeout(_) => "timeout",
            ProofFailure::Cancelled => "cancelled",
            ProofFailure::Internal(_) => "internal",
        };
        Self { kind: kind.to_owned(), text: failure.to_string() }
    }
}

/// Numbers of tasks of a proof, since its last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tasks {
    /// Tasks that are known so far.
    pub known: u64,
    /// Tasks that are done, including the tasks in `remembered`.
    pub done: u64,
    /// Tasks whose result came from the result cache.
    pub remembered: u64,
}

/// A worker's share of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Share {
    /// Name of the worker.
    pub name: String,
    /// Address at which the worker was connected.
    pub address: String,
    /// Number of tasks of which the worker's result was accepted.
    pub tasks: u64,
}

impl From<WorkerShare> for Share {
    fn from(WorkerShare { name, address, tasks }: WorkerShare) -> Self {
        Self { name, address, tasks }
    }
}

/// A proof that was requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Proof {
    /// Id of the proof.
    pub id: String,
    /// Id of the program.
    pub program: String,
    /// Id of the input.
    pub input: String,
    /// Kind of proof.
    pub mode: Mode,
    /// State of the proof.
    pub state: ProofState,
    /// Proofs with a higher priority start earlier.
    pub priority: i32,
    /// Number of cycles after which the program is stopped.
    pub cycle_limit: Option<u64>,
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
    pub tasks: Tasks,
    /// Number of cycles that the program ran, once the proof is done.
    pub cycles: Option<u64>,
    /// Number of shards, once the proof is done.
    pub shards: Option<u64>,
    /// Length of the finished proof in bytes.
    pub proof_bytes: Option<u64>,
    /// The share of each worker, once the proof is done.
    pub workers: Vec<Share>,
    /// Why the proof failed or was cancelled.
    pub failure: Option<FailureInfo>,
}
