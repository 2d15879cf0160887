//! The file in which the workers on a machine write their reservations.
//!
//! The file is not trusted: no number in it can cause an overflow or a panic.

use super::entry::{WorkerEntries, entry_line, parse_entries};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, fchmod, flock, open},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Pause between two tries to lock the file. Workers hold the lock only for a moment.
pub(super) const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// Maximum number of bytes that are read from the file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Another user may have put a link, a pipe or a device at the path. The link must not be followed, and opening must
/// not wait.
const OPEN_SAFELY: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// The file with the entries of all workers on a machine. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ReservationFile {
    path: Arc<Path>,
}

impl ReservationFile {
    pub(super) fn of_machine() -> Self {
        // Every user can write to /dev/shm, and services with a private /tmp share it too.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared } else { Path::new("/tmp") };
        Self::at(folder.join("sp1d-memory"))
    }

    pub(super) fn at(path: PathBuf) -> Self {
        Self { path: path.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the entries without the lock, so the last line may be cut. Returns no entries if the file cannot be read.
    pub(super) fn read(&self) -> WorkerEntries {
        self.try_read().unwrap_or_default()
    }

    fn try_read(&self) -> io::Result<WorkerEntries> {
        let file = open(&*self.path, OFlags::RDONLY | OPEN_SAFELY, Mode::empty())?;
        Ok(parse(&content(&mut file.into())?))
    }

    /// Changes the entries while this process holds the lock.
    ///
    /// # Errors
    /// Fails with `WouldBlock` if another process holds the lock, and with another error if the file cannot be used.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut WorkerEntries) -> T) -> io::Result<T> {
        let flags = OFlags::RDWR | OPEN_SAFELY;
        let everyone = Mode::from_raw_mode(0o666);
        // Try without O_CREAT first: in a sticky folder, Linux refuses it on a file of another user
        // (fs.protected_regular).
        let file = match open(&*self.path, flags, everyone) {
            Err(Errno::NOENT) => {
                let made = open(&*self.path, flags | OFlags::CREATE, everyone)?;
                // Workers of other users must be able to write the file, whatever the umask of this worker is.
                fchmod(&made, everyone)?;
                made
            }
            other => other?,
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut file = File::from(file);
        let mut entries = parse(&content(&mut file)?);
        let outcome = change(&mut entries);
        let text: String = entries.iter().map(|(process, entry)| entry_line(*process, entry)).collect();
        // Write before truncating, so that a full disk loses no line.
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        Ok(outcome)
    }
}

fn content(file: &mut File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parses the file. Bytes that are not UTF-8 only make their line invalid: every user can write to the file, and the
/// next write of a worker removes the line.
fn parse(bytes: &[u8]) -> WorkerEntries {
    parse_entries(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine_memory::{entry::WorkerEntry, process_memory::ProcessIdentity};
    use std::{fs, process::Command};

    #[test]
    fn bytes_that_are_not_text_are_removed_and_the_other_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reservations");
        let entry = WorkerEntry { reserved_bytes: 7, ..WorkerEntry::default() };
        let expected: WorkerEntries =
            [1, 2].into_iter().map(|id| (ProcessIdentity { id, started: 0 }, entry.clone())).collect();
        let [first, second] = [1, 2].map(|id| entry_line(ProcessIdentity { id, started: 0 }, &entry));
        fs::write(&path, [first.as_bytes(), b"\xff 1 2\n", second.as_bytes(), b"\xe2\x82"].concat()).unwrap();
        let file = ReservationFile::at(path.clone());
        assert_eq!(file.read(), expected);
        assert_eq!(file.change(|entries| entries.clone()).unwrap(), expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), first + &second);
    }

    #[test]
    fn a_pipe_at_the_path_is_neither_waited_for_nor_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reservations");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let file = ReservationFile::at(path);
        assert_eq!(file.read(), WorkerEntries::new());
        assert!(file.change(|_| ()).is_err());
    }
}
