//! Conversion of artifact chunks to and from wire messages.

use crate::{MessageLimits, wire};
use bytes::Bytes;
use sp1d_artifacts::{CHUNK_BYTES, Chunk, Encoding};

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

/// Converts a wire message to a chunk without checking it. Small contents are copied, so that a stored chunk keeps at
/// most about twice its size in memory, whatever else its message contained.
#[must_use]
pub fn chunk_from_wire(chunk: wire::Chunk) -> Chunk {
    let encoding = if chunk.zstd { Encoding::Zstd } else { Encoding::Raw };
    let is_large = chunk.content.len() >= CHUNK_BYTES / 2;
    let bytes = if is_large { chunk.content } else { Bytes::copy_from_slice(&chunk.content) };
    Chunk { encoding, decoded_len: chunk.decoded_length, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks whether a chunk with `length` bytes keeps the buffer in which its message arrived.
    fn check(length: usize, keeps: bool) {
        let message = Bytes::from(vec![1; CHUNK_BYTES]);
        let content = message.slice(..length);
        let chunk = chunk_from_wire(wire::Chunk { zstd: false, decoded_length: 7, content: content.clone() });
        assert_eq!(chunk, Chunk { encoding: Encoding::Raw, decoded_len: 7, bytes: content });
        assert_eq!(chunk.bytes.as_ptr() == message.as_ptr(), keeps);
    }

    #[test]
    fn only_large_chunks_keep_their_message() {
        check(1, false);
        check(CHUNK_BYTES / 2 - 1, false);
        check(CHUNK_BYTES / 2, true);
        check(CHUNK_BYTES, true);
    }
}
