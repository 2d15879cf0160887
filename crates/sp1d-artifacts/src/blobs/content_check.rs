//! Checks the lengths of chunks and the digest of their content.

use super::{CHUNK_BYTES, Chunk, DecodeError};
use crate::Digest;

/// Checks chunks one after another, and their content as a whole.
#[derive(Debug)]
pub(super) struct ContentCheck {
    /// Uncompressed length of the content.
    len: u64,
    /// Uncompressed bytes of the chunks so far.
    received: u64,
    hasher: blake3::Hasher,
}

impl ContentCheck {
    /// Expects `len` uncompressed bytes.
    pub(super) fn new(len: u64) -> Self {
        Self { len, received: 0, hasher: blake3::Hasher::new() }
    }

    pub(super) const fn content_len(&self) -> u64 {
        self.len
    }

    /// Returns the number of uncompressed bytes in the next chunk; 0 if no chunk is missing.
    pub(super) fn next_chunk_bytes(&self) -> u64 {
        (self.len - self.received).min(CHUNK_BYTES as u64)
    }

    /// Counts the next chunk. Does not decode it.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk.
    pub(super) fn count(&mut self, chunk: &Chunk) -> Result<(), DecodeError> {
        let expected = self.next_chunk_bytes();
        let got = u64::from(chunk.decoded_len);
        // Each chunk costs memory beyond its bytes. With small chunks, a peer could make this cost any multiple of the
        // content.
        if got == 0 {
            return Err(DecodeError::Empty);
        }
        if got > expected {
            return Err(DecodeError::TooLong { got, limit: expected });
        }
        if got < expected {
            return Err(DecodeError::Partial { got, expected });
        }
        let stored = chunk.bytes.len() as u64;
        if stored > expected {
            return Err(DecodeError::TooLong { got: stored, limit: expected });
        }
        self.received += got;
        Ok(())
    }

    /// Counts the next chunk, appends its decoded bytes to `content`, and hashes them.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk, or is corrupt.
    pub(super) fn decode_next(&mut self, chunk: &Chunk, content: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.count(chunk)?;
        let start = content.len();
        chunk.decode_onto(content)?;
        self.hasher.update(&content[start..]);
        Ok(())
    }

    /// Checks that no chunk is missing.
    ///
    /// # Errors
    /// Fails if bytes are missing.
    pub(super) fn check_length(&self) -> Result<(), DecodeError> {
        if self.received == self.len {
            return Ok(());
        }
        Err(DecodeError::TooShort { got: self.received, expected: self.len })
    }

    /// Checks that no chunk is missing, and that the decoded content has the digest `expected`.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub(super) fn finish(&self, expected: Digest) -> Result<(), DecodeError> {
        self.check_length()?;
        let got = self.hasher.finalize().into();
        if got == expected {
            return Ok(());
        }
        Err(DecodeError::Digest { got, expected })
    }
}
