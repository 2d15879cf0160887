//! One engine at a time starts on a host.

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

/// Held while an engine starts, when it takes twice the memory it needs later. Released when dropped, and by the system
/// when the process ends.
#[derive(Debug)]
pub struct StartLock {
    _file: OwnedFd,
}

/// The lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock {}: {reason}; the file keeps two engines from starting at the same moment, make it readable", path.display())]
pub struct LockError {
    path: PathBuf,
    reason: Errno,
}

impl StartLock {
    /// Where every worker of a host looks, whoever runs it.
    #[must_use]
    pub fn default_path() -> PathBuf {
        // Everybody can write there, and services with a /tmp of their own share it too.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared } else { Path::new("/tmp") };
        folder.join("sp1d-engine-start.lock")
    }

    /// Takes the lock at `path` as soon as it is free; `on_wait` is called once if somebody has it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn take(path: &Path, on_wait: impl FnOnce()) -> Result<Self, LockError> {
        let failed = |reason| LockError { path: path.to_owned(), reason };
        // Reading is enough for a lock, and all that other users may do with the file.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Without O_CREAT first: in a sticky folder Linux refuses O_CREAT on a file of another user
        // (fs.protected_regular).
        let everyone = Mode::from_raw_mode(0o666);
        let file = match open(path, flags, everyone) {
            Err(Errno::NOENT) => open(path, flags | OFlags::CREATE, everyone),
            other => other,
        }
        .map_err(failed)?;
        let mut on_wait = Some(on_wait);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(reason) => return Err(failed(reason)),
            }
            if let Some(on_wait) = on_wait.take() {
                on_wait();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = StartLock::take(&path, || panic!("nobody has it")).await.unwrap();
        let (waits, waiting) = tokio::sync::oneshot::channel();
        let second = tokio::spawn({
            let path = path.clone();
            async move { StartLock::take(&path, || waits.send(()).unwrap()).await }
        });
        waiting.await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_locked_is_named() {
        let error = StartLock::take(Path::new("/no/such/folder/lock"), || {}).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/lock"), "{error}");
    }
}
