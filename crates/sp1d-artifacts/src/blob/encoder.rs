//! Compresses bytes into chunks.

use super::{Blob, CHUNK_BYTES, Chunk};
use crate::Digest;

/// Encodes bytes as chunks, one at a time, so that a sender never holds all compressed chunks.
pub struct Encoder<'a> {
    rest: &'a [u8],
    hasher: blake3::Hasher,
}

impl<'a> Encoder<'a> {
    /// Returns an iterator over the chunks of `content`.
    #[must_use]
    pub fn new(content: &'a [u8]) -> Self {
        Self { rest: content, hasher: blake3::Hasher::new() }
    }

    /// Returns the digest of the bytes encoded so far. Once the iterator has ended, it is the digest of the whole
    /// content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hasher.finalize().into()
    }
}

impl Iterator for Encoder<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.rest.is_empty() {
            return None;
        }
        let (content, rest) = self.rest.split_at(self.rest.len().min(CHUNK_BYTES));
        self.rest = rest;
        self.hasher.update(content);
        Some(Chunk::encode(content))
    }
}

impl Blob {
    /// Compresses `content`. This takes about 4 ms per megabyte, so do not call it on an asynchronous thread.
    #[must_use]
    pub fn encode(content: &[u8]) -> Self {
        let mut encoder = Encoder::new(content);
        let chunks = encoder.by_ref().collect();
        Self::new(encoder.digest(), content.len() as u64, chunks)
    }
}
