//! Blobs: bytes in compressed chunks, checked by a digest. They have no name here and are never on disk.

mod assembler;
mod blob;
mod blob_reader;
mod chunk;
mod chunk_compression;
mod content_check;
mod decode_error;
mod encoder;
mod encoding;
#[cfg(test)]
mod tests;

pub use assembler::Assembler;
pub use blob::Blob;
pub use blob_reader::BlobReader;
pub(crate) use chunk::LIMITS as CHUNK_LIMITS;
pub use chunk::{CHUNK_BYTES, Chunk};
pub use decode_error::DecodeError;
pub use encoder::Encoder;
pub use encoding::Encoding;
