//! Estimates how long a proof still takes.

use super::summary::TaskCounts;
use std::time::Duration;

/// Number of proven tasks below which no time is estimated. The duration of one task or two says little: shards differ
/// in length, and the first task of a kind makes the keys of its program. The status page has the same number.
pub const MIN_PROVEN_TASKS: u64 = 3;

impl TaskCounts {
    /// Returns the number of tasks that workers proved. Results from the result cache say nothing about the pace.
    #[must_use]
    pub const fn proven(self) -> u64 {
        self.done.saturating_sub(self.cached)
    }

    /// Estimates the time until all known tasks are done. The tasks so far took `elapsed`. `in_progress` is the number
    /// of attempts that the workers have now, also of other proofs.
    ///
    /// Returns `None` if no known task is open, or if too few tasks are proven: less than three, or less than the open
    /// tasks in progress. Workers that start together finish together, so the first of many results would make the pace
    /// look like that of one worker.
    #[must_use]
    pub fn time_left(self, in_progress: u64, elapsed: Duration) -> Option<Duration> {
        let (proven, open) = (self.proven(), self.open());
        if open == 0 || proven < MIN_PROVEN_TASKS || proven < in_progress.min(open) {
            return None;
        }
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * open as f64 / proven as f64).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns are the known, done and cached tasks, the attempts in progress, the time so far in seconds, and the
    /// expected time left.
    #[test]
    fn no_time_is_estimated_before_enough_tasks_are_proven() {
        for (known, done, cached, in_progress, elapsed, expected) in [
            // Nothing, one task and two tasks are proven.
            (0, 0, 0, 0, 0, None),
            (10, 0, 0, 2, 100, None),
            (10, 1, 0, 2, 100, None),
            (10, 2, 0, 2, 100, None),
            (10, 3, 0, 2, 90, Some(210)),
            (10, 5, 0, 2, 100, Some(100)),
            // Cached results do not count as proven.
            (10, 5, 3, 2, 100, None),
            (10, 7, 4, 2, 90, Some(90)),
            // The first round of 20 workers is not over.
            (100, 3, 0, 20, 60, None),
            (100, 19, 0, 20, 60, None),
            (100, 20, 0, 20, 60, Some(240)),
            // The attempts of other proofs do not matter once half of the tasks are proven.
            (10, 4, 0, 500, 60, None),
            (10, 5, 0, 500, 60, Some(60)),
            // All known tasks are done, or the numbers are wrong.
            (10, 10, 0, 0, 100, None),
            (10, 12, 0, 0, 100, None),
            (u64::MAX, 3, 0, 1, u64::MAX, None),
        ] {
            let left = TaskCounts { known, done, cached }.time_left(in_progress, Duration::from_secs(elapsed));
            let case = (known, done, cached, in_progress, elapsed);
            assert_eq!(left, expected.map(Duration::from_secs), "{case:?}");
        }
    }
}
