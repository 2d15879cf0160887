//! A blob in a file, and how it is read.

use super::{StoreError, spill_folder::SpillFile};
use crate::{Assembler, Blob, Chunk, Digest, Encoding};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// What is known of a chunk in a file without reading it.
#[derive(Debug, Clone)]
pub(super) struct SpilledChunk {
    pub(super) encoding: Encoding,
    pub(super) decoded_len: u32,
    pub(super) stored_len: u32,
    /// Digest of the stored bytes. Without it, damage would only show when the content is decoded, perhaps by a worker.
    /// The fault would then be recorded for that worker.
    pub(super) digest: Digest,
}

/// A blob in a file. The file exists until the last clone of this value is dropped. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpilledBlob {
    digest: Digest,
    len: u64,
    stored_bytes: u64,
    chunks: Arc<[SpilledChunk]>,
    file: Arc<SpillFile>,
}

impl SpilledBlob {
    pub(super) fn new(digest: Digest, len: u64, chunks: Arc<[SpilledChunk]>, file: Arc<SpillFile>) -> Self {
        let stored_bytes = chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum();
        Self { digest, len, stored_bytes, chunks, file }
    }

    /// Returns the digest of the uncompressed bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the uncompressed length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns true if the blob contains no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of compressed bytes on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Opens the file to read one chunk after another. Blocks, so do not call it on an asynchronous thread.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the file cannot be opened, or does not have the length that was written.
    pub fn chunks(&self) -> Result<SpilledChunks, StoreError> {
        let opened = File::open(&self.file.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((bytes, file)) if bytes == self.stored_bytes => {
                Ok(SpilledChunks { blob: self.clone(), file: Some(file), next: 0 })
            }
            Ok((bytes, _)) => {
                let written = self.stored_bytes;
                Err(unreadable(&self.file.path, format!("the file has {bytes} bytes, and {written} were written")))
            }
            Err(error) => Err(unreadable(&self.file.path, error.to_string())),
        }
    }

    /// Reads the blob back, exactly as it was written. Blocks, so do not call it on an asynchronous thread.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the file cannot be read or differs from what was written.
    pub fn load(&self) -> Result<Blob, StoreError> {
        let invalid = |error: crate::DecodeError| unreadable(&self.file.path, error.to_string());
        let mut assembler = Assembler::new(self.len);
        for chunk in self.chunks()? {
            assembler.push_unchecked(chunk?).map_err(invalid)?;
        }
        assembler.finish_unchecked(self.digest).map_err(invalid)
    }
}

fn unreadable(path: &Path, reason: String) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), reason }
}

/// Reads the chunks of a spilled blob in order, and checks each. Ends after the first error. Reading blocks.
#[derive(Debug)]
pub struct SpilledChunks {
    blob: SpilledBlob,
    /// `None` after an error.
    file: Option<File>,
    next: usize,
}

impl Iterator for SpilledChunks {
    type Item = Result<Chunk, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.blob.chunks.get(self.next)?;
        let file = self.file.as_mut()?;
        self.next += 1;
        let read = read_chunk(file, chunk).map_err(|reason| unreadable(&self.blob.file.path, reason));
        if read.is_err() {
            self.file = None;
        }
        Some(read)
    }
}

fn read_chunk(file: &mut File, chunk: &SpilledChunk) -> Result<Chunk, String> {
    let mut bytes = vec![0; chunk.stored_len as usize];
    file.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends too early".to_owned(),
        _ => error.to_string(),
    })?;
    if Digest::of(&bytes) != chunk.digest {
        return Err("the content of the file has changed since it was written".to_owned());
    }
    Ok(Chunk { encoding: chunk.encoding, decoded_len: chunk.decoded_len, bytes: bytes.into() })
}
