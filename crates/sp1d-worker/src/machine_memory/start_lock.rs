//! A lock that lets engines on a machine start one after another.

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Maximum wait for the lock. Every user of the machine can open the file, so one could hold the lock for ever. A load
/// usually takes less than a minute, so several workers that start at the same moment still take turns.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(15 * 60);

/// Held while an engine starts. A starting engine needs twice the memory that it needs later. Released when dropped,
/// and by the operating system when the process ends.
#[derive(Debug)]
pub struct StartLock {
    /// `None` if another process held the lock for too long.
    file: Option<OwnedFd>,
}

/// The lock file cannot be opened or locked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot lock {}, which makes the provers of this machine load one after another: {reason}\n\
     hint: make this file readable for the user of the worker",
    path.display()
)]
pub struct LockError {
    path: PathBuf,
    reason: Errno,
}

impl StartLock {
    /// Returns the path that all workers on a machine use, whichever user runs them.
    #[must_use]
    pub fn default_path() -> PathBuf {
        // Every user can write to /dev/shm, and services with a private /tmp share it too.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared } else { Path::new("/tmp") };
        folder.join("sp1d-engine-start.lock")
    }

    /// Takes the lock at `path` as soon as it is free. Calls `on_wait` once if another process holds it. If the lock is
    /// not free within 15 minutes, continues without it: the check of the free memory remains.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or locked.
    pub async fn take(path: &Path, on_wait: impl FnOnce()) -> Result<Self, LockError> {
        let failed = |reason| LockError { path: path.to_owned(), reason };
        // Read access is enough for a lock, and other users may have no more than that.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Try without O_CREAT first: in a sticky folder, Linux refuses O_CREAT on a file of another user
        // (fs.protected_regular).
        let everyone = Mode::from_raw_mode(0o666);
        let file = match open(path, flags, everyone) {
            Err(Errno::NOENT) => open(path, flags | OFlags::CREATE, everyone),
            other => other,
        }
        .map_err(failed)?;
        let (mut on_wait, started) = (Some(on_wait), Instant::now());
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file: Some(file) }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(reason) => return Err(failed(reason)),
            }
            if let Some(on_wait) = on_wait.take() {
                on_wait();
            }
            if started.elapsed() >= MAX_LOCK_WAIT {
                tracing::warn!(
                    path = %path.display(),
                    minutes = MAX_LOCK_WAIT.as_secs() / 60,
                    "another process holds the start lock for too long: the prover loads without it"
                );
                return Ok(Self { file: None });
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Returns false if another process held the lock for too long, so that this process continued without it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_engine_waits_until_the_lock_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = StartLock::take(&path, || panic!("no other process holds the lock")).await.unwrap();
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

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_another_process_never_releases_blocks_no_load_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = StartLock::take(&path, || panic!("no other process holds the lock")).await.unwrap();
        let second = StartLock::take(&path, || {}).await.unwrap();
        assert!(first.is_held() && !second.is_held());
    }

    #[tokio::test]
    async fn the_error_names_the_lock_file() {
        let error = StartLock::take(Path::new("/no/such/folder/lock"), || {}).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/lock"), "{error}");
    }
}
