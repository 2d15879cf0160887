//! How much a store contains.

use super::ArtifactDescription;

/// Number and size of the artifacts in a store or in one of its scopes, in memory and on disk together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArtifactStats {
    /// Number of artifacts.
    pub artifacts: usize,
    /// Their compressed size in bytes.
    pub bytes: u64,
}

/// What a scope contains at one moment, with the facts about one of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeDescription {
    /// The artifact that has the name; `None` if the scope has no such artifact.
    pub named: Option<ArtifactDescription>,
    /// Number of the other artifacts.
    pub others: usize,
    /// Uncompressed size of all artifacts in bytes.
    pub content_bytes: u64,
}

/// Memory and disk space that a store uses. Blobs and files that the store has removed but a reader still holds are not
/// counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreUsage {
    /// Compressed bytes in memory.
    pub memory_bytes: u64,
    /// Compressed bytes on disk.
    pub disk_bytes: u64,
    /// Uncompressed bytes, in memory and on disk.
    pub content_bytes: u64,
    /// Number of artifacts, in memory and on disk.
    pub artifacts: usize,
}

impl StoreUsage {
    /// Returns the compressed bytes in memory and on disk.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.memory_bytes.saturating_add(self.disk_bytes)
    }
}
