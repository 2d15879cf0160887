//! An archive in a folder, for example on another disk or on a file server. Files are replaced by renaming, so this is
//! safe on network file systems too.

use super::{
    deadlines::{MAX_SILENCE, upload_time},
    error::ArchiveError,
    limits::{MAX_ARCHIVED_FILES, MAX_MANIFEST_BYTES},
    place::ArchivePlace,
    revision::Revision,
};
use crate::state::{create_private_folder, replace_durably, sync_folder};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{self, DirEntry, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};
use tempfile::NamedTempFile;
use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};

/// Name of the file whose lock makes the replacement of a file exclusive.
const LOCK: &str = "lock";

/// How often a locked archive is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Time for a list of all files.
const MAX_LISTING: Duration = Duration::from_secs(10 * 60);

/// What the name of a file starts with while it is being written.
const UNFINISHED: &str = ".part-";

/// How long a file may stay unfinished. Another service may be writing it.
const MAX_UNFINISHED: Duration = Duration::from_secs(24 * 60 * 60);

/// An archive in a folder.
#[derive(Debug, Clone)]
pub(super) struct FolderArchive {
    folder: PathBuf,
    /// Held until an operation ends, even if its caller has stopped waiting: a file server that does not respond blocks
    /// one thread and no more.
    turn: Arc<Mutex<()>>,
}

impl FolderArchive {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, turn: Arc::default() }
    }

    /// Runs `work` with the path of `name` on a thread where it may block. Stops waiting after `max_time`.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        max_time: Duration,
        work: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let (folder, path, turn) = (self.folder.clone(), self.folder.join(name), self.turn.clone());
        let done = timeout(max_time, async {
            let turn = turn.lock_owned().await;
            let path = path.clone();
            let done = spawn_blocking(move || {
                let _turn = turn;
                work(&folder, &path)
            });
            done.await.expect("work on the archive does not panic")
        });
        let done = done.await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no response for {} s", max_time.as_secs())))
        });
        done.map_err(|error| ArchiveError::Unavailable {
            place: ArchivePlace::Folder(self.folder.clone()),
            reason: format!("{}: {error}", path.display()),
        })
    }

    pub(super) async fn put(&self, name: &str, mut file: File, bytes: u64) -> Result<(), ArchiveError> {
        self.blocking(name, upload_time(bytes), move |_, path| {
            let folder = path.parent().expect("a file of the archive has a folder");
            create_private_folder(folder)?;
            let mut part = NamedTempFile::with_prefix_in(UNFINISHED, folder)?;
            io::copy(&mut file, part.as_file_mut())?;
            part.as_file().sync_all()?;
            part.persist(path).map_err(|error| error.error)?;
            sync_folder(folder)
        })
        .await
    }

    pub(super) async fn read(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, Revision)>, ArchiveError> {
        self.blocking(name, MAX_SILENCE, move |_, path| {
            let Some(content) = read_file(path, limit)? else { return Ok(None) };
            let revision = revision_of(&content);
            Ok(Some((content, revision)))
        })
        .await
    }

    /// Replaces the small file `name` of the archive's own folder.
    pub(super) async fn replace(
        &self,
        name: &str,
        content: Vec<u8>,
        expected: Revision,
    ) -> Result<Revision, ArchiveError> {
        let file = name.to_owned();
        let replaced = self.blocking(name, upload_time(0), move |folder, path| {
            create_private_folder(folder)?;
            let _lock = lock(folder, MAX_SILENCE)?;
            let found = read_file(path, MAX_MANIFEST_BYTES)?;
            if found.as_deref().map_or(Revision::Absent, revision_of) != expected {
                return Ok(None);
            }
            replace_durably(folder, &file, &content)?;
            Ok(Some(revision_of(&content)))
        });
        replaced.await?.ok_or(ArchiveError::Replaced)
    }

    pub(super) async fn open_file(&self, name: &str) -> Result<Option<tokio::fs::File>, ArchiveError> {
        let opened = self.blocking(name, MAX_SILENCE, |_, path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        Ok(opened.await?.map(tokio::fs::File::from_std))
    }

    pub(super) async fn list(&self, name: &str) -> Result<Vec<String>, ArchiveError> {
        self.blocking(name, MAX_LISTING, |folder, path| {
            let mut names = Vec::new();
            list_into(folder, path, &mut names)?;
            Ok(names)
        })
        .await
    }

    /// Removes the files in `folder` that interrupted writes have left, if they are older than a day at `now`.
    pub(super) async fn remove_unfinished(&self, folder: &str, now: SystemTime) -> Result<(), ArchiveError> {
        self.blocking(folder, MAX_LISTING, move |_, path| remove_unfinished_below(path, now)).await
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), ArchiveError> {
        self.blocking(name, upload_time(0), |_, path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }
}

/// Locks the archive in `folder`, and waits for another process that holds the lock for at most `max_time`. Blocks.
fn lock(folder: &Path, max_time: Duration) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < max_time => thread::sleep(LOCK_INTERVAL),
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("another process holds `{LOCK}`")));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the entries of the folder `path`; none if it does not exist.
fn entries(path: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    Ok(entries.into_iter().flatten())
}

fn revision_of(content: &[u8]) -> Revision {
    Revision::Tag(blake3::hash(content).to_hex().to_string())
}

/// Reads a file of at most `limit` bytes. `None` if it does not exist.
fn read_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file has more than {limit} bytes")));
    }
    Ok(Some(content))
}

/// Adds the names of all files below `path`, relative to `folder`. Files that are being written have names with a dot.
fn list_into(folder: &Path, path: &Path, names: &mut Vec<String>) -> io::Result<()> {
    for entry in entries(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_into(folder, &entry.path(), names)?;
            continue;
        }
        let path = entry.path();
        let name = path.strip_prefix(folder).ok().and_then(Path::to_str);
        let is_complete = !entry.file_name().as_encoded_bytes().starts_with(b".");
        if let (Some(name), true) = (name, is_complete) {
            if names.len() as u64 >= MAX_ARCHIVED_FILES {
                return Err(io::Error::other(format!("it has more than {MAX_ARCHIVED_FILES} files")));
            }
            names.push(name.to_owned());
        }
    }
    Ok(())
}

/// Removes the unfinished files below `path` that are too old at `now`.
fn remove_unfinished_below(path: &Path, now: SystemTime) -> io::Result<()> {
    for entry in entries(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished_below(&entry.path(), now)?;
        } else if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            let age = entry.metadata().and_then(|described| described.modified()).map(|at| now.duration_since(at));
            // Without an age, another process has just completed the file, or its time is in the future.
            if matches!(age, Ok(Ok(age)) if age > MAX_UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, sync::mpsc};

    /// Returns an open file with `content`, at its start.
    fn file(content: &str) -> File {
        let mut named = NamedTempFile::new().unwrap();
        named.write_all(content.as_bytes()).unwrap();
        named.reopen().unwrap()
    }

    #[tokio::test]
    async fn only_the_expected_revision_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let archive = FolderArchive::new(folder.path().join("archive"));
        assert_eq!(archive.read("manifest.json", 10).await.unwrap(), None);
        let first = archive.replace("manifest.json", b"first".to_vec(), Revision::Absent).await.unwrap();
        let again = archive.replace("manifest.json", b"other".to_vec(), Revision::Absent).await;
        assert!(matches!(again, Err(ArchiveError::Replaced)), "{again:?}");
        assert_eq!(archive.read("manifest.json", 10).await.unwrap(), Some((b"first".to_vec(), first.clone())));
        archive.replace("manifest.json", b"second".to_vec(), first.clone()).await.unwrap();
        let stale = archive.replace("manifest.json", b"third".to_vec(), first).await;
        assert!(matches!(stale, Err(ArchiveError::Replaced)), "{stale:?}");
        let long = archive.read("manifest.json", 5).await;
        assert!(matches!(long, Err(ArchiveError::Unavailable { .. })), "{long:?}");
    }

    #[tokio::test]
    async fn folder_that_does_not_respond_is_unavailable_and_blocks_one_thread() {
        let folder = tempfile::tempdir().unwrap();
        let archive = FolderArchive::new(folder.path().to_owned());
        let (respond, response) = mpsc::channel::<()>();
        let short = Duration::from_millis(10);
        let hanging = archive.blocking("file", short, move |_, _| response.recv().map_err(io::Error::other)).await;
        assert!(matches!(hanging, Err(ArchiveError::Unavailable { .. })), "{hanging:?}");
        let next = archive.blocking("file", short, |_, _| -> io::Result<()> { panic!("not its turn") }).await;
        assert!(matches!(next, Err(ArchiveError::Unavailable { .. })), "{next:?}");
        respond.send(()).unwrap();
        assert_eq!(archive.read("file", 10).await.unwrap(), None);
    }

    #[test]
    fn lock_of_another_process_is_not_awaited_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path(), Duration::ZERO).unwrap();
        assert_eq!(lock(folder.path(), Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(held);
        lock(folder.path(), Duration::ZERO).unwrap();
    }

    #[tokio::test]
    async fn files_are_listed_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let archive = FolderArchive::new(folder.path().to_owned());
        assert!(archive.list("blobs").await.unwrap().is_empty());
        archive.put("blobs/0a/one", file("content"), 7).await.unwrap();
        archive.put("blobs/0b/two", file(""), 0).await.unwrap();
        fs::write(folder.path().join("blobs/0b/.part-x"), "unfinished").unwrap();
        let mut names = archive.list("blobs").await.unwrap();
        names.sort();
        assert_eq!(names, ["blobs/0a/one", "blobs/0b/two"]);
        assert!(archive.open_file("blobs/0a/one").await.unwrap().is_some());
        archive.remove("blobs/0a/one").await.unwrap();
        archive.remove("blobs/0a/one").await.unwrap();
        assert!(archive.open_file("blobs/0a/one").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn files_of_interrupted_writes_are_removed_after_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let archive = FolderArchive::new(folder.path().to_owned());
        archive.put("blobs/0a/one", file("content"), 7).await.unwrap();
        let (complete, unfinished) = (folder.path().join("blobs/0a/one"), folder.path().join("blobs/0a/.part-x"));
        fs::write(&unfinished, "unfinished").unwrap();
        let written = fs::metadata(&unfinished).unwrap().modified().unwrap();
        archive.remove_unfinished("blobs", written + MAX_UNFINISHED).await.unwrap();
        assert!(unfinished.exists());
        archive.remove_unfinished("blobs", written + MAX_UNFINISHED + Duration::from_secs(1)).await.unwrap();
        assert!(complete.exists() && !unfinished.exists());
        archive.remove_unfinished("databases", written).await.unwrap();
    }
}
