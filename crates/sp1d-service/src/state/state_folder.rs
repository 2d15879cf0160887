//! The state folder, which contains everything that must survive the process.

use super::{
    disk::is_full,
    file_system::{FileSystemRisk, risk_of},
    private_files::{create_private_folder, make_private},
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The state folder, locked for this process.
pub(crate) struct StateFolder {
    path: PathBuf,
    /// Holds the lock until it is closed.
    _lock: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process uses the folder.
    #[error("the state folder {} is in use by process {holder}\nhint: stop that process, or choose another folder with `--state`", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Process id of the other process, or `unknown`.
        holder: String,
    },
    /// The folder is on a network file system.
    #[error("the state folder {} is on {kind}: SQLite needs locks and shared memory that such a file system does not provide, and the database could be damaged\nhint: put the folder on a local disk or on a block volume, and choose it with `--state`", path.display())]
    NetworkFileSystem {
        /// The folder.
        path: PathBuf,
        /// The kind of the file system.
        kind: &'static str,
    },
    /// The folder cannot be created or written.
    #[error("cannot use the state folder {}: {reason}\nhint: make the folder writable, or choose another one with `--state`", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Error of the operating system.
        reason: io::Error,
    },
}

impl StateFolder {
    /// Locks the folder at `path`, and creates a missing folder. Only its owner can read the folder afterwards.
    pub(crate) fn take(path: &Path) -> Result<Self, StateError> {
        let unusable = |reason: io::Error| StateError::Unusable { path: path.to_owned(), reason };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(unusable)?;
        }
        create_private_folder(path).map_err(unusable)?;
        match risk_of(path) {
            None => {}
            Some(FileSystemRisk { kind, damages: true }) => {
                return Err(StateError::NetworkFileSystem { path: path.to_owned(), kind });
            }
            Some(FileSystemRisk { kind, damages: false }) => {
                tracing::warn!(state = %path.display(), kind, "the state folder is on a file system that several machines can share: only one machine may use the folder at a time");
            }
        }
        make_private(path);
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut lock = options.open(path.join("lock")).map_err(unusable)?;
        make_private(&path.join("lock"));
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let read = lock.read_to_string(&mut holder);
                let known = read.is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
                return Err(StateError::InUse { path: path.to_owned(), holder });
            }
            Err(error) => return Err(unusable(error.into())),
        }
        // The process id is only for error messages. The lock on the file protects the folder.
        let write =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        match write {
            Err(error) if is_full(&error) => {}
            written => written.map_err(unusable)?,
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn locked_folder_cannot_be_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let first = StateFolder::take(&path).unwrap();
        let text = StateFolder::take(&path).err().unwrap().to_string();
        assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
        drop(first);
        StateFolder::take(&path).unwrap();
    }

    #[test]
    fn folder_is_private_even_if_it_was_open_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let _taken = StateFolder::take(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn error_names_a_folder_that_cannot_be_created() {
        let text = StateFolder::take(Path::new("/proc/none/state")).err().unwrap().to_string();
        assert!(text.contains("/proc/none/state") && text.contains("--state"), "{text}");
    }
}
