//! Blobs: chunked, compressed, digest-checked bytes.

use crate::Digest;
use bytes::Bytes;
use std::sync::Arc;

/// Uncompressed bytes of every chunk but the last: small enough that a chunk never holds a connection for long, large
/// enough for zstd to find what repeats.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Level 1 shrinks shard records four times at 250 MB/s on one core; higher levels cost more time than the network
/// saves.
const ZSTD_LEVEL: i32 = 1;

/// What a blob made or received wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than announced, or than a chunk may have.
    #[error("a chunk of {got} bytes where at most {limit} were left")]
    TooLong {
        /// Bytes the chunk claims.
        got: u64,
        /// Bytes that were still allowed.
        limit: u64,
    },
    /// The chunks end before the announced length.
    #[error("{got} of {expected} bytes arrived")]
    TooShort {
        /// Bytes received.
        got: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// A chunk does not decompress to what it claims.
    #[error("a chunk does not decompress to the length it claims")]
    Corrupt,
    /// The whole does not have the announced digest.
    #[error("the bytes have digest {got}, announced was {expected}")]
    Digest {
        /// Digest of what came.
        got: Digest,
        /// Digest announced.
        expected: Digest,
    },
}

/// How a chunk's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// A part of a blob that can be decoded by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// How `bytes` are stored.
    pub encoding: Encoding,
    /// Length of the decoded bytes, 1 to [`CHUNK_BYTES`].
    pub decoded_len: u32,
    /// Stored bytes.
    pub bytes: Bytes,
}

impl Chunk {
    fn encode(content: &[u8]) -> Self {
        let decoded_len = u32::try_from(content.len()).expect("a chunk is at most CHUNK_BYTES long");
        // A sixteenth is what pays for decompressing at the other end.
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
    /// [`Error::Corrupt`] when they are not as many as the chunk claims. `out` is then left as it was.
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

/// Immutable bytes, chunked and compressed, with the digest of the whole. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blob(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    digest: Digest,
    len: u64,
    chunks: Vec<Chunk>,
}

impl Blob {
    /// Compresses `content`. Takes about 4 ms per megabyte: not for an asynchronous thread.
    #[must_use]
    pub fn encode(content: &[u8]) -> Self {
        let mut encoder = Encoder::new(content);
        let chunks = encoder.by_ref().collect();
        Self(Arc::new(Inner { digest: encoder.digest(), len: content.len() as u64, chunks }))
    }

    /// Digest of the uncompressed bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Uncompressed length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// True when there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Bytes held in memory.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.0.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    /// True when somebody else holds it too, so that giving it up frees nothing.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The chunks, in order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.0.chunks
    }

    /// The uncompressed bytes. A blob that nobody else holds gives up its chunks on the way, so that both forms are
    /// never in memory whole.
    ///
    /// # Errors
    /// When a chunk is corrupt or the whole has another digest.
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

/// Makes chunks of bytes one at a time, so that a sender never holds the compressed whole.
pub struct Encoder<'a> {
    rest: &'a [u8],
    hasher: blake3::Hasher,
}

impl<'a> Encoder<'a> {
    /// Chunks of `content`.
    #[must_use]
    pub fn new(content: &'a [u8]) -> Self {
        Self { rest: content, hasher: blake3::Hasher::new() }
    }

    /// Digest of what was encoded so far: of the whole, once the iterator has ended.
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

/// Checks chunks as they arrive and puts them together.
#[derive(Debug)]
pub struct Assembler {
    len: u64,
    received: u64,
    hasher: blake3::Hasher,
    chunks: Vec<Chunk>,
    scratch: Vec<u8>,
}

impl Assembler {
    /// Expects `len` bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { len, received: 0, hasher: blake3::Hasher::new(), chunks: Vec::new(), scratch: Vec::new() }
    }

    fn claim(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let limit = (self.len - self.received).min(CHUNK_BYTES as u64);
        let got = u64::from(chunk.decoded_len);
        // A chunk of nothing would let a peer send for ever.
        if got > limit || got == 0 || chunk.bytes.len() > CHUNK_BYTES {
            return Err(Error::TooLong { got, limit });
        }
        self.received += got;
        Ok(())
    }

    /// Takes the next chunk, checks it and keeps it compressed. About 1 ms a chunk.
    ///
    /// # Errors
    /// When it is longer than what is left, or corrupt.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.claim(&chunk)?;
        self.scratch.clear();
        chunk.decode_onto(&mut self.scratch)?;
        self.hasher.update(&self.scratch);
        self.chunks.push(chunk);
        Ok(())
    }

    /// Takes the next chunk and keeps it compressed without looking inside: for a thread that must not be held up.
    /// [`Blob::decode`] makes up for it.
    ///
    /// # Errors
    /// When it is longer than what is left.
    pub fn push_unchecked(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.claim(&chunk)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Takes the next chunk and appends its decoded bytes to `content`.
    ///
    /// # Errors
    /// When it is longer than what is left, or corrupt.
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

    /// Ends a sequence of [`Assembler::decode_next`]: the whole should have `digest`.
    ///
    /// # Errors
    /// When bytes are missing or the digest differs.
    pub fn finish_decoded(&self, digest: Digest) -> Result<(), Error> {
        self.check_length()?;
        self.check_digest(digest)
    }

    /// Ends a sequence of [`Assembler::push`]: the whole should have `digest`.
    ///
    /// # Errors
    /// When bytes are missing or the digest differs.
    pub fn finish(self, digest: Digest) -> Result<Blob, Error> {
        self.check_length()?;
        self.check_digest(digest)?;
        self.finish_unchecked(digest)
    }

    /// Ends a sequence of [`Assembler::push_unchecked`]; the blob will be found out if it has not `digest`.
    ///
    /// # Errors
    /// When bytes are missing.
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
        assert_eq!(blob.clone().decode().unwrap(), content, "a shared blob decodes too");
        blob
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17] {
            check_round_trip(&sample(len, true));
            check_round_trip(&sample(len, false));
        }
    }

    #[test]
    fn what_does_not_shrink_is_kept_raw() {
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
        assert_eq!(&assemble(false).unwrap_err(), expected, "unchecked chunks are found out at decoding");
    }

    #[test]
    fn wrong_chunks_are_refused() {
        let content = sample(1000, true);
        let blob = Blob::encode(&content);
        let good = blob.chunks()[0].clone();
        let other = Digest::of(b"other");
        check_refused(other, 1000, std::slice::from_ref(&good), &Error::Digest { got: blob.digest(), expected: other });
        check_refused(blob.digest(), 1001, std::slice::from_ref(&good), &Error::TooShort { got: 1000, expected: 1001 });
        check_refused(blob.digest(), 999, std::slice::from_ref(&good), &Error::TooLong { got: 1000, limit: 999 });
        let empty = Chunk { encoding: Encoding::Raw, decoded_len: 0, bytes: Bytes::new() };
        check_refused(blob.digest(), 1000, &[empty], &Error::TooLong { got: 0, limit: 1000 });
        let garbage = Chunk { bytes: Bytes::from_static(b"not zstd"), ..good.clone() };
        check_refused(blob.digest(), 1000, &[garbage], &Error::Corrupt);
        let short = Chunk { encoding: Encoding::Raw, decoded_len: 1000, bytes: Bytes::from_static(b"short") };
        check_refused(blob.digest(), 1000, &[short], &Error::Corrupt);
    }

    #[test]
    fn a_decompression_bomb_does_not_expand() {
        let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 1).unwrap();
        let chunk = Chunk { encoding: Encoding::Zstd, decoded_len: CHUNK_BYTES as u32, bytes: bomb.into() };
        check_refused(Digest::of(b""), CHUNK_BYTES as u64, &[chunk], &Error::Corrupt);
        let honest_about_it = Chunk { encoding: Encoding::Raw, decoded_len: 64 << 20, bytes: Bytes::new() };
        let limit = CHUNK_BYTES as u64;
        check_refused(Digest::of(b""), 1 << 30, &[honest_about_it], &Error::TooLong { got: 64 << 20, limit });
    }
}
