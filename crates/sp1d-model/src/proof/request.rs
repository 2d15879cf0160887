//! Requests for proofs.

use super::mode::ProofMode;
use serde::{Deserialize, Serialize};

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
    pub mode: ProofMode,
    /// Number of cycles after which the program is stopped. No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub cycle_limit: Option<u64>,
    /// Gas that the program may use, as SP1 counts it. The proof fails before proving starts if the program needs more.
    /// With a limit, the program is executed once more to count its gas. No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub gas_limit: Option<u64>,
    /// Seconds after which the proof fails, counted from the acceptance of the request. No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 316224000))]
    pub timeout_seconds: Option<u64>,
    /// Proofs with a higher priority start earlier; -100 to 100. Running proofs share the workers evenly.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(minimum = -100, maximum = 100))]
    pub priority: i32,
    /// The nonce that the proof commits to: four numbers below 2^31 - 2^24 + 1.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(min_items = 4, max_items = 4))]
    pub nonce: [u32; 4],
    /// Whether only trusted workers may get tasks of the proof, for example because its input is secret. A worker is
    /// trusted if its certificate says so. Without a connected trusted worker, the proof waits for one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trusted_only: bool,
    /// A text that the client chooses. If the same request is sent again with the same text, the service returns the
    /// existing proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(min_length = 1, max_length = 200))]
    pub idempotency_key: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(is_it: &bool) -> bool {
    !*is_it
}
