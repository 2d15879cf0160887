//! Reads the content of a blob without decoding all of it.

use super::{Blob, CHUNK_BYTES};
use std::io::{self, Read};

/// Reads the uncompressed bytes of a blob. Holds one decoded chunk at a time, so that the memory for reading does not
/// depend on the length of the content.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    /// Index of the next chunk.
    next: usize,
    /// The decoded bytes of the present chunk, and how many of them were read.
    decoded: Vec<u8>,
    read: usize,
}

impl BlobReader {
    /// Returns a reader at the start of `blob`. It does not check the digest of the blob.
    #[must_use]
    pub fn new(blob: Blob) -> Self {
        Self { blob, next: 0, decoded: Vec::new(), read: 0 }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.decoded.len()
            && let Some(chunk) = self.blob.chunks().get(self.next)
        {
            self.decoded.clear();
            self.decoded.reserve(CHUNK_BYTES.min(chunk.decoded_len as usize));
            self.read = 0;
            chunk.decode_onto(&mut self.decoded).map_err(io::Error::other)?;
            self.next += 1;
        }
        let copied = (&self.decoded[self.read..]).read(buffer)?;
        self.read += copied;
        Ok(copied)
    }
}
