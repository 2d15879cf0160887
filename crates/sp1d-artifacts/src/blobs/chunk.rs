//! One chunk of a blob, and how its bytes are compressed.

use super::{DecodeError, Encoding};
use bytes::Bytes;
use std::{cell::RefCell, io};
use zstd::bulk::{Compressor, Decompressor};

sp1d_model::limits! {
    /// Uncompressed size of every chunk except the last. Small enough that one chunk never occupies a connection for
    /// long, and large enough for zstd to find repetitions.
    pub const CHUNK_BYTES: usize = 1 << 20; Bytes by EitherSide;
}

/// Level 1 reduces shard records to a quarter of their size, at 250 MB/s on one core. Higher levels take more time than
/// they save on the network.
const ZSTD_LEVEL: i32 = 1;

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

/// Content below this size is not compressed: a frame of zstd has a head of its own, and little is saved.
const MIN_COMPRESSED_BYTES: usize = 128;

thread_local! {
    /// A compressor and the buffer for its output. Making a compressor takes longer than compressing a small chunk.
    static COMPRESSOR: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Returns the compressed content, if it is worth decompressing it at the receiver: at least a sixteenth is saved.
fn compress(content: &[u8]) -> Option<Bytes> {
    if content.len() < MIN_COMPRESSED_BYTES {
        return None;
    }
    let worthwhile = content.len() - content.len() / 16;
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some((Compressor::new(ZSTD_LEVEL).ok()?, vec![0; CHUNK_BYTES]));
        }
        let (compressor, buffer) = slot.as_mut()?;
        // Fails if the output does not fit.
        let written = compressor.compress_to_buffer(content, &mut buffer[..worthwhile]).ok()?;
        // The chunk must not keep more memory than the store counts, so it does not get the buffer.
        Some(Bytes::copy_from_slice(&buffer[..written]))
    })
}

/// Returns the number of bytes that were decompressed into `out`.
fn decompress(bytes: &[u8], out: &mut [u8]) -> io::Result<usize> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new()?);
        }
        slot.as_mut().map_or(Ok(0), |decompressor| decompressor.decompress_to_buffer(bytes, out))
    })
}

fn decoded_len(content: &[u8]) -> u32 {
    u32::try_from(content.len()).expect("a chunk is at most CHUNK_BYTES long")
}

impl Chunk {
    /// Compresses `content` if that pays. Otherwise returns `None`.
    pub(super) fn compressed(content: &[u8]) -> Option<Self> {
        Some(Self { encoding: Encoding::Zstd, decoded_len: decoded_len(content), bytes: compress(content)? })
    }

    /// Returns a chunk that is not compressed.
    pub(super) fn raw(content: Bytes) -> Self {
        Self { encoding: Encoding::Raw, decoded_len: decoded_len(&content), bytes: content }
    }

    pub(super) fn encode(content: &[u8]) -> Self {
        Self::compressed(content).unwrap_or_else(|| Self::raw(Bytes::copy_from_slice(content)))
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
                match decompress(&self.bytes, &mut out[start..]) {
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
