//! Compresses bytes into chunks.

use super::{CHUNK_BYTES, Chunk};
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
