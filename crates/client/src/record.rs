//! Programs and proofs as the interface shows them.

use chrono::{DateTime, SecondsFormat, Utc};
use orchestrator::{ProofFailure, ProofMode, WorkerShare};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// A point in time: milliseconds since 1970, shown as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Now, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// So many seconds later.
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

/// A program that proofs can be asked of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Program {
    /// blake3 digest of its bytes, in hexadecimal digits.
    pub id: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The key by which its proofs are verified, in hexadecimal digits; absent until it is computed, which takes up to
    /// a minute.
    pub verifying_key: Option<String>,
    /// When it was handed in.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Moment,
}

/// Kinds of proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One proof per shard.
    #[default]
    Core,
    /// One proof, of constant size.
    Compressed,
    /// For chains, by Groth16.
    Groth16,
    /// For chains, by PLONK.
    Plonk,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Core, Self::Compressed, Self::Groth16, Self::Plonk];

    /// As the orchestrator has it.
    #[must_use]
    pub const fn proof_mode(self) -> ProofMode {
        match self {
            Self::Core => ProofMode::Core,
            Self::Compressed => ProofMode::Compressed,
            Self::Groth16 => ProofMode::Groth16,
            Self::Plonk => ProofMode::Plonk,
        }
    }

    /// Stable name.
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

/// Where a proof is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    /// It waits for its turn.
    Queued,
    /// It is being proven.
    Running,
    /// It is there, and verified.
    Done,
    /// There will be none.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl ProofState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// Stable name.
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

    /// True when nothing more will happen.
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
    /// The program's id. Not needed where the program itself is a part of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Id of an input that was handed in before. Without it, and without an input in the request, the program is given
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Kind of proof.
    #[serde(default)]
    pub mode: Mode,
    /// Cycles after which the program is stopped; none for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle_limit: Option<u64>,
    /// Seconds from acceptance after which the proof is given up; none for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// What is higher starts earlier, -100 to 100. Proofs that run share the workers evenly.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(minimum = -100, maximum = 100))]
    pub priority: i32,
    /// Nonce that the proof commits to: four words below 2^31 - 2^24 + 1.
    #[serde(default)]
    pub nonce: [u32; 4],
    /// A text of the submitter's choice. The same text again is the same request, and answered by the proof that is
    /// there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(max_length = 200))]
    pub idempotency_key: Option<String>,
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FailureInfo {
    /// Stable name of the kind: guest, request, host, interrupted, unverified, task, unable, no_workers, memory,
    /// timeout, cancelled or internal.
    pub kind: String,
    /// For people.
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

/// Tasks of a proof, since it was last begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tasks {
    /// Found so far.
    pub known: u64,
    /// Done, the remembered ones included.
    pub done: u64,
    /// Done at an earlier time, and not done again.
    pub remembered: u64,
}

/// A worker's part in a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Where it was reached.
    pub address: String,
    /// Tasks whose result counted.
    pub tasks: u64,
}

impl From<WorkerShare> for Share {
    fn from(WorkerShare { name, address, tasks }: WorkerShare) -> Self {
        Self { name, address, tasks }
    }
}

/// A proof that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Proof {
    /// Its id.
    pub id: String,
    /// Its program's id.
    pub program: String,
    /// Its input's id.
    pub input: String,
    /// Kind of proof.
    pub mode: Mode,
    /// Where it is.
    pub state: ProofState,
    /// What is higher starts earlier.
    pub priority: i32,
    /// Cycles after which the program is stopped.
    pub cycle_limit: Option<u64>,
    /// Nonce that it commits to.
    pub nonce: [u32; 4],
    /// When it was accepted.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Moment,
    /// When it was last begun.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub started: Option<Moment>,
    /// When it ended.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub ended: Option<Moment>,
    /// When it is given up.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub deadline: Option<Moment>,
    /// Times that it was begun: more than once where the service was restarted meanwhile.
    pub starts: u32,
    /// Its tasks. Known while it runs and afterwards.
    pub tasks: Tasks,
    /// Cycles the program ran, once it is done.
    pub cycles: Option<u64>,
    /// Shards, once it is done.
    pub shards: Option<u64>,
    /// Length of the finished proof in bytes.
    pub proof_bytes: Option<u64>,
    /// Who did how much, once it is done.
    pub workers: Vec<Share>,
    /// Why there is none.
    pub failure: Option<FailureInfo>,
}
