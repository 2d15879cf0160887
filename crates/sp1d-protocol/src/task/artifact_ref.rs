//! How an assignment names an artifact.

use sp1d_artifacts::Digest;

/// An artifact that the orchestrator holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRef {
    /// Name of the artifact.
    pub name: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub length: u64,
}
