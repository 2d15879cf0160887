//! Files by the digest of their content: programs, inputs and finished proofs.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Digits of a digest.
const DIGITS: usize = 64;

/// Why a blob cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is longer than allowed.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// The disk has no room.
    #[error("the disk with {} is full", path.display())]
    Full {
        /// The folder.
        path: PathBuf,
    },
    /// It is not there any more, or not what it was.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Anything else.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

fn failed(path: &Path, reason: io::Error) -> BlobError {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full { path: path.to_owned() },
        io::ErrorKind::NotFound => {
            BlobError::Damaged { path: path.to_owned(), reason: "there is no such file".to_owned() }
        }
        _ => BlobError::Io { path: path.to_owned(), reason },
    }
}

/// True for the text of a digest: nothing else may become a part of a path.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A folder of blobs. What is in it was written whole, and is on the disk when its digest is told.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// The blobs in `folder`, which is made where there is none. What an earlier process began to write there and did
    /// not end is removed.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, BlobError> {
        let unfinished = folder.join("unfinished");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&unfinished, error)),
            _ => {}
        }
        fs::create_dir_all(&unfinished).map_err(|error| failed(&unfinished, error))?;
        Ok(Self { folder })
    }

    /// True when nothing was ever kept.
    pub(crate) fn is_empty(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|entries| entries.count() <= 1)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(&digest[..2]).join(digest)
    }

    /// A blob to be written, of at most `limit` bytes. Blocks, as its methods do.
    pub(crate) fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        let folder = self.folder.join("unfinished");
        let file = NamedTempFile::new_in(&folder).map_err(|error| failed(&folder, error))?;
        Ok(BlobWriter { blobs: self.clone(), file, hasher: blake3::Hasher::new(), length: 0, limit })
    }

    /// Keeps `content`, and says under which digest. Blocks.
    pub(crate) fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        let mut writer = self.writer(u64::MAX)?;
        writer.write(content)?;
        Ok(writer.finish()?.digest)
    }

    /// Content of a blob, which is what it was when it was kept. Blocks.
    pub(crate) fn read(&self, digest: &str) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let content = fs::read(&path).map_err(|error| failed(&path, error))?;
        if blake3::hash(&content).to_hex().as_str() != digest {
            return Err(BlobError::Damaged { path, reason: "its content has changed".to_owned() });
        }
        Ok(content)
    }

    /// Length of a blob in bytes; `None` when it is not there. Blocks.
    pub(crate) fn length(&self, digest: &str) -> Option<u64> {
        Some(fs::metadata(self.path(digest)).ok()?.len())
    }

    /// Removes a blob, if it is there. Blocks.
    pub(crate) fn remove(&self, digest: &str) {
        let path = self.path(digest);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "remove a blob");
        }
    }

    /// Every blob with the time at which it was kept. Blocks.
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

/// A kept blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) digest: String,
    pub(crate) length: u64,
}

/// A blob on its way. Nothing of it stays unless it is finished.
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

    /// Gives it its name, and returns when it would survive a loss of power.
    pub(crate) fn finish(self) -> Result<Kept, BlobError> {
        let digest = self.hasher.finalize().to_hex().to_string();
        let path = self.blobs.path(&digest);
        let kept = Kept { digest, length: self.length };
        if self.blobs.length(&kept.digest) == Some(kept.length) {
            // Kept anew: what has just been handed in is not old.
            if let Ok(file) = File::open(&path) {
                let _ = file.set_modified(std::time::SystemTime::now());
            }
            return Ok(kept);
        }
        let folder = path.parent().expect("a blob is in a folder").to_owned();
        let io = |error| failed(&folder, error);
        fs::create_dir_all(&folder).map_err(io)?;
        self.file.as_file().sync_all().map_err(io)?;
        self.file.persist(&path).map_err(|error| io(error.error))?;
        for folder in [&folder, &self.blobs.folder] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(kept)
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
    fn a_blob_is_what_it_was_or_an_error() {
        let (_folder, blobs) = blobs();
        assert!(blobs.is_empty());
        let digest = blobs.put(b"content").unwrap();
        assert_eq!(digest, blake3::hash(b"content").to_hex().as_str());
        assert_eq!((blobs.read(&digest).unwrap(), blobs.length(&digest)), (b"content".to_vec(), Some(7)));
        assert_eq!(blobs.put(b"content").unwrap(), digest, "the same again is the same");
        assert_eq!(blobs.list().len(), 1);
        fs::write(blobs.path(&digest), b"contenT").unwrap();
        assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
        blobs.remove(&digest);
        assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
        blobs.remove(&digest);
    }

    #[test]
    fn what_is_too_long_or_unfinished_leaves_nothing() {
        let (folder, blobs) = blobs();
        let mut writer = blobs.writer(4).unwrap();
        writer.write(b"1234").unwrap();
        assert!(matches!(writer.write(b"5"), Err(BlobError::TooLong { limit: 4 })));
        std::mem::forget(blobs.writer(4).unwrap());
        let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
        assert!(blobs.list().is_empty() && blobs.is_empty());
    }

    #[test]
    fn only_digests_name_blobs() {
        assert!(is_digest(&"0a".repeat(32)));
        for text in ["", "../../../etc/passwd", &"0A".repeat(32), &"0a".repeat(31), &"é".repeat(32)] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
