//! Limits on messages.

use sp1d_model::AttemptId;

/// Limits on the messages of a peer.
pub struct MessageLimits;

impl MessageLimits {
    /// Maximum number of parts of a reduction. Engines reduce up to 4 parts at once.
    pub const PARTS: usize = 31;
    /// Maximum bytes of an artifact's name or a proof's id.
    pub const NAME_BYTES: usize = 200;
    /// Maximum bytes of a range or of the options.
    pub const TEXT_BYTES: usize = 64 << 10;
    /// Maximum uncompressed bytes of one artifact. No shard record or proof comes near it.
    pub const ARTIFACT_BYTES: u64 = 4 << 30;
    /// Maximum uncompressed bytes of a task's result. Proofs have one or two megabytes.
    pub const RESULT_BYTES: u64 = 64 << 20;
    /// Maximum number of attempts that a worker holds, and offers when it returns. No orchestrator assigns that many.
    pub const HELD_ATTEMPTS: usize = 256;
    /// Maximum number of artifacts that an attempt may upload. The events of a core shard take a few artifacts for
    /// each precompile.
    pub const DELIVERIES: usize = 1024;
    /// Maximum compressed bytes that an attempt may upload.
    pub const DELIVERED_BYTES: u64 = 4 << 30;
    /// Maximum bytes that are kept of a failure's text.
    pub const FAILURE_BYTES: usize = 4 << 10;
}

/// Returns the prefix for names of artifacts that `attempt` makes in addition to its outputs. An attempt may upload
/// only artifacts with this prefix and its outputs.
#[must_use]
pub fn made_prefix(attempt: AttemptId) -> String {
    format!("made-{attempt}-")
}
