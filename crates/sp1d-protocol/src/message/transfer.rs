//! Conversion of artifact chunks to and from wire messages.

use crate::{MessageLimits, wire};
use sp1d_artifacts::{Chunk, Encoding};

/// Why an artifact could not be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The call or the connection failed.
    #[error("{}", .0.message())]
    Call(#[from] Box<tonic::Status>),
    /// The bytes differ from what was announced.
    #[error(transparent)]
    Content(#[from] sp1d_artifacts::DecodeError),
    /// The parts arrived in an invalid order.
    #[error("the parts of an artifact arrived in an invalid order")]
    Order,
    /// The header announces more bytes than an artifact may have.
    #[error("the artifact has {0} bytes, and the limit is {limit} bytes", limit = MessageLimits::ARTIFACT_BYTES)]
    TooLong(u64),
}

/// Converts a chunk to its wire message.
#[must_use]
pub fn chunk_to_wire(chunk: Chunk) -> wire::Chunk {
    wire::Chunk { zstd: chunk.encoding == Encoding::Zstd, decoded_length: chunk.decoded_len, content: chunk.bytes }
}

/// Converts a wire message to a chunk without checking it. The bytes are copied, so that a stored chunk does not keep
/// the whole receive buffer in memory.
#[must_use]
pub fn chunk_from_wire(chunk: &wire::Chunk) -> Chunk {
    let encoding = if chunk.zstd { Encoding::Zstd } else { Encoding::Raw };
    Chunk { encoding, decoded_len: chunk.decoded_length, bytes: bytes::Bytes::copy_from_slice(&chunk.content) }
}
