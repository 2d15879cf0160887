//! Content-addressed files: programs, inputs and finished proofs, each named by the blake3 digest of its content.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Hexadecimal digits of a blake3 digest.
const DIGITS: usize = 64;

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The blob is longer than allowed.
    #[error("the file is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// The disk is full, or the user's disk quota is used up.
    #[error("the disk with {} is full", path.display())]
    Full {
        /// The folder that could not be written.
        path: PathBuf,
    },
    /// The file is missing, or its content does not match its digest.
    #[error("cannot use {}: {reason}", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Whether the file is missing or has changed.
        reason: String,
    },
    /// Any other error of the file system.
    #[error("cannot read or write {}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        reason: io::Error,
    },
}

fn failed(path: &Path, reason: io::Error) -> BlobError {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full { path: path.to_owned() },
        io::ErrorKind::NotFound => {
            BlobError::Damaged { path: path.to_owned(), reason: "the file is missing".to_owned() }
        }
        _ => BlobError::Io { path: path.to_owned(), reason },
    }
}

/// Returns true if `text` is a digest in lower-case hexadecimal digits. Clients send digests, and no other text may
/// become part of a path.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A folder of blobs. It contains only complete blobs, and a blob is synced to disk before its digest is returned.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Opens `folder`, and creates a missing folder. Removes unfinished files of earlier processes.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, BlobError> {
        let unfinished = folder.join("unfinished");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&unfinished, error)),
            _ => {}
        }
        fs::create_dir_all(&unfinished).map_err(|error| failed(&unfinished, error))?;
        Ok(Self { folder })
    }

    /// Returns true if the folder has never contained a blob. The subfolder of a removed blob stays.
    pub(crate) fn is_empty(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|entries| entries.count() <= 1)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(&digest[..2]).join(digest)
    }

    /// Returns a writer for a new blob of at most `limit` bytes. Blocks, as do the methods of the writer.
    pub(crate) fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        let folder = self.folder.join("unfinished");
        let file = NamedTempFile::new_in(&folder).map_err(|error| failed(&folder, error))?;
        Ok(BlobWriter { blobs: self.clone(), file, hasher: blake3::Hasher::new(), length: 0, limit })
    }

    /// Stores `content` and returns its digest. Blocks.
    pub(crate) fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        let mut writer = self.writer(u64::MAX)?;
        writer.write(content)?;
        Ok(writer.finish()?.digest)
    }

    /// Returns the content of a blob after comparing it with the digest. Blocks.
    pub(crate) fn read(&self, digest: &str) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let content = fs::read(&path).map_err(|error| failed(&path, error))?;
        if blake3::hash(&content).to_hex().as_str() != digest {
            return Err(BlobError::Damaged { path, reason: "its content does not match its digest".to_owned() });
        }
        Ok(content)
    }

    /// Returns the length of a blob in bytes, or `None` if the blob does not exist. Does not read the content. Blocks.
    pub(crate) fn length(&self, digest: &str) -> Option<u64> {
        Some(fs::metadata(self.path(digest)).ok()?.len())
    }

    /// Returns true if the stored blob has the length and the digest of `stored`. Reads the whole file, 64 KiB at a
    /// time, if the length is right. Blocks.
    fn is_intact(&self, stored: &StoredBlob) -> bool {
        let is_same = |digest: String| digest == stored.digest;
        self.length(&stored.digest) == Some(stored.length) && digest_of(&self.path(&stored.digest)).is_ok_and(is_same)
    }

    /// Removes a blob. A missing blob is not an error. Blocks.
    pub(crate) fn remove(&self, digest: &str) {
        let path = self.path(digest);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove a blob");
        }
    }

    /// Returns the digest of every blob and the time at which it was last stored. Blocks.
    pub(crate) fn list(&self) -> Vec<(String, std::time::SystemTime)> {
        let folders = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
        let described = files.filter_map(|file| {
            let name = file.file_name().into_string().ok().filter(|name| is_digest(name))?;
            Some((name, file.metadata().ok()?.modified().ok()?))
        });
        described.collect()
    }
}

/// Returns the digest of a file's content.
fn digest_of(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// A stored blob: its digest, and its length in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredBlob {
    pub(crate) digest: String,
    pub(crate) length: u64,
}

/// Writes a new blob. Dropping the writer before [`BlobWriter::finish`] removes what was written.
pub(crate) struct BlobWriter {
    blobs: Blobs,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    length: u64,
    limit: u64,
}

impl BlobWriter {
    pub(crate) fn write(&mut self, part: &[u8]) -> Result<(), BlobError> {
        self.length += part.len() as u64;
        if self.length > self.limit {
            return Err(BlobError::TooLong { limit: self.limit });
        }
        self.hasher.update(part);
        self.file.write_all(part).map_err(|error| failed(&self.blobs.folder, error))
    }

    /// Moves the blob to its final path. When this returns, the blob survives a power failure. An intact file of the
    /// same blob is kept, and a damaged one is replaced.
    pub(crate) fn finish(self) -> Result<StoredBlob, BlobError> {
        let digest = self.hasher.finalize().to_hex().to_string();
        let path = self.blobs.path(&digest);
        let stored = StoredBlob { digest, length: self.length };
        if self.blobs.is_intact(&stored) {
            // The existing blob counts as stored now, so that garbage collection does not treat it as old.
            if let Ok(file) = File::open(&path) {
                let _ = file.set_modified(std::time::SystemTime::now());
            }
            return Ok(stored);
        }
        let folder = path.parent().expect("a blob's path has a parent folder").to_owned();
        let io = |error| failed(&folder, error);
        fs::create_dir_all(&folder).map_err(io)?;
        self.file.as_file().sync_all().map_err(io)?;
        // Renames the file, so that a reader sees either the old or the new file as a whole.
        self.file.persist(&path).map_err(|error| io(error.error))?;
        for folder in [&folder, &self.blobs.folder] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
        (folder, blobs)
    }

    #[test]
    fn reading_a_changed_or_missing_blob_fails() {
        let (_folder, blobs) = blobs();
        assert!(blobs.is_empty());
        let digest = blobs.put(b"content").unwrap();
        assert_eq!(digest, blake3::hash(b"content").to_hex().as_str());
        assert_eq!((blobs.read(&digest).unwrap(), blobs.length(&digest)), (b"content".to_vec(), Some(7)));
        assert_eq!(blobs.put(b"content").unwrap(), digest, "the same content has the same digest");
        assert_eq!(blobs.list().len(), 1);
        fs::write(blobs.path(&digest), b"c0ntent").unwrap();
        assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
        blobs.remove(&digest);
        assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
        blobs.remove(&digest);
    }

    #[test]
    fn damaged_blob_is_repaired_by_storing_it_again() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"content").unwrap();
        // A changed file of the same length, and a cut off one.
        for damaged in ["c0ntent", "cont"] {
            fs::write(blobs.path(&digest), damaged).unwrap();
            assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })), "{damaged}");
            assert_eq!(blobs.put(b"content").unwrap(), digest);
            assert_eq!(blobs.read(&digest).unwrap(), b"content");
        }
        assert_eq!(blobs.list().len(), 1);
    }

    #[test]
    fn too_long_and_unfinished_blobs_are_not_stored() {
        let (folder, blobs) = blobs();
        let mut writer = blobs.writer(4).unwrap();
        writer.write(b"1234").unwrap();
        assert!(matches!(writer.write(b"5"), Err(BlobError::TooLong { limit: 4 })));
        std::mem::forget(blobs.writer(4).unwrap());
        let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
        assert!(blobs.list().is_empty() && blobs.is_empty());
    }

    #[test]
    fn only_lower_case_hex_digests_name_blobs() {
        assert!(is_digest(&"0a".repeat(32)));
        for text in ["", "../../../etc/passwd", &"0A".repeat(32), &"0a".repeat(31), &"é".repeat(32)] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
