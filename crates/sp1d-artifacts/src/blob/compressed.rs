//! A blob as it is sent and stored: compressed.

use super::Chunk;
use crate::Digest;
use std::sync::Arc;

/// Immutable bytes in compressed chunks, with the digest of the uncompressed content. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blob(pub(super) Arc<BlobContent>);

#[derive(Debug)]
pub(super) struct BlobContent {
    pub(super) digest: Digest,
    pub(super) len: u64,
    pub(super) chunks: Vec<Chunk>,
}

impl Blob {
    pub(super) fn new(digest: Digest, len: u64, chunks: Vec<Chunk>) -> Self {
        Self(Arc::new(BlobContent { digest, len, chunks }))
    }

    /// Returns the digest of the uncompressed bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Returns the uncompressed length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Returns true if the blob contains no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Returns the number of compressed bytes, which is the size in memory.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.0.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    /// Returns true if another clone of this blob exists. Dropping only this clone then frees no memory.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Returns the chunks in order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.0.chunks
    }
}
