//! Limits on messages.

use sp1d_model::AttemptId;

/// Limits on the messages of a peer.
pub struct MessageLimits;

impl MessageLimits {
    sp1d_model::limits! { in Self;
        /// Maximum number of parts of a reduction. Engines reduce up to 4 parts at once.
        pub const PARTS: usize = 31; Count by EitherSide;
        /// Maximum bytes of an artifact's name or a proof's id.
        pub const NAME_BYTES: usize = 200; Bytes by EitherSide;
        /// Maximum bytes of a range. SP1's ranges have less than 500 bytes. An assignment with a range for each part
        /// has to fit into a message.
        pub const RANGE_BYTES: usize = 8 << 10; Bytes by EitherSide;
        /// Maximum bytes of the options.
        pub const TEXT_BYTES: usize = 64 << 10; Bytes by EitherSide;
        /// Maximum uncompressed bytes of one artifact. No shard record or proof comes near it.
        pub const ARTIFACT_BYTES: u64 = 4 << 30; Bytes by EitherSide;
        /// Maximum uncompressed bytes of a task's result. Proofs have one or two megabytes.
        pub const RESULT_BYTES: u64 = 64 << 20; Bytes by Worker;
        /// Maximum number of attempts that a worker holds, and offers when it returns. No orchestrator assigns that
        /// many.
        pub const HELD_ATTEMPTS: usize = 256; Count by EitherSide;
        /// Maximum number of artifacts that an attempt may upload. The events of a core shard usually take a few
        /// artifacts. A shard that does nothing but call one precompile takes about 200. Each artifact costs some
        /// hundred bytes beyond its content.
        pub const UPLOADS: usize = 1024; Count by Worker;
        /// Maximum uncompressed bytes that an attempt may upload, whatever its task is. Only the deferred events of a
        /// core shard come near it, and the orchestrator computes a lower limit from the shard. Uncompressed bytes
        /// count, because 4 GiB of zeros take 200 kB on the wire.
        pub const UPLOADED_BYTES: u64 = 4 << 30; Bytes by Worker;
        /// Maximum bytes that are kept of a failure's text.
        pub const FAILURE_BYTES: usize = 4 << 10; Bytes by Worker;
    }
}

/// Returns the prefix for names of artifacts that `attempt` makes in addition to its outputs. An attempt may upload
/// only artifacts with this prefix and its outputs.
#[must_use]
pub fn made_prefix(attempt: AttemptId) -> String {
    format!("made-{attempt}-")
}
