//! Writes blobs to files: a private folder with one file per blob.
//!
//! A file contains the stored bytes of the chunks of one blob in order. Files are useless after the process has ended,
//! so they are neither synced nor renamed into place. The metadata of each chunk stays in memory, including the digest
//! of its stored bytes. So a reader reads and checks one chunk at a time.

use super::{
    spill_folder::{SpillFolder, remove_leftovers},
    spilled_blob::{SpilledBlob, SpilledChunk},
};
use crate::{Blob, Digest};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

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

    /// Checks that the folder exists or can be created. A folder that did not exist is removed again.
    pub(super) fn check(&self) -> io::Result<()> {
        match (&self.folder, &self.base) {
            (None, Some(base)) => SpillFolder::create(base).map(drop),
            (Some(_), _) | (None, None) => Ok(()),
        }
    }

    pub(super) fn write(&mut self, blob: &Blob) -> io::Result<SpilledBlob> {
        let outcome = write(self.folder()?, blob);
        if matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Another program removed the folder. The blobs in it are lost, but the next spill creates a new folder.
            self.folder = None;
        }
        outcome
    }
}

fn write(folder: Arc<SpillFolder>, blob: &Blob) -> io::Result<SpilledBlob> {
    // From here on, dropping this value deletes the file, even if writing it fails.
    let file = Arc::new(folder.new_file());
    let chunks = write_chunks(&file.path, blob)?;
    Ok(SpilledBlob::new(blob.digest(), blob.len(), chunks, file))
}

/// Writes the chunks of `blob` to a new file and returns their metadata.
fn write_chunks(path: &Path, blob: &Blob) -> io::Result<Arc<[SpilledChunk]>> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut chunks = Vec::with_capacity(blob.chunks().len());
    for chunk in blob.chunks() {
        file.write_all(&chunk.bytes)?;
        chunks.push(SpilledChunk {
            encoding: chunk.encoding,
            decoded_len: chunk.decoded_len,
            stored_len: u32::try_from(chunk.bytes.len()).expect("a chunk is at most CHUNK_BYTES long"),
            digest: Digest::of(&chunk.bytes),
        });
    }
    Ok(chunks.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CHUNK_BYTES, store::StoreError};
    use std::{
        fs::{self, File},
        os::unix::fs::PermissionsExt,
        time::{Duration, SystemTime},
    };

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
        let path = spilled.path().to_owned();
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
        check_damage(|path| file(path).set_len(len(path) - 1).unwrap());
        check_damage(|path| file(path).set_len(len(path) + 1).unwrap());
        check_damage(|path| fs::remove_file(path).unwrap());
        for at in 0..4 {
            check_damage(|path| flip(path, at));
        }
        // Flip a bit in the incompressible second chunk. Neither the lengths nor zstd would detect it.
        check_damage(|path| flip(path, CHUNK_BYTES));
    }

    #[test]
    fn a_spilled_blob_is_read_chunk_by_chunk() {
        let base = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(Some(base.path().to_owned()));
        let blob = Blob::encode(&sample());
        let spilled = spill.write(&blob).unwrap();
        // The last chunk is damaged. A reader gets the chunks before it.
        let len = fs::metadata(spilled.path()).unwrap().len();
        flip(spilled.path(), usize::try_from(len).unwrap() - 1);
        let mut chunks = spilled.chunks().unwrap();
        assert_eq!(chunks.next().unwrap().unwrap(), blob.chunks()[0]);
        assert_eq!(chunks.next().unwrap().unwrap(), blob.chunks()[1]);
        assert!(matches!(chunks.next(), Some(Err(StoreError::Unreadable { .. }))));
        assert!(chunks.next().is_none());
    }

    #[test]
    fn the_folder_is_private_and_removed_with_its_last_file() {
        let base = tempfile::tempdir().unwrap();
        let folders = || fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let mut spill = Spill::new(Some(base.path().to_owned()));
        spill.check().unwrap();
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
        fs::remove_dir_all(lost.path().parent().unwrap()).unwrap();
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
