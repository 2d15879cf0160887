//! Blobs: bytes in compressed chunks, checked by a digest.

use crate::Digest;
use bytes::Bytes;
use std::sync::Arc;

/// Uncompressed size of every chunk except the last. Small enough that one chunk never occupies a connection for long,
/// and large enough for zstd to find repetitions.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Level 1 reduces shard records to a quarter of their size, at 250 MB/s on one core. Higher levels take more time than
/// they save on the network.
const ZSTD_LEVEL: i32 = 1;

/// Why a blob or one of its chunks is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A chunk is empty.
    #[error("a chunk is empty")]
    Empty,
    /// The content of a chunk exceeds the rest of the announced length or [`CHUNK_BYTES`], or its stored bytes exceed
    /// [`CHUNK_BYTES`].
    #[error("a chunk has {got} bytes, and at most {limit} are allowed")]
    TooLong {
        /// Decoded bytes that the chunk claims to contain, or its stored bytes.
        got: u64,
        /// Maximum number of bytes.
        limit: u64,
    },
    /// The chunks end before the announced length.
    #[error("only {got} of {expected} bytes arrived")]
    TooShort {
        /// Bytes received.
        got: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// A chunk does not decompress to the length that it claims.
    #[error("a chunk does not decompress to the length that it claims")]
    Corrupt,
    /// The content does not have the announced digest.
    #[error("the content has the digest {got}, but {expected} was announced")]
    Digest {
        /// Digest of the received content.
        got: Digest,
        /// Announced digest.
        expected: Digest,
    },
}

/// How the bytes of a chunk are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Uncompressed.
    Raw,
    /// As one zstd frame.
    Zstd,
}

/// A part of a blob that can be decoded without the other parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// How `bytes` is stored.
    pub encoding: Encoding,
    /// Length of the decoded bytes, 1 to [`CHUNK_BYTES`].
    pub decoded_len: u32,
    /// The stored bytes.
    pub bytes: Bytes,
}

impl Chunk {
    fn encode(content: &[u8]) -> Self {
        let decoded_len = u32::try_from(content.len()).expect("a chunk is at most CHUNK_BYTES long");
        // Compression that saves less than a sixteenth does not pay for decompression at the receiver.
        let worthwhile = content.len() - content.len() / 16;
        match zstd::bulk::compress(content, ZSTD_LEVEL) {
            Ok(compressed) if compressed.len() < worthwhile => {
                Self { encoding: Encoding::Zstd, decoded_len, bytes: compressed.into() }
            }
            _ => Self { encoding: Encoding::Raw, decoded_len, bytes: Bytes::copy_from_slice(content) },
        }
    }

    /// Appends the decoded bytes to `out`.
    ///
    /// # Errors
    /// [`Error::TooLong`] if the chunk claims more than [`CHUNK_BYTES`], and [`Error::Corrupt`] if it does not decode
    /// to the length that it claims. `out` is then unchanged.
    fn decode_onto(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let expected = self.decoded_len as usize;
        if expected > CHUNK_BYTES {
            return Err(Error::TooLong { got: expected as u64, limit: CHUNK_BYTES as u64 });
        }
        match self.encoding {
            Encoding::Raw if self.bytes.len() == expected => out.extend_from_slice(&self.bytes),
            Encoding::Raw => return Err(Error::Corrupt),
            Encoding::Zstd => {
                let start = out.len();
                out.resize(start + expected, 0);
                match zstd::bulk::decompress_to_buffer(&self.bytes, &mut out[start..]) {
                    Ok(written) if written == expected => {}
                    _ => {
                        out.truncate(start);
                        return Err(Error::Corrupt);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Immutable bytes in compressed chunks, with the digest of the uncompressed content. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blob(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    digest: Digest,
    len: u64,
    chunks: Vec<Chunk>,
}

impl Blob {
    /// Compresses `content`. This takes about 4 ms per megabyte, so do not call it on an asynchronous thread.
    #[must_use]
    pub fn encode(content: &[u8]) -> Self {
        let mut encoder = Encoder::new(content);
        let chunks = encoder.by_ref().collect();
        Self(Arc::new(Inner { digest: encoder.digest(), len: content.len() as u64, chunks }))
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

    /// Returns the uncompressed bytes. If no other clone of the blob exists, each chunk is freed once it is decoded, so
    /// that the compressed and the uncompressed content are never both in memory as a whole.
    ///
    /// # Errors
    /// Fails if a chunk is corrupt, or if the content has a different length or digest.
    pub fn decode(self) -> Result<Vec<u8>, Error> {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => decode(inner.digest, inner.len, inner.chunks.into_iter()),
            Err(shared) => decode(shared.digest, shared.len, shared.chunks.iter().cloned()),
        }
    }
}

fn decode(digest: Digest, len: u64, chunks: impl Iterator<Item = Chunk>) -> Result<Vec<u8>, Error> {
    let mut assembler = Assembler::new(len);
    let mut content = Vec::new();
    for chunk in chunks {
        assembler.decode_next(&chunk, &mut content)?;
    }
    assembler.finish_decoded(digest)?;
    Ok(content)
}

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

    fn claim(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let limit = (self.len - self.received).min(CHUNK_BYTES as u64);
        let got = u64::from(chunk.decoded_len);
        // Empty chunks are rejected, because a peer could send them forever.
        if got == 0 {
            return Err(Error::Empty);
        }
        if got > limit {
            return Err(Error::TooLong { got, limit });
        }
        if chunk.bytes.len() > CHUNK_BYTES {
            return Err(Error::TooLong { got: chunk.bytes.len() as u64, limit: CHUNK_BYTES as u64 });
        }
        self.received += got;
        Ok(())
    }

    /// Checks the next chunk and keeps it compressed. Takes about 1 ms per chunk.
    ///
    /// # Errors
    /// Fails if the chunk is empty, longer than the missing part, or corrupt.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), Error> {
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
    /// Fails if the chunk is empty or longer than the missing part.
    pub fn push_unchecked(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.claim(&chunk)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Checks the next chunk and appends its decoded bytes to `content`.
    ///
    /// # Errors
    /// Fails if the chunk is empty, longer than the missing part, or corrupt.
    pub fn decode_next(&mut self, chunk: &Chunk, content: &mut Vec<u8>) -> Result<(), Error> {
        self.claim(chunk)?;
        let start = content.len();
        chunk.decode_onto(content)?;
        self.hasher.update(&content[start..]);
        Ok(())
    }

    fn check_length(&self) -> Result<(), Error> {
        if self.received == self.len {
            return Ok(());
        }
        Err(Error::TooShort { got: self.received, expected: self.len })
    }

    fn check_digest(&self, expected: Digest) -> Result<(), Error> {
        let got = self.hasher.finalize().into();
        if got == expected {
            return Ok(());
        }
        Err(Error::Digest { got, expected })
    }

    /// Ends a sequence of [`Assembler::decode_next`] calls and checks that the content has `digest`.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub fn finish_decoded(&self, digest: Digest) -> Result<(), Error> {
        self.check_length()?;
        self.check_digest(digest)
    }

    /// Ends a sequence of [`Assembler::push`] calls, checks that the content has `digest`, and returns the blob.
    ///
    /// # Errors
    /// Fails if bytes are missing or if the digest differs.
    pub fn finish(self, digest: Digest) -> Result<Blob, Error> {
        self.check_length()?;
        self.check_digest(digest)?;
        self.finish_unchecked(digest)
    }

    /// Ends a sequence of [`Assembler::push_unchecked`] calls and returns the blob. Only [`Blob::decode`] detects a
    /// wrong digest.
    ///
    /// # Errors
    /// Fails if bytes are missing.
    pub fn finish_unchecked(self, digest: Digest) -> Result<Blob, Error> {
        self.check_length()?;
        Ok(Blob(Arc::new(Inner { digest, len: self.len, chunks: self.chunks })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize, compressible: bool) -> Vec<u8> {
        let mut state = 1u64;
        (0..len)
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if compressible { (at / 64) as u8 } else { (state >> 56) as u8 }
            })
            .collect()
    }

    fn check_round_trip(content: &[u8]) -> Blob {
        let blob = Blob::encode(content);
        assert_eq!(blob.len(), content.len() as u64);
        assert_eq!(blob.digest(), Digest::of(content));
        let mut assembler = Assembler::new(blob.len());
        for chunk in blob.chunks() {
            assembler.push(chunk.clone()).unwrap();
        }
        assert_eq!(assembler.finish(blob.digest()).unwrap().decode().unwrap(), content);
        assert_eq!(blob.clone().decode().unwrap(), content, "a shared blob can be decoded, too");
        blob
    }

    #[test]
    fn decoding_returns_the_encoded_bytes() {
        for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17] {
            check_round_trip(&sample(len, true));
            check_round_trip(&sample(len, false));
        }
    }

    #[test]
    fn incompressible_chunks_are_stored_raw() {
        let noise = check_round_trip(&sample(CHUNK_BYTES, false));
        assert_eq!(noise.chunks()[0].encoding, Encoding::Raw);
        let regular = check_round_trip(&sample(CHUNK_BYTES, true));
        assert_eq!(regular.chunks()[0].encoding, Encoding::Zstd);
        assert!(regular.stored_bytes() < CHUNK_BYTES as u64 / 4);
    }

    fn check_refused(digest: Digest, len: u64, chunks: &[Chunk], expected: &Error) {
        let assemble = |check: bool| {
            let mut assembler = Assembler::new(len);
            for chunk in chunks {
                if check { assembler.push(chunk.clone())? } else { assembler.push_unchecked(chunk.clone())? }
            }
            if check { assembler.finish(digest) } else { assembler.finish_unchecked(digest) }?.decode()
        };
        assert_eq!(&assemble(true).unwrap_err(), expected);
        assert_eq!(&assemble(false).unwrap_err(), expected, "decoding detects the fault of an unchecked chunk");
    }

    #[test]
    fn invalid_chunks_are_rejected() {
        let content = sample(1000, true);
        let blob = Blob::encode(&content);
        let good = blob.chunks()[0].clone();
        let other = Digest::of(b"other");
        check_refused(other, 1000, std::slice::from_ref(&good), &Error::Digest { got: blob.digest(), expected: other });
        check_refused(blob.digest(), 1001, std::slice::from_ref(&good), &Error::TooShort { got: 1000, expected: 1001 });
        check_refused(blob.digest(), 999, std::slice::from_ref(&good), &Error::TooLong { got: 1000, limit: 999 });
        let empty = Chunk { encoding: Encoding::Raw, decoded_len: 0, bytes: Bytes::new() };
        check_refused(blob.digest(), 1000, &[empty], &Error::Empty);
        let (got, limit) = (CHUNK_BYTES as u64 + 1, CHUNK_BYTES as u64);
        let padded = Chunk { encoding: Encoding::Zstd, decoded_len: 1000, bytes: vec![0; CHUNK_BYTES + 1].into() };
        check_refused(blob.digest(), 1000, &[padded], &Error::TooLong { got, limit });
        let garbage = Chunk { bytes: Bytes::from_static(b"not zstd"), ..good.clone() };
        check_refused(blob.digest(), 1000, &[garbage], &Error::Corrupt);
        let short = Chunk { encoding: Encoding::Raw, decoded_len: 1000, bytes: Bytes::from_static(b"short") };
        check_refused(blob.digest(), 1000, &[short], &Error::Corrupt);
    }

    #[test]
    fn a_decompression_bomb_is_not_expanded() {
        let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 1).unwrap();
        let chunk = Chunk { encoding: Encoding::Zstd, decoded_len: CHUNK_BYTES as u32, bytes: bomb.into() };
        check_refused(Digest::of(b""), CHUNK_BYTES as u64, &[chunk], &Error::Corrupt);
        let honest_about_it = Chunk { encoding: Encoding::Raw, decoded_len: 64 << 20, bytes: Bytes::new() };
        let limit = CHUNK_BYTES as u64;
        check_refused(Digest::of(b""), 1 << 30, &[honest_about_it], &Error::TooLong { got: 64 << 20, limit });
    }
}
