//! A blob as it is sent and stored: compressed.

use super::{
    CHUNK_BYTES, Chunk, DecodeError, Encoder, chunk_compression::ChunkCompression, content_check::ContentCheck,
};
use crate::Digest;
use bytes::Bytes;
use std::sync::Arc;

/// Immutable bytes in compressed chunks, with the digest of the uncompressed content. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blob(Arc<BlobContent>);

#[derive(Debug)]
struct BlobContent {
    digest: Digest,
    len: u64,
    chunks: Vec<Chunk>,
}

impl Blob {
    pub(super) fn new(digest: Digest, len: u64, chunks: Vec<Chunk>) -> Self {
        Self(Arc::new(BlobContent { digest, len, chunks }))
    }

    /// Compresses `content`. This takes about 4 ms of processor time per megabyte, on several threads if the content is
    /// large. So do not call it on an asynchronous thread.
    #[must_use]
    pub fn encode_owned(content: Vec<u8>) -> Self {
        let is_tight = content.capacity() - content.len() <= content.len() / 16;
        let content = Bytes::from(content);
        let (digest, compressed) = ChunkCompression::new(&content).run();
        // Slices keep the whole content in memory, with its unused capacity. So they are only for content of which
        // nothing was compressed.
        let is_raw = is_tight && compressed.iter().all(Option::is_none);
        let raw = |number: usize| {
            let start = number * CHUNK_BYTES;
            let range = start..content.len().min(start + CHUNK_BYTES);
            Chunk::raw(if is_raw { content.slice(range) } else { Bytes::copy_from_slice(&content[range]) })
        };
        let chunks = compressed.into_iter().enumerate().map(|(number, chunk)| chunk.unwrap_or_else(|| raw(number)));
        Self::new(digest, content.len() as u64, chunks.collect())
    }

    /// Does the same for borrowed content, on the calling thread.
    #[must_use]
    pub fn encode(content: &[u8]) -> Self {
        let mut encoder = Encoder::new(content);
        let chunks = encoder.by_ref().collect();
        Self::new(encoder.digest(), content.len() as u64, chunks)
    }

    /// Returns the uncompressed bytes. If no other clone of the blob exists, each chunk is freed once it is decoded, so
    /// that the compressed and the uncompressed content are never both in memory as a whole.
    ///
    /// # Errors
    /// Fails if a chunk is corrupt, or if the content has a different length or digest.
    pub fn decode(self) -> Result<Vec<u8>, DecodeError> {
        match Arc::try_unwrap(self.0) {
            Ok(own) => decode(own.digest, own.len, own.chunks.into_iter()),
            Err(shared) => decode(shared.digest, shared.len, shared.chunks.iter().cloned()),
        }
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

fn decode(digest: Digest, len: u64, chunks: impl Iterator<Item = Chunk>) -> Result<Vec<u8>, DecodeError> {
    let mut check = ContentCheck::new(len);
    let mut content = Vec::new();
    for chunk in chunks {
        check.decode_next(&chunk, &mut content)?;
    }
    check.finish(digest)?;
    Ok(content)
}
