//! When the next copy is made.

use std::time::Duration;

/// Interval between the starts of two copies while the database changes. Together with the time of a copy, it must stay
/// below a minute: the loss of a volume may cost at most the last minute.
const INTERVAL: Duration = Duration::from_secs(20);

/// The same after the end of a proof, so that its result is in the archive soon.
const URGENT_INTERVAL: Duration = Duration::from_secs(2);

/// Pause after the first failure. It doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// Longest pause after a failure.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Decides when to copy. All times count from the start of the service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CopySchedule {
    /// Start of the last copy that succeeded.
    last_start: Option<Duration>,
    /// End of the last failure.
    last_failure: Duration,
    /// Failures in a row.
    failures: u32,
    /// A proof has ended since the start of the last copy.
    is_urgent: bool,
}

impl CopySchedule {
    /// A proof has ended.
    pub(super) const fn on_urgent(&mut self) {
        self.is_urgent = true;
    }

    /// Returns true if a copy should start at `now`, when the database has `changed` since the last copy.
    pub(super) fn is_due(&self, now: Duration, changed: bool) -> bool {
        if self.failures > 0 {
            return now >= self.last_failure + retry_pause(self.failures);
        }
        let interval = if self.is_urgent { URGENT_INTERVAL } else { INTERVAL };
        changed && self.last_start.is_none_or(|start| now >= start + interval)
    }

    /// A copy starts. It contains the results of all proofs that have ended.
    pub(super) const fn on_start(&mut self) {
        self.is_urgent = false;
    }

    /// The copy that started at `start` is complete.
    pub(super) const fn on_success(&mut self, start: Duration) {
        self.last_start = Some(start);
        self.failures = 0;
    }

    /// A copy failed at `now`.
    pub(super) const fn on_failure(&mut self, now: Duration) {
        self.last_failure = now;
        self.failures = self.failures.saturating_add(1);
    }
}

/// Returns the pause after this many failures in a row.
fn retry_pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a copy is due at `due_at`, in seconds, and not a second before.
    #[track_caller]
    fn check(schedule: &CopySchedule, due_at: u64) {
        let at = Duration::from_secs;
        assert!(schedule.is_due(at(due_at), true), "{schedule:?}");
        assert!(!schedule.is_due(at(due_at - 1), true), "{schedule:?}");
    }

    #[test]
    fn changes_are_copied_every_interval_and_ended_proofs_sooner() {
        let mut schedule = CopySchedule::default();
        assert!(schedule.is_due(Duration::ZERO, true), "the first copy is due at once");
        assert!(!schedule.is_due(Duration::from_secs(1000), false), "nothing has changed");
        schedule.on_start();
        schedule.on_success(Duration::from_secs(100));
        check(&schedule, 120);
        schedule.on_urgent();
        check(&schedule, 102);
        schedule.on_start();
        schedule.on_success(Duration::from_secs(102));
        check(&schedule, 122);
    }

    #[test]
    fn failures_are_retried_with_longer_pauses_even_without_a_change() {
        let mut schedule = CopySchedule::default();
        for (failed_at, due_at) in [(10, 12), (20, 24), (30, 38), (40, 56), (60, 92), (100, 160), (200, 260)] {
            schedule.on_urgent();
            schedule.on_failure(Duration::from_secs(failed_at));
            check(&schedule, due_at);
            assert!(schedule.is_due(Duration::from_secs(due_at), false));
        }
        schedule.on_start();
        schedule.on_success(Duration::from_secs(300));
        check(&schedule, 320);
    }
}
