//! One artifact, wherever its bytes are.

use super::{SpilledBlob, StoreError};
use crate::{Blob, Digest};

/// Facts about an artifact that are known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactDescription {
    /// Digest of the uncompressed bytes.
    pub digest: Digest,
    /// Uncompressed length in bytes.
    pub len: u64,
}

/// An artifact in memory or on disk. It stays readable after the store removes or moves it. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In memory.
    Memory(Blob),
    /// In a file.
    Disk(SpilledBlob),
}

impl Stored {
    /// Returns the facts that are known without reading the artifact.
    #[must_use]
    pub fn describe(&self) -> ArtifactDescription {
        match self {
            Self::Memory(blob) => ArtifactDescription { digest: blob.digest(), len: blob.len() },
            Self::Disk(spilled) => ArtifactDescription { digest: spilled.digest(), len: spilled.len() },
        }
    }

    /// Returns the compressed size in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        match self {
            Self::Memory(blob) => blob.stored_bytes(),
            Self::Disk(spilled) => spilled.stored_bytes(),
        }
    }

    /// Returns the blob. Blocks if the blob is on disk: match on the variants where blocking is not allowed.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the blob was spilled and its file cannot be read or differs from what was written.
    pub fn load(self) -> Result<Blob, StoreError> {
        match self {
            Self::Memory(blob) => Ok(blob),
            Self::Disk(spilled) => spilled.load(),
        }
    }
}
