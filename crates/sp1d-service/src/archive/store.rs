//! Files of an archive, in a folder or an object store.

use super::{
    deadlines::MAX_SILENCE,
    error::ArchiveError,
    folder::FolderArchive,
    place::ArchivePlace,
    revision::Revision,
    s3::{S3Archive, S3Settings},
};
use bytes::Bytes;
use std::{fs::File, time::SystemTime};
use tokio::{io::AsyncReadExt, time::timeout};

/// Bytes that are read from a file at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The files of an archive. All methods fail if the archive cannot be reached, and none of them waits without limit.
pub(super) enum ArchiveStore {
    Folder(FolderArchive),
    S3(Box<S3Archive>),
}

impl ArchiveStore {
    /// Opens the archive at `place`. Sends no request yet. An object store takes its settings from the environment,
    /// which `variable` reads.
    pub(super) fn open(place: &ArchivePlace, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ArchiveError> {
        match place {
            ArchivePlace::Folder(path) => Ok(Self::Folder(FolderArchive::new(path.clone()))),
            ArchivePlace::Bucket { .. } => {
                let settings = S3Settings::read(place, variable).map_err(ArchiveError::Settings)?;
                Ok(Self::S3(Box::new(S3Archive::new(settings)?)))
            }
        }
    }

    /// Stores the rest of `file`, which has `bytes` bytes. An existing file of this name is replaced: names contain the
    /// digest of the content.
    pub(super) async fn put(&self, name: &str, file: File, bytes: u64) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(folder) => folder.put(name, file, bytes).await,
            Self::S3(s3) => s3.put(name, file, bytes).await,
        }
    }

    /// Returns the content of a file of at most `limit` bytes, and its revision. `None` if it does not exist.
    pub(super) async fn read(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, Revision)>, ArchiveError> {
        match self {
            Self::Folder(folder) => folder.read(name, limit).await,
            Self::S3(s3) => s3.read(name, limit).await,
        }
    }

    /// Replaces a file and returns its new revision.
    ///
    /// # Errors
    /// [`ArchiveError::Replaced`] if the file is not of the `expected` revision.
    pub(super) async fn replace(
        &self,
        name: &str,
        content: Vec<u8>,
        expected: &Revision,
    ) -> Result<Revision, ArchiveError> {
        match self {
            Self::Folder(folder) => folder.replace(name, content, expected.clone()).await,
            Self::S3(s3) => s3.replace(name, content, expected).await,
        }
    }

    /// Opens a file for reading. `None` if it does not exist.
    pub(super) async fn open_file(&self, name: &str) -> Result<Option<ArchiveReader>, ArchiveError> {
        match self {
            Self::Folder(folder) => Ok(folder.open_file(name).await?.map(ArchiveReader::File)),
            Self::S3(s3) => Ok(s3.open_file(name).await?.map(ArchiveReader::Response)),
        }
    }

    /// Returns the names of all files in `folder` and its subfolders.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        match self {
            Self::Folder(archive) => archive.list(folder).await,
            Self::S3(s3) => s3.list(folder).await,
        }
    }

    /// Removes the files in `folder` that interrupted writes have left, if they are older than a day at `now`. An
    /// object store has none.
    pub(super) async fn remove_unfinished(&self, folder: &str, now: SystemTime) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(archive) => archive.remove_unfinished(folder, now).await,
            Self::S3(_) => Ok(()),
        }
    }

    /// Removes a file. A missing file is not an error.
    pub(super) async fn remove(&self, name: &str) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(folder) => folder.remove(name).await,
            Self::S3(s3) => s3.remove(name).await,
        }
    }
}

/// Reads a file of an archive in chunks.
pub(super) enum ArchiveReader {
    File(tokio::fs::File),
    Response(reqwest::Response),
}

impl ArchiveReader {
    /// Returns the next chunk; `None` at the end. The error is the end of a sentence.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::File(file) => {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                let read = timeout(MAX_SILENCE, file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)).await;
                let read = read.map_err(|_| format!("cannot be read: no response for {} s", MAX_SILENCE.as_secs()))?;
                read.map_err(|error| format!("cannot be read: {error}"))?;
                Ok((!chunk.is_empty()).then(|| chunk.into()))
            }
            Self::Response(response) => {
                let chunk = response.chunk().await;
                chunk.map_err(|error| format!("cannot be downloaded: {}", error.without_url()))
            }
        }
    }
}
