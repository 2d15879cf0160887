//! Decides when files are read again, and when a failure to read them is logged. This module performs no I/O.

use crate::files::FileStamp;
use std::time::Duration;
use tokio::time::Instant;

/// How often a failure is logged while the files stay the same.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Knows which version of some files is in use.
#[derive(Debug)]
pub(crate) struct ChangedFiles {
    in_use: Vec<FileStamp>,
    /// The version whose failure was logged, and when.
    warned: Option<(Vec<FileStamp>, Instant)>,
}

impl ChangedFiles {
    /// Creates it for files in use. Their stamps `in_use` were taken before the files were read.
    pub(crate) fn new(in_use: Vec<FileStamp>) -> Self {
        Self { in_use, warned: None }
    }

    /// Calls `read` if the present version `stamps` is not the one in use. After a failure, the next call tries again:
    /// a cause outside of the files, for example a full table of open files, changes no stamp. Returns `None` if the
    /// files need no action, or if their failure was logged already.
    pub(crate) fn reread<T, E>(
        &mut self,
        stamps: Vec<FileStamp>,
        now: Instant,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        if stamps == self.in_use {
            self.warned = None;
            return None;
        }
        match read() {
            Ok(content) => {
                *self = Self::new(stamps);
                Some(Ok(content))
            }
            Err(error) => {
                let is_logged = self.warned.as_ref().is_some_and(|(version, logged)| {
                    *version == stamps && now.saturating_duration_since(*logged) < WARNING_INTERVAL
                });
                if is_logged {
                    return None;
                }
                self.warned = Some((stamps, now));
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(bytes: u64) -> Vec<FileStamp> {
        vec![Some((1, bytes, (0, 0), (0, 0)))]
    }

    #[test]
    fn a_failure_is_tried_again_and_logged_once_a_minute() {
        let (mut files, start) = (ChangedFiles::new(version(1)), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let failure = || Err::<(), _>("unreadable");
        assert_eq!(files.reread(version(1), start, || -> Result<(), &str> { panic!("not changed") }), None);
        assert_eq!(files.reread(version(2), start, failure), Some(Err("unreadable")));
        assert_eq!(files.reread(version(2), after(59), failure), None);
        assert_eq!(files.reread(version(2), after(60), failure), Some(Err("unreadable")));
        // Another version is another failure.
        assert_eq!(files.reread(version(3), after(61), failure), Some(Err("unreadable")));
        assert_eq!(files.reread(version(3), after(62), || Ok::<_, &str>("content")), Some(Ok("content")));
        assert_eq!(files.reread(version(3), after(63), failure), None);
    }
}
