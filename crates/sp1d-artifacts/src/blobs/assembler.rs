//! Checks and decompresses chunks.

use super::{Blob, Chunk, DecodeError, content_check::ContentCheck};
use crate::Digest;

/// Checks chunks as they arrive, and assembles them into a blob or into decoded bytes.
#[derive(Debug)]
pub struct Assembler {
    check: ContentCheck,
    chunks: Vec<Chunk>,
    scratch: Vec<u8>,
}

impl Assembler {
    /// Returns an assembler that expects `len` uncompressed bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { check: ContentCheck::new(len), chunks: Vec::new(), scratch: Vec::new() }
    }

    /// Returns the number of uncompressed bytes in the next chunk: [`CHUNK_BYTES`](crate::CHUNK_BYTES), or less in the
    /// last chunk. Returns 0 if no chunk is missing. The stored bytes of a valid chunk are never more.
    #[must_use]
    pub fn next_chunk_bytes(&self) -> u64 {
        self.check.next_chunk_bytes()
    }

    /// Checks the next chunk and keeps it compressed. Takes about 1 ms per chunk.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk, or is corrupt.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        self.scratch.clear();
        self.check.decode_next(&chunk, &mut self.scratch)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Keeps the next chunk compressed without decoding it, for threads that must not be delayed. [`Blob::decode`]
    /// checks the chunk later.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk.
    pub fn push_unchecked(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        self.check.count(&chunk)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Checks the next chunk and appends its decoded bytes to `content`.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk, or is corrupt.
    pub fn decode_next(&mut self, chunk: &Chunk, content: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.check.decode_next(chunk, content)
    }

    /// Ends a sequence of [`Assembler::decode_next`] calls and checks that the content has `digest`.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub fn finish_decoded(&self, digest: Digest) -> Result<(), DecodeError> {
        self.check.finish(digest)
    }

    /// Ends a sequence of [`Assembler::push`] calls, checks that the content has `digest`, and returns the blob.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub fn finish(self, digest: Digest) -> Result<Blob, DecodeError> {
        self.check.finish(digest)?;
        Ok(Blob::new(digest, self.check.content_len(), self.chunks))
    }

    /// Ends a sequence of [`Assembler::push_unchecked`] calls and returns the blob. Only [`Blob::decode`] detects a
    /// wrong digest.
    ///
    /// # Errors
    /// Fails if bytes are missing.
    pub fn finish_unchecked(self, digest: Digest) -> Result<Blob, DecodeError> {
        self.check.check_length()?;
        Ok(Blob::new(digest, self.check.content_len(), self.chunks))
    }
}
