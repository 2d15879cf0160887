//! Chunks on the wire.

use crate::wire;
use artifacts::{Chunk, Encoding};

/// Why an artifact could not be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The call failed, or the connection.
    #[error("{}", .0.message())]
    Call(#[from] Box<tonic::Status>),
    /// The bytes are not what was announced.
    #[error(transparent)]
    Content(#[from] artifacts::Error),
    /// Parts came in no known order.
    #[error("an artifact's parts came in the wrong order")]
    Order,
    /// A header announces what cannot be.
    #[error("an artifact of {0} bytes is longer than any may be")]
    TooLong(u64),
}

/// A chunk as it travels.
#[must_use]
pub fn chunk_to_wire(chunk: Chunk) -> wire::Chunk {
    wire::Chunk { zstd: chunk.encoding == Encoding::Zstd, decoded_length: chunk.decoded_len, content: chunk.bytes }
}

/// A chunk as it arrived; nothing about it is checked yet. Its bytes are copied, so that a kept chunk does not hold the
/// whole receive buffer it came in.
#[must_use]
pub fn chunk_from_wire(chunk: &wire::Chunk) -> Chunk {
    let encoding = if chunk.zstd { Encoding::Zstd } else { Encoding::Raw };
    Chunk { encoding, decoded_len: chunk.decoded_length, bytes: bytes::Bytes::copy_from_slice(&chunk.content) }
}
