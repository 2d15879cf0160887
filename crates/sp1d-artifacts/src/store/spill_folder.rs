//! The private folder of a process for spilled blobs.

use std::{
    fs::{self, File, Permissions},
    io, mem,
    os::unix::fs::PermissionsExt,
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
    /// Creates a folder in `base`.
    pub(super) fn create(base: &Path) -> io::Result<Arc<Self>> {
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

    /// Returns a file with a new path. Dropping the returned value deletes the file, also if it was never written.
    pub(super) fn new_file(self: Arc<Self>) -> SpillFile {
        let path = self.dir.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        SpillFile { path, folder: self }
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
pub(super) struct SpillFile {
    pub(super) path: PathBuf,
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

/// Removes the folders in `base` that no process uses. Folders that cannot be inspected or removed are skipped.
pub(super) fn remove_leftovers(base: &Path) {
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
