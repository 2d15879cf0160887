//! Checks and decompresses chunks.

use super::{Blob, CHUNK_BYTES, Chunk, DecodeError};
use crate::Digest;
use std::sync::Arc;

/// Checks chunks as they arrive, and assembles them into a blob or into decoded bytes.
#[derive(Debug)]
pub struct Assembler {
    len: u64,
    received: u64,
    hasher: blake3::Hasher,
    chunks: Vec<Chunk>,
    scratch: Vec<u8>,
}

impl Assembler {
    /// Returns an assembler that expects `len` uncompressed bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { len, received: 0, hasher: blake3::Hasher::new(), chunks: Vec::new(), scratch: Vec::new() }
    }

    /// Returns the number of uncompressed bytes in the next chunk: [`CHUNK_BYTES`], or less in the last chunk. Returns
    /// 0 if no chunk is missing. The stored bytes of a valid chunk are never more.
    #[must_use]
    pub fn next_chunk_bytes(&self) -> u64 {
        (self.len - self.received).min(CHUNK_BYTES as u64)
    }

    fn claim(&mut self, chunk: &Chunk) -> Result<(), DecodeError> {
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

    /// Checks the next chunk and keeps it compressed. Takes about 1 ms per chunk.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk, or is corrupt.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        self.claim(&chunk)?;
        self.scratch.clear();
        chunk.decode_onto(&mut self.scratch)?;
        self.hasher.update(&self.scratch);
        self.chunks.push(chunk);
        Ok(())
    }

    /// Keeps the next chunk compressed without decoding it, for threads that must not be delayed. [`Blob::decode`]
    /// checks the chunk later.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk.
    pub fn push_unchecked(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        self.claim(&chunk)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Checks the next chunk and appends its decoded bytes to `content`.
    ///
    /// # Errors
    /// Fails if the chunk does not have the length of the next chunk, or is corrupt.
    pub fn decode_next(&mut self, chunk: &Chunk, content: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.claim(chunk)?;
        let start = content.len();
        chunk.decode_onto(content)?;
        self.hasher.update(&content[start..]);
        Ok(())
    }

    fn check_length(&self) -> Result<(), DecodeError> {
        if self.received == self.len {
            return Ok(());
        }
        Err(DecodeError::TooShort { got: self.received, expected: self.len })
    }

    fn check_digest(&self, expected: Digest) -> Result<(), DecodeError> {
        let got = self.hasher.finalize().into();
        if got == expected {
            return Ok(());
        }
        Err(DecodeError::Digest { got, expected })
    }

    /// Ends a sequence of [`Assembler::decode_next`] calls and checks that the content has `digest`.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub fn finish_decoded(&self, digest: Digest) -> Result<(), DecodeError> {
        self.check_length()?;
        self.check_digest(digest)
    }

    /// Ends a sequence of [`Assembler::push`] calls, checks that the content has `digest`, and returns the blob.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub fn finish(self, digest: Digest) -> Result<Blob, DecodeError> {
        self.check_length()?;
        self.check_digest(digest)?;
        self.finish_unchecked(digest)
    }

    /// Ends a sequence of [`Assembler::push_unchecked`] calls and returns the blob. Only [`Blob::decode`] detects a
    /// wrong digest.
    ///
    /// # Errors
    /// Fails if bytes are missing.
    pub fn finish_unchecked(self, digest: Digest) -> Result<Blob, DecodeError> {
        self.check_length()?;
        Ok(Blob::new(digest, self.len, self.chunks))
    }
}

impl Blob {
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
}

fn decode(digest: Digest, len: u64, chunks: impl Iterator<Item = Chunk>) -> Result<Vec<u8>, DecodeError> {
    let mut assembler = Assembler::new(len);
    let mut content = Vec::new();
    for chunk in chunks {
        assembler.decode_next(&chunk, &mut content)?;
    }
    assembler.finish_decoded(digest)?;
    Ok(content)
}
