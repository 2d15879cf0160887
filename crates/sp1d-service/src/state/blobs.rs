//! Content-addressed files: programs, inputs and finished proofs, each named by the blake3 digest of its content.

use super::{
    clock::ServiceClock,
    disk::{DiskReservation, DiskSpace, is_full},
    file_version::FileVersion,
    private_files::{create_private_folder, sync_folder},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tempfile::NamedTempFile;

/// Hexadecimal digits of a blake3 digest.
const DIGITS: usize = 64;

/// Subfolder of the files that are being written.
const UNFINISHED: &str = "unfinished";

/// Number of blobs whose last comparison with their digest is remembered.
const MAX_COMPARED: usize = 4096;

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
    let path = path.to_owned();
    if is_full(&reason) {
        return BlobError::Full { path };
    }
    match reason.kind() {
        io::ErrorKind::NotFound => BlobError::Damaged { path, reason: "the file is missing".to_owned() },
        _ => BlobError::Io { path, reason },
    }
}

/// Returns true if `text` is a digest in lower-case hexadecimal digits. Clients send digests, and no other text may
/// become part of a path.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A folder of blobs. It contains only complete blobs, and a blob is synced to disk before its digest is returned.
#[derive(Clone)]
pub(crate) struct Blobs {
    folder: PathBuf,
    clock: Arc<ServiceClock>,
    space: Arc<DiskSpace>,
    /// The files whose content matched their digest, by digest.
    compared: Arc<Mutex<BTreeMap<String, FileVersion>>>,
    /// Held while a blob is stored or counts as stored again, and from the look at the age of a blob until its removal.
    storing: Arc<Mutex<()>>,
}

impl Blobs {
    /// Opens `folder`, and creates a missing folder. Removes unfinished files of earlier processes.
    pub(crate) fn open(folder: PathBuf, clock: Arc<ServiceClock>, space: Arc<DiskSpace>) -> Result<Self, BlobError> {
        let blobs = Self { folder, clock, space, compared: Arc::default(), storing: Arc::default() };
        let unfinished = blobs.unfinished();
        for entry in fs::read_dir(&unfinished).into_iter().flatten().flatten() {
            fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
        }
        match create_private_folder(&unfinished) {
            // A writer creates the folder when the disk has room.
            Err(error) if is_full(&error) => {}
            created => created.map_err(|error| failed(&unfinished, error))?,
        }
        Ok(blobs)
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join(UNFINISHED)
    }

    /// Returns true if `folder` has never contained a blob, or does not exist. The subfolder of a removed blob stays.
    pub(crate) fn is_unused(folder: &Path) -> bool {
        let is_of_blobs = |entry: &fs::DirEntry| entry.file_name() != UNFINISHED;
        match fs::read_dir(folder) {
            Ok(entries) => !entries.flatten().any(|entry| is_of_blobs(&entry)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(&digest[..2]).join(digest)
    }

    /// Returns a writer for an upload of at most `limit` bytes. Reserves the `declared` length on the disk, or a part
    /// of it if the length is not declared. Blocks, as do the methods of the writer.
    pub(crate) fn writer(&self, limit: u64, declared: Option<u64>) -> Result<BlobWriter, BlobError> {
        if declared.is_some_and(|declared| declared > limit) {
            return Err(BlobError::TooLong { limit });
        }
        let full = || BlobError::Full { path: self.folder.clone() };
        let reservation = self.space.reserve(declared.unwrap_or(0)).ok_or_else(full)?;
        self.start(limit, Some(reservation))
    }

    fn start(&self, limit: u64, reservation: Option<DiskReservation>) -> Result<BlobWriter, BlobError> {
        let folder = self.unfinished();
        let file = create_private_folder(&folder).and_then(|()| NamedTempFile::new_in(&folder));
        let file = file.map_err(|error| failed(&folder, error))?;
        Ok(BlobWriter { blobs: self.clone(), file, hasher: blake3::Hasher::new(), length: 0, limit, reservation })
    }

    /// Stores `content` and returns its digest. May use the disk to its end. Blocks.
    pub(crate) fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        let mut writer = self.start(u64::MAX, None)?;
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

    /// Opens a blob after comparing its content with the digest, 64 KiB at a time. Blocks.
    pub(crate) fn open_blob(&self, digest: &str) -> Result<OpenBlob, BlobError> {
        let path = self.path(digest);
        let io = |error| failed(&path, error);
        let mut file = File::open(&path).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file).map_err(io)?;
        if hasher.finalize().to_hex().as_str() != digest {
            return Err(BlobError::Damaged { path, reason: "its content does not match its digest".to_owned() });
        }
        file.rewind().map_err(io)?;
        Ok(OpenBlob { file, bytes: hasher.count() })
    }

    fn storing(&self) -> MutexGuard<'_, ()> {
        self.storing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the existing blob count as stored now, so that garbage collection does not treat it as old. Returns false
    /// if the blob does not exist: it was removed just now.
    fn store_again(&self, digest: &str) -> io::Result<bool> {
        let undisturbed = self.storing();
        let file = match File::open(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let _ = file.set_modified(self.clock.file_time());
        drop(undisturbed);
        // An earlier process may have been stopped before it had synced the file.
        file.sync_all()?;
        Ok(true)
    }

    fn compared(&self) -> MutexGuard<'_, BTreeMap<String, FileVersion>> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the blob exists and its content matches its digest. Reads the whole file, 64 KiB at a time,
    /// unless the same file has matched before. Blocks.
    pub(crate) fn is_intact(&self, digest: &str) -> bool {
        let path = self.path(digest);
        let Ok(found) = fs::metadata(&path) else { return false };
        let version = FileVersion::of(&found);
        if self.compared().get(digest) == Some(&version) {
            return true;
        }
        let is_intact = digest_of(&path).is_ok_and(|found| found == digest);
        let mut compared = self.compared();
        if is_intact {
            if compared.len() >= MAX_COMPARED {
                compared.clear();
            }
            compared.insert(digest.to_owned(), version);
        } else {
            compared.remove(digest);
        }
        is_intact
    }

    /// Removes a blob if `is_old` returns true for the time at which it was last stored. A blob that is stored again at
    /// the same time is kept. Returns true if the blob is removed. A missing blob is not an error. Blocks.
    pub(crate) fn remove_if(&self, digest: &str, is_old: impl FnOnce(SystemTime) -> bool) -> bool {
        let path = self.path(digest);
        let _undisturbed = self.storing();
        let removed = match fs::metadata(&path).and_then(|found| found.modified()) {
            Ok(stored) => {
                if !is_old(stored) {
                    return false;
                }
                fs::remove_file(&path)
            }
            Err(error) => Err(error),
        };
        self.compared().remove(digest);
        match removed {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a blob");
                false
            }
        }
    }

    /// Removes a blob for good: when this returns, a power failure does not bring it back. A missing blob is not an
    /// error. Blocks.
    pub(crate) fn erase(&self, digest: &str) -> Result<(), BlobError> {
        self.compared().remove(digest);
        let path = self.path(digest);
        let folder = path.parent().expect("a blob's path has a parent folder");
        match fs::remove_file(&path) {
            // The folder exists once it has contained a blob.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|error| failed(&path, error))?,
        }
        sync_folder(folder).map_err(|error| failed(folder, error))
    }

    /// Returns the digest of every blob and the time at which it was last stored. Blocks.
    pub(crate) fn list(&self) -> Vec<(String, SystemTime)> {
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

/// An open blob, at its start.
#[derive(Debug)]
pub(crate) struct OpenBlob {
    pub(crate) file: File,
    /// Length of the blob.
    pub(crate) bytes: u64,
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
    /// Space for the rest of an upload; `None` for a file that may use the disk to its end.
    reservation: Option<DiskReservation>,
}

impl BlobWriter {
    pub(crate) fn write(&mut self, part: &[u8]) -> Result<(), BlobError> {
        self.length += part.len() as u64;
        if self.length > self.limit {
            return Err(BlobError::TooLong { limit: self.limit });
        }
        if let Some(reservation) = &mut self.reservation
            && !reservation.take(part.len() as u64)
        {
            return Err(BlobError::Full { path: self.blobs.folder.clone() });
        }
        self.hasher.update(part);
        self.file.write_all(part).map_err(|error| failed(&self.blobs.folder, error))
    }

    /// Moves the blob to its final path. When this returns, the blob survives a power failure. An intact file of the
    /// same blob is kept, and a damaged one is replaced.
    pub(crate) fn finish(self) -> Result<StoredBlob, BlobError> {
        let digest = self.hasher.finalize().to_hex().to_string();
        let path = self.blobs.path(&digest);
        let folder = path.parent().expect("a blob's path has a parent folder").to_owned();
        let io = |error| failed(&folder, error);
        create_private_folder(&folder).map_err(io)?;
        let is_kept = self.blobs.is_intact(&digest) && self.blobs.store_again(&digest).map_err(io)?;
        if !is_kept {
            let _ = self.file.as_file().set_modified(self.blobs.clock.file_time());
            self.file.as_file().sync_all().map_err(io)?;
            let _undisturbed = self.blobs.storing();
            // Renames the file, so that a reader sees either the old or the new file as a whole.
            self.file.persist(&path).map_err(|error| io(error.error))?;
        }
        for folder in [&folder, &self.blobs.folder] {
            sync_folder(folder).map_err(io)?;
        }
        Ok(StoredBlob { digest, length: self.length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::disk::free_bytes;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path(), 0).unwrap();
        (folder, blobs)
    }

    fn open(folder: &Path, min_free: u64) -> Result<Blobs, BlobError> {
        let space = DiskSpace::new(folder.to_owned(), min_free);
        Blobs::open(folder.join("blobs"), Arc::new(ServiceClock::start(None)), space)
    }

    #[test]
    fn reading_a_changed_or_missing_blob_fails() {
        let (_folder, blobs) = blobs();
        assert!(Blobs::is_unused(&blobs.folder) && Blobs::is_unused(&blobs.folder.join("missing")));
        let digest = blobs.put(b"content").unwrap();
        assert_eq!(digest, blake3::hash(b"content").to_hex().as_str());
        assert_eq!(blobs.read(&digest).unwrap(), b"content");
        let opened = blobs.open_blob(&digest).unwrap();
        assert_eq!((io::read_to_string(opened.file).unwrap().as_str(), opened.bytes), ("content", 7));
        assert_eq!(blobs.put(b"content").unwrap(), digest, "the same content has the same digest");
        assert_eq!(blobs.list().len(), 1);
        fs::write(blobs.path(&digest), b"c0ntent").unwrap();
        assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
        assert!(matches!(blobs.open_blob(&digest), Err(BlobError::Damaged { .. })));
        assert!(blobs.remove_if(&digest, |_| true));
        assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
        assert!(!blobs.remove_if(&digest, |_| true));
    }

    #[test]
    fn old_blob_that_is_stored_again_is_kept() {
        let (_folder, blobs) = blobs();
        let [again, unused] = [&b"content"[..], b"unused"].map(|content| {
            let digest = blobs.put(content).unwrap();
            let file = File::options().write(true).open(blobs.path(&digest)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            digest
        });
        let old: Vec<String> = blobs.list().into_iter().map(|(digest, _)| digest).collect();
        assert_eq!(old.len(), 2);
        // A client uploads the content between the list and the removal.
        blobs.put(b"content").unwrap();
        let removed = old.iter().filter(|digest| blobs.remove_if(digest, |stored| stored == SystemTime::UNIX_EPOCH));
        assert_eq!(removed.count(), 1);
        assert!(blobs.is_intact(&again) && !blobs.is_intact(&unused));
    }

    #[test]
    fn blob_that_is_removed_while_it_is_stored_is_written_again() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"content").unwrap();
        assert!(blobs.store_again(&digest).unwrap());
        assert!(blobs.remove_if(&digest, |_| true));
        assert!(!blobs.store_again(&digest).unwrap(), "only a new file helps");
        blobs.put(b"content").unwrap();
        assert!(blobs.is_intact(&digest));
    }

    #[test]
    fn erased_blob_is_gone_and_may_be_erased_again() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"content").unwrap();
        assert!(blobs.is_intact(&digest));
        for _ in 0..2 {
            blobs.erase(&digest).unwrap();
            assert!(!blobs.is_intact(&digest) && !blobs.path(&digest).exists());
        }
        blobs.erase(&"0a".repeat(32)).unwrap();
        // A folder at the place of the file cannot be removed.
        fs::create_dir(blobs.path(&digest)).unwrap();
        assert!(blobs.erase(&digest).is_err());
    }

    #[test]
    fn damaged_blob_is_repaired_by_storing_it_again() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"content").unwrap();
        // A changed file of the same length, and a cut off one.
        for damaged in ["c0ntent", "cont"] {
            fs::write(blobs.path(&digest), damaged).unwrap();
            assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })), "{damaged}");
            assert!(!blobs.is_intact(&digest), "{damaged}");
            assert_eq!(blobs.put(b"content").unwrap(), digest);
            assert_eq!(blobs.read(&digest).unwrap(), b"content");
        }
        assert_eq!(blobs.list().len(), 1);
    }

    #[test]
    fn too_long_and_unfinished_blobs_are_not_stored() {
        let (folder, blobs) = blobs();
        let mut writer = blobs.writer(4, None).unwrap();
        writer.write(b"1234").unwrap();
        assert!(matches!(writer.write(b"5"), Err(BlobError::TooLong { limit: 4 })));
        assert!(
            matches!(blobs.writer(4, Some(5)), Err(BlobError::TooLong { limit: 4 })),
            "refused before the first byte"
        );
        std::mem::forget(blobs.writer(4, Some(4)).unwrap());
        let blobs = open(folder.path(), 0).unwrap();
        assert!(blobs.list().is_empty() && Blobs::is_unused(&blobs.folder));
    }

    #[test]
    fn content_is_compared_again_after_the_file_has_changed() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"content").unwrap();
        assert!(blobs.is_intact(&digest) && blobs.is_intact(&digest));
        // Some file systems count the time of a change in steps of 10 ms.
        std::thread::sleep(std::time::Duration::from_millis(50));
        // The same length and the same modification time.
        let path = blobs.path(&digest);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, b"c0ntent").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert!(!blobs.is_intact(&digest));
        assert!(blobs.remove_if(&digest, |_| true));
        assert!(!blobs.is_intact(&digest));
    }

    #[test]
    fn upload_is_refused_before_it_uses_the_free_minimum() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_bytes(folder.path()).unwrap();
        let blobs = open(folder.path(), free / 2).unwrap();
        let refused = |declared| matches!(blobs.writer(u64::MAX, Some(declared)), Err(BlobError::Full { .. }));
        assert!(refused(free));
        let first = blobs.writer(u64::MAX, Some(free / 3)).unwrap();
        assert!(refused(free / 3), "the bytes are promised to the first upload");
        drop(first);
        blobs.writer(u64::MAX, Some(free / 3)).unwrap();
        // An upload that does not declare its length is refused while it is written.
        let mut upload = blobs.writer(u64::MAX, None).unwrap();
        let _other = blobs.space.reserve(free / 4).unwrap();
        assert!(upload.reservation.as_mut().is_some_and(|reservation| !reservation.take(free / 2)));
        // A finished proof may use the rest.
        open(folder.path(), u64::MAX).unwrap().put(b"proof").unwrap();
    }

    #[test]
    fn only_lower_case_hex_digests_name_blobs() {
        assert!(is_digest(&"0a".repeat(32)));
        for text in ["", "../../../etc/passwd", &"0A".repeat(32), &"0a".repeat(31), &"é".repeat(32)] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
