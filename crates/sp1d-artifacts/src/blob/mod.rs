//! Blobs: bytes in compressed chunks, checked by a digest. They have no name here and are never on disk.

mod assembler;
mod chunk;
mod compressed;
mod encoder;
mod reader;
#[cfg(test)]
mod tests;

pub use assembler::Assembler;
pub(crate) use chunk::LIMITS as CHUNK_LIMITS;
pub use chunk::{CHUNK_BYTES, Chunk, DecodeError, Encoding};
pub use compressed::Blob;
pub use encoder::Encoder;
pub use reader::BlobReader;
