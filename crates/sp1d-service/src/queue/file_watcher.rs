//! Notices changes of a small file that an operator edits: the worker list, or the file with the signers.

use crate::state::FileVersion;
use std::{path::Path, time::Duration};
use tokio::{
    sync::Notify,
    time::{Interval, interval},
};
use tokio_util::sync::CancellationToken;

/// Interval at which a file is checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Decides when the file is read. A file that changes between two checks may be half written: many editors empty a file
/// before they write it.
#[derive(Debug, Default)]
struct FileWatch {
    seen: Option<FileVersion>,
    read: Option<FileVersion>,
}

impl FileWatch {
    /// Returns true if the file must be read: because `forced` is true, or because it has changed and is the same as at
    /// the previous check.
    fn check(&mut self, found: FileVersion, forced: bool) -> bool {
        let is_settled = self.seen.replace(found) == Some(found);
        let must_read = forced || is_settled && self.read != Some(found);
        if must_read {
            self.read = Some(found);
        }
        must_read
    }
}

/// Watches one file.
#[derive(Debug)]
pub(crate) struct FileWatcher<'a> {
    path: &'a Path,
    again: &'a Notify,
    checks: Interval,
    watch: FileWatch,
}

impl<'a> FileWatcher<'a> {
    /// Watches the file at `path`, which need not exist. It must also be read when `again` is notified.
    pub(crate) fn new(path: &'a Path, again: &'a Notify) -> Self {
        Self { path, again, checks: interval(CHECK_INTERVAL), watch: FileWatch::default() }
    }

    /// Waits until the file must be read: when `again` is notified, and within 4 s of the start and of each change.
    /// Returns false if `stop` is cancelled.
    pub(crate) async fn must_read(&mut self, stop: &CancellationToken) -> bool {
        loop {
            let forced = tokio::select! {
                () = stop.cancelled() => return false,
                () = self.again.notified() => true,
                _ = self.checks.tick() => false,
            };
            let file = tokio::fs::metadata(self.path).await.ok();
            let found = file.as_ref().map(FileVersion::of).unwrap_or_default();
            if self.watch.check(found, forced) {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_file_is_read_when_it_no_longer_changes() {
        let version = |length| FileVersion { inode: 1, length, changed: (1, 2) };
        let mut watch = FileWatch::default();
        // The length at each check, whether the check is forced, and whether the file is read.
        let steps = [
            (42, false, false),
            (42, false, true),
            (42, false, false),
            (0, false, false),
            (42, false, false),
            (84, false, false),
            (84, false, true),
            (84, true, true),
            (85, true, true),
            (85, false, false),
        ];
        for (step, (length, forced, expected)) in steps.into_iter().enumerate() {
            assert_eq!(watch.check(version(length), forced), expected, "step {step}");
        }
    }

    #[test]
    fn a_replaced_file_of_the_same_length_and_time_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["file", "other"].map(|name| folder.path().join(name));
        let version = || FileVersion::of(&path.metadata().unwrap());
        for file in [&path, &other] {
            std::fs::write(file, "content").unwrap();
            File::options().write(true).open(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let before = version();
        std::fs::rename(other, &path).unwrap();
        assert_ne!(version(), before);
    }
}
