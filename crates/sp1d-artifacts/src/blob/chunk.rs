//! One chunk of a blob, and how its bytes are compressed.

use crate::Digest;
use bytes::Bytes;

sp1d_model::limits! {
    /// Uncompressed size of every chunk except the last. Small enough that one chunk never occupies a connection for
    /// long, and large enough for zstd to find repetitions.
    pub const CHUNK_BYTES: usize = 1 << 20; Bytes by EitherSide;
}

/// Level 1 reduces shard records to a quarter of their size, at 250 MB/s on one core. Higher levels take more time than
/// they save on the network.
const ZSTD_LEVEL: i32 = 1;

/// Why a blob or one of its chunks is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A chunk is empty.
    #[error("a chunk is empty")]
    Empty,
    /// The content of a chunk exceeds the rest of the announced length or [`CHUNK_BYTES`], or its stored bytes exceed
    /// its content.
    #[error("a chunk has {got} bytes, and at most {limit} are allowed")]
    TooLong {
        /// Decoded bytes that the chunk claims to contain, or its stored bytes.
        got: u64,
        /// Maximum number of bytes.
        limit: u64,
    },
    /// A chunk that is not the last one has less than [`CHUNK_BYTES`].
    #[error("a chunk has {got} bytes instead of {expected}")]
    Partial {
        /// Decoded bytes that the chunk claims to contain.
        got: u64,
        /// Bytes of the next chunk.
        expected: u64,
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
    /// Length of the decoded bytes: [`CHUNK_BYTES`], or 1 to [`CHUNK_BYTES`] in the last chunk of a blob.
    pub decoded_len: u32,
    /// The stored bytes.
    pub bytes: Bytes,
}

impl Chunk {
    pub(super) fn encode(content: &[u8]) -> Self {
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
    /// [`DecodeError::TooLong`] if the chunk claims more than [`CHUNK_BYTES`], and [`DecodeError::Corrupt`] if it does
    /// not decode to the length that it claims. `out` is then unchanged.
    pub(super) fn decode_onto(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let expected = self.decoded_len as usize;
        if expected > CHUNK_BYTES {
            return Err(DecodeError::TooLong { got: expected as u64, limit: CHUNK_BYTES as u64 });
        }
        match self.encoding {
            Encoding::Raw if self.bytes.len() == expected => out.extend_from_slice(&self.bytes),
            Encoding::Raw => return Err(DecodeError::Corrupt),
            Encoding::Zstd => {
                let start = out.len();
                out.resize(start + expected, 0);
                match zstd::bulk::decompress_to_buffer(&self.bytes, &mut out[start..]) {
                    Ok(written) if written == expected => {}
                    _ => {
                        out.truncate(start);
                        return Err(DecodeError::Corrupt);
                    }
                }
            }
        }
        Ok(())
    }
}
