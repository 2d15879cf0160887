//! The folder with everything that must outlive the process.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// The state folder, for this process alone.
pub(crate) struct StateFolder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error("the state folder {} is in use by process {holder}; stop it, or name another folder with --state", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Process number of whoever has it, as far as it is known.
        holder: String,
    },
    /// It cannot be made or written.
    #[error("the state folder {} cannot be used: {reason}; make it writable, or name another one with --state", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

impl StateFolder {
    /// Takes the folder at `path`, which is made where there is none.
    pub(crate) fn take(path: &Path) -> Result<Self, StateError> {
        let unusable = |reason: io::Error| StateError::Unusable { path: path.to_owned(), reason };
        fs::create_dir_all(path).map_err(unusable)?;
        let open = File::options().create(true).truncate(false).read(true).write(true).open(path.join("lock"));
        let mut lock = open.map_err(unusable)?;
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
        // For people; the lock itself is what counts.
        let write =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        write.map_err(unusable)?;
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

    #[test]
    fn a_folder_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let first = StateFolder::take(&path).unwrap();
        let text = StateFolder::take(&path).err().unwrap().to_string();
        assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
        drop(first);
        StateFolder::take(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let text = StateFolder::take(Path::new("/proc/none/state")).err().unwrap().to_string();
        assert!(text.contains("/proc/none/state") && text.contains("--state"), "{text}");
    }
}
