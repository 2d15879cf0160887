//! Why a proof failed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of failure of a proof. `other` is a kind that this release does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProofFailureKind {
    /// The program or its input is at fault.
    Program,
    /// The program needs more gas than the request allows.
    GasLimit,
    /// The request cannot be served as it is.
    Request,
    /// The machine of the orchestrator is at fault, for example because its disk is full.
    Machine,
    /// The execution was interrupted from outside. The proof then restarts. If it has restarted twice already, the kind
    /// is `machine` instead.
    Interrupted,
    /// The finished proof does not verify.
    Unverified,
    /// A task failed too often on different workers.
    Task,
    /// No connected worker supports a task kind that the proof needs.
    Unsupported,
    /// For too long, no worker was connected, or no connected worker that supports the tasks could prove.
    NoWorkers,
    /// A task ran out of memory, or no connected worker has enough memory for a shard.
    OutOfMemory,
    /// The timeout passed.
    Timeout,
    /// The proof was cancelled.
    Cancelled,
    /// A defect in this software or in SP1.
    Internal,
    /// A kind that this release does not know.
    #[serde(other)]
    Other,
}

impl ProofFailureKind {
    /// Returns the stable name of the kind, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::GasLimit => "gas_limit",
            Self::Request => "request",
            Self::Machine => "machine",
            Self::Interrupted => "interrupted",
            Self::Unverified => "unverified",
            Self::Task => "task",
            Self::Unsupported => "unsupported",
            Self::NoWorkers => "no_workers",
            Self::OutOfMemory => "out_of_memory",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ProofFailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a proof failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FailureInfo {
    /// The kind of failure.
    pub kind: ProofFailureKind,
    /// The reason, as text for people.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_same_name_in_json() {
        use ProofFailureKind::{
            Cancelled, GasLimit, Internal, Interrupted, Machine, NoWorkers, Other, OutOfMemory, Program, Request, Task,
            Timeout, Unsupported, Unverified,
        };
        for kind in [
            Program,
            GasLimit,
            Request,
            Machine,
            Interrupted,
            Unverified,
            Task,
            Unsupported,
            NoWorkers,
            OutOfMemory,
            Timeout,
            Cancelled,
            Internal,
            Other,
        ] {
            let json = format!("\"{kind}\"");
            assert_eq!(serde_json::to_string(&kind).unwrap(), json);
            assert_eq!(serde_json::from_str::<ProofFailureKind>(&json).unwrap(), kind);
        }
    }

    #[test]
    fn an_unknown_kind_is_read_as_other() {
        let read: FailureInfo = serde_json::from_str(r#"{"kind": "melted", "text": "too hot"}"#).unwrap();
        assert_eq!(read, FailureInfo { kind: ProofFailureKind::Other, text: "too hot".to_owned() });
    }
}
