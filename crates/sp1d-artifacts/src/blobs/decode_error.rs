//! Why a blob or one of its chunks is invalid.

use crate::Digest;

/// Why a blob or one of its chunks is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A chunk is empty.
    #[error("a chunk is empty")]
    Empty,
    /// The content of a chunk exceeds the rest of the announced length or [`CHUNK_BYTES`](crate::CHUNK_BYTES), or its
    /// stored bytes exceed its content.
    #[error("a chunk has {got} bytes, and at most {limit} are allowed")]
    TooLong {
        /// Decoded bytes that the chunk claims to contain, or its stored bytes.
        got: u64,
        /// Maximum number of bytes.
        limit: u64,
    },
    /// A chunk that is not the last one has less than [`CHUNK_BYTES`](crate::CHUNK_BYTES).
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
