//! A lock that lets the provers of one user load one after another on a machine.

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, mkdir, open, openat},
    io::Errno,
    process::geteuid,
};
use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Maximum wait for the lock. A load usually takes less than a minute, so several workers that start at the same moment
/// still take turns. A frozen process could hold the lock for ever.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(15 * 60);

/// Held while a prover loads. A loading prover needs twice the memory that it needs later. Released when dropped, and
/// by the operating system when the process ends.
#[derive(Debug)]
pub struct StartLock {
    /// `None` if the lock cannot be used, or if another process held it for too long.
    file: Option<OwnedFd>,
}

impl StartLock {
    /// Returns the path of the lock that all workers of this user share on a machine.
    #[must_use]
    pub fn default_path() -> PathBuf {
        // Services with a private /tmp share /dev/shm.
        let shared = Path::new("/dev/shm");
        let parent = if shared.is_dir() { shared } else { Path::new("/tmp") };
        // Each user has a folder: a process that can open a file can also lock it, and so block the others.
        parent.join(format!("sp1d-start-{}", geteuid().as_raw())).join("lock")
    }

    /// Takes the lock at `path` as soon as it is free. Calls `on_wait` once if another process holds it. The folder of
    /// the file must belong to this user and must be closed to others. It is created if it is missing.
    ///
    /// If the lock cannot be used, or if it is not free within 15 minutes, continues without it, with a warning. The
    /// check of the free memory remains.
    pub async fn take(path: &Path, on_wait: impl FnOnce()) -> Self {
        let without = |error: io::Error| {
            tracing::warn!(path = %path.display(), %error, "cannot use the start lock: the prover loads without it");
            Self { file: None }
        };
        let file = match open_private(path) {
            Ok(file) => file,
            Err(error) => return without(error),
        };
        let (mut on_wait, started) = (Some(on_wait), Instant::now());
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Self { file: Some(file) },
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return without(error.into()),
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
                return Self { file: None };
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Returns false if this process continued without the lock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

/// Opens the file at `path`. Creates the file and its folder if they are missing.
///
/// # Errors
/// Fails if another user could open the file, or if it cannot be opened.
fn open_private(path: &Path) -> io::Result<OwnedFd> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("the path is not that of a file in a folder"));
    };
    match mkdir(folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = File::from(open(folder, flags | OFlags::DIRECTORY, Mode::empty())?);
    let found = folder.metadata()?;
    if let Some(reason) = distrust(found.uid(), found.mode(), geteuid().as_raw()) {
        return Err(io::Error::other(reason));
    }
    Ok(openat(&folder, name, flags | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?)
}

/// Returns why the user `own` cannot trust a folder of the user `owner` with these permissions.
fn distrust(owner: u32, mode: u32, own: u32) -> Option<&'static str> {
    if owner != own {
        return Some("its folder belongs to another user");
    }
    (mode & 0o077 != 0).then_some("other users can open its folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    /// Takes the lock, which no other process may hold.
    async fn take_free(path: &Path) -> StartLock {
        StartLock::take(path, || panic!("no other process holds the lock")).await
    }

    #[tokio::test]
    async fn a_second_engine_waits_until_the_lock_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/lock");
        let first = take_free(&path).await;
        assert!(first.is_held());
        let (waits, waiting) = tokio::sync::oneshot::channel();
        let second = tokio::spawn({
            let path = path.clone();
            async move { StartLock::take(&path, || waits.send(()).unwrap()).await }
        });
        waiting.await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap().is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_another_process_never_releases_blocks_no_load_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/lock");
        let first = take_free(&path).await;
        let second = StartLock::take(&path, || {}).await;
        assert!(first.is_held() && !second.is_held());
    }

    #[tokio::test]
    async fn a_lock_that_other_users_can_open_does_not_delay_a_load() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        let path = own.join("lock");
        let held = take_free(&path).await;
        for mode in [0o701, 0o740, 0o777] {
            fs::set_permissions(&own, Permissions::from_mode(mode)).unwrap();
            assert!(!take_free(&path).await.is_held(), "{mode:o}");
        }
        drop(held);
        fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
        assert!(take_free(&path).await.is_held());
    }

    #[tokio::test]
    async fn a_load_continues_if_another_user_has_taken_the_path_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::write(&own, "").unwrap();
        assert!(!take_free(&own.join("lock")).await.is_held());
        fs::remove_file(&own).unwrap();
        symlink(folder.path(), &own).unwrap();
        assert!(!take_free(&own.join("lock")).await.is_held());
        assert!(!take_free(Path::new("/no/such/folder/lock")).await.is_held());
    }

    #[test]
    fn only_a_private_folder_of_the_same_user_is_trusted() {
        assert_eq!(distrust(1000, 0o40700, 1000), None);
        for (owner, mode) in [(0, 0o40700), (1001, 0o40700), (1000, 0o40701), (1000, 0o41777)] {
            assert!(distrust(owner, mode, 1000).is_some(), "user {owner}, mode {mode:o}");
        }
    }

    #[test]
    fn each_user_has_a_lock_of_their_own() {
        let folder = StartLock::default_path().parent().unwrap().to_owned();
        assert!(folder.ends_with(format!("sp1d-start-{}", geteuid().as_raw())), "{}", folder.display());
    }
}
