//! Blobs in files: a private folder with one file per blob.
//!
//! A file contains the chunks of one blob in order. A header with the encoding, the decoded length and the stored
//! length precedes each chunk. Files are useless after the process has ended, so they are neither synced nor renamed
//! into place. The metadata of each file stays in memory, including the digest of the file itself.

use super::StoreError;
use crate::{Assembler, Blob, CHUNK_BYTES, Chunk, Digest, Encoding};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    mem,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tempfile::TempDir;

/// Prefix of the name of every folder created here. The process id follows, for people.
const PREFIX: &str = "sp1d-spill-";

/// Minimum age of a folder that another process may remove. A younger folder may be in use although it is not locked,
/// because it is created a moment before it is locked.
const YOUNG: Duration = Duration::from_secs(60);

/// Size of a chunk header: the encoding in one byte, then the decoded and the stored length in four bytes each,
/// little-endian.
const HEADER_BYTES: usize = 9;

/// Writes blobs to disk. The folder is created when it is first needed, because most stores never spill.
#[derive(Debug)]
pub(super) struct Spill {
    base: Option<PathBuf>,
    folder: Option<Arc<SpillFolder>>,
}

impl Spill {
    /// Returns a `Spill` that creates its folder in `base`. Removes the folders that dead processes left in `base`.
    pub(super) fn new(base: Option<PathBuf>) -> Self {
        if let Some(base) = &base {
            remove_leftovers(base);
        }
        Self { base, folder: None }
    }

    /// Returns the folder. Creates it if it does not exist.
    pub(super) fn folder(&mut self) -> io::Result<Arc<SpillFolder>> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let base = self.base.as_deref().ok_or_else(|| io::Error::other("there is no spill folder"))?;
        let folder = SpillFolder::create(base)?;
        self.folder = Some(folder.clone());
        Ok(folder)
    }

    pub(super) fn write(&mut self, blob: &Blob) -> io::Result<SpilledBlob> {
        let outcome = self.folder()?.write(blob);
        if matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Another program removed the folder. The blobs in it are lost, but the next spill creates a new folder.
            self.folder = None;
        }
        outcome
    }
}

/// A folder that only this process uses. It is removed once the store and all files in it are dropped.
#[derive(Debug)]
pub(super) struct SpillFolder {
    dir: TempDir,
    /// Locked while the folder is in use. Unlike a process id, the lock works between containers that share a disk, and
    /// it keeps systemd from cleaning up the folder. Declared after `dir`, so that it is closed after the folder is
    /// removed.
    _lock: File,
    next: AtomicU64,
    /// Files to delete. A thread deletes them, because the dispatcher may drop the last reference to a file, and
    /// deleting takes long on a busy disk.
    waste: Option<mpsc::Sender<PathBuf>>,
    sweeper: Option<JoinHandle<()>>,
}

impl SpillFolder {
    fn create(base: &Path) -> io::Result<Arc<Self>> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", process::id()))
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)?;
        let lock = File::open(dir.path())?;
        // If the file system does not support locks, no process can lock the folder. Other processes then do not remove
        // it, because they only remove folders that they can lock.
        let _ = lock.try_lock();
        let (waste, discarded) = mpsc::channel::<PathBuf>();
        let sweeper = thread::Builder::new().name("spill-sweeper".to_owned()).spawn(move || {
            for path in discarded {
                // A file that cannot be deleted is removed with the folder.
                let _ = fs::remove_file(path);
            }
        })?;
        Ok(Arc::new(Self { dir, _lock: lock, next: AtomicU64::new(0), waste: Some(waste), sweeper: Some(sweeper) }))
    }

    fn write(self: Arc<Self>, blob: &Blob) -> io::Result<SpilledBlob> {
        let path = self.dir.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        // From here on, dropping this value deletes the file, even if writing it fails.
        let file = Arc::new(SpillFile { path, folder: self });
        let file_digest = write_chunks(&file.path, blob.chunks())?;
        let (digest, len, stored_bytes) = (blob.digest(), blob.len(), blob.stored_bytes());
        Ok(SpilledBlob { digest, len, stored_bytes, file_digest, file })
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        self.waste = None;
        if let Some(sweeper) = self.sweeper.take() {
            // The thread ends now, because its channel is closed. It does not panic.
            let _ = sweeper.join();
        }
    }
}

/// A file that is deleted when this value is dropped.
#[derive(Debug)]
struct SpillFile {
    path: PathBuf,
    folder: Arc<SpillFolder>,
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Some(waste) = &self.folder.waste {
            // If the sweeper has ended, the file is removed with the folder.
            let _ = waste.send(mem::take(&mut self.path));
        }
    }
}

/// A blob in a file. The file exists until the last clone of this value is dropped. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpilledBlob {
    digest: Digest,
    len: u64,
    stored_bytes: u64,
    file_digest: Digest,
    file: Arc<SpillFile>,
}

impl SpilledBlob {
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

    /// Returns the number of compressed bytes on disk, without the chunk headers.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Reads the blob back, exactly as it was written. Blocks, so do not call it on an asynchronous thread.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the file cannot be read or differs from what was written.
    pub fn load(&self) -> Result<Blob, StoreError> {
        self.read().map_err(|reason| StoreError::Unreadable { path: self.file.path.clone(), reason })
    }

    fn read(&self) -> Result<Blob, String> {
        let mut file = File::open(&self.file.path).map_err(|error| error.to_string())?;
        let mut hasher = blake3::Hasher::new();
        let mut fill = |buffer: &mut [u8]| {
            file.read_exact(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => "the file ends too early".to_owned(),
                _ => error.to_string(),
            })?;
            hasher.update(buffer);
            Ok::<_, String>(())
        };
        let mut assembler = Assembler::new(self.len);
        let mut left = self.len;
        while left > 0 {
            let mut header = [0; HEADER_BYTES];
            fill(&mut header)?;
            let (encoding, decoded_len, stored) = parse(&header).ok_or("the file has an invalid chunk header")?;
            let mut bytes = vec![0; stored];
            fill(&mut bytes)?;
            let chunk = Chunk { encoding, decoded_len, bytes: bytes.into() };
            // This fails if the chunk is longer than `left`, so the subtraction below cannot underflow.
            assembler.push_unchecked(chunk).map_err(|error| error.to_string())?;
            left -= u64::from(decoded_len);
        }
        if file.read(&mut [0; 1]).map_err(|error| error.to_string())? > 0 {
            return Err("the file is longer than it was when it was written".to_owned());
        }
        // Without this check, damage would only show when the content is decoded, perhaps by a worker. The fault would
        // then be recorded for that worker.
        if Digest::from(hasher.finalize()) != self.file_digest {
            return Err("the content of the file has changed since it was written".to_owned());
        }
        assembler.finish_unchecked(self.digest).map_err(|error| error.to_string())
    }
}

/// Writes `chunks` to a new file and returns the digest of the file.
fn write_chunks(path: &Path, chunks: &[Chunk]) -> io::Result<Digest> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut hasher = blake3::Hasher::new();
    for chunk in chunks {
        for part in [&header(chunk)[..], &chunk.bytes[..]] {
            hasher.update(part);
            file.write_all(part)?;
        }
    }
    Ok(hasher.finalize().into())
}

fn header(chunk: &Chunk) -> [u8; HEADER_BYTES] {
    let stored = u32::try_from(chunk.bytes.len()).expect("a chunk is at most CHUNK_BYTES long");
    let mut header = [0; HEADER_BYTES];
    header[0] = match chunk.encoding {
        Encoding::Raw => 0,
        Encoding::Zstd => 1,
    };
    header[1..5].copy_from_slice(&chunk.decoded_len.to_le_bytes());
    header[5..].copy_from_slice(&stored.to_le_bytes());
    header
}

/// Returns the encoding, the decoded length and the stored length of the chunk that follows. `None` if the header is
/// invalid.
fn parse(header: &[u8; HEADER_BYTES]) -> Option<(Encoding, u32, usize)> {
    let [encoding, a, b, c, d, e, f, g, h] = *header;
    let encoding = match encoding {
        0 => Encoding::Raw,
        1 => Encoding::Zstd,
        _ => return None,
    };
    let stored = u32::from_le_bytes([e, f, g, h]) as usize;
    (stored <= CHUNK_BYTES).then_some((encoding, u32::from_le_bytes([a, b, c, d]), stored))
}

/// Removes the folders in `base` that no process uses. Folders that cannot be inspected or removed are skipped.
fn remove_leftovers(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours && is_leftover(&entry).unwrap_or(false) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_leftover(entry: &fs::DirEntry) -> io::Result<bool> {
    let metadata = entry.metadata()?;
    let old = metadata.modified()?.elapsed().is_ok_and(|age| age > YOUNG);
    Ok(metadata.is_dir() && old && File::open(entry.path())?.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Returns content of three chunks, two of which are compressible.
    fn sample() -> Vec<u8> {
        let mut content = vec![7; CHUNK_BYTES];
        content.resize(2 * CHUNK_BYTES, 0);
        blake3::Hasher::new().finalize_xof().fill(&mut content[CHUNK_BYTES..]);
        content.extend([5; 100]);
        content
    }

    /// Spills the sample, applies `damage` to its file, and checks that loading it fails.
    fn check_damage(damage: impl FnOnce(&Path)) {
        let base = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(Some(base.path().to_owned()));
        let spilled = spill.write(&Blob::encode(&sample())).unwrap();
        let path = spilled.file.path.clone();
        damage(&path);
        match spilled.load() {
            Err(StoreError::Unreadable { path: unreadable, .. }) => assert_eq!(unreadable, path),
            other => panic!("{other:?}"),
        }
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn loading_returns_the_spilled_blob() {
        let base = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(Some(base.path().to_owned()));
        for content in [Vec::new(), vec![1], sample()] {
            let blob = Blob::encode(&content);
            let spilled = spill.write(&blob).unwrap();
            assert_eq!((spilled.digest(), spilled.len()), (blob.digest(), blob.len()));
            assert_eq!(spilled.stored_bytes(), blob.stored_bytes());
            let loaded = spilled.load().unwrap();
            assert_eq!(loaded.chunks(), blob.chunks());
            assert_eq!(loaded.decode().unwrap(), content);
        }
    }

    #[test]
    fn loading_a_damaged_file_fails() {
        let file = |path: &Path| OpenOptions::new().write(true).open(path).unwrap();
        let len = |path: &Path| fs::metadata(path).unwrap().len();
        check_damage(|path| file(path).set_len(0).unwrap());
        check_damage(|path| file(path).set_len(HEADER_BYTES as u64 - 1).unwrap());
        check_damage(|path| file(path).set_len(len(path) - 1).unwrap());
        check_damage(|path| file(path).set_len(len(path) + 1).unwrap());
        check_damage(|path| fs::remove_file(path).unwrap());
        // Flip a bit in the encoding, in both lengths, and in the first bytes of the first chunk.
        for at in 0..HEADER_BYTES + 4 {
            check_damage(|path| flip(path, at));
        }
        // Flip a bit in the incompressible second chunk. Neither the lengths nor zstd would detect it.
        check_damage(|path| flip(path, CHUNK_BYTES));
    }

    #[test]
    fn the_folder_is_private_and_removed_with_its_last_file() {
        let base = tempfile::tempdir().unwrap();
        let folders = || fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let mut spill = Spill::new(Some(base.path().to_owned()));
        assert!(folders().is_empty(), "the folder is created when it is first needed");
        let spilled = spill.write(&Blob::encode(b"one")).unwrap();
        let made = folders();
        let [folder] = &made[..] else { panic!("{made:?}") };
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(spill);
        assert_eq!(spilled.load().unwrap().decode().unwrap(), b"one");
        drop(spilled);
        assert!(folders().is_empty());
    }

    #[test]
    fn a_removed_folder_is_created_again() {
        let base = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(Some(base.path().to_owned()));
        let lost = spill.write(&Blob::encode(b"one")).unwrap();
        fs::remove_dir_all(lost.file.folder.dir.path()).unwrap();
        assert!(lost.load().is_err());
        assert!(spill.write(&Blob::encode(b"two")).is_err());
        let kept = spill.write(&Blob::encode(b"two")).unwrap();
        assert_eq!(kept.load().unwrap().decode().unwrap(), b"two");
    }

    /// Checks whether a folder `name` of this age survives when another store starts.
    fn check_leftover(name: &str, age: Duration, locked: bool, survives: bool) {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("0"), "spilled").unwrap();
        let folder = File::open(&path).unwrap();
        folder.set_modified(SystemTime::now() - age).unwrap();
        if locked {
            folder.try_lock().unwrap();
        }
        Spill::new(Some(base.path().to_owned()));
        assert_eq!(path.exists(), survives, "{name}");
    }

    #[test]
    fn folders_of_dead_processes_are_removed() {
        let hour = Duration::from_secs(3600);
        check_leftover("sp1d-spill-1-abc", hour, false, false);
        check_leftover("sp1d-spill-1-abc", hour, true, true);
        check_leftover("sp1d-spill-1-abc", Duration::ZERO, false, true);
        check_leftover("other-program-1-abc", hour, false, true);
    }
}
