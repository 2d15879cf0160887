//! The clock of the scheduler.

use crate::Timestamp;
use std::time::Duration;

/// The scheduler's view of the driver's clock, from which it derives two more clocks. None of them runs backwards.
///
/// - The driver's time.
/// - The *lease clock* leaves out the pauses of the scheduler itself (suspended machine, blocked driver). A paused
///   scheduler receives nothing, so its workers only seem silent. Pauses therefore do not count against leases.
/// - The *attended clock* is the lease clock without the time during which no worker was ready.
#[derive(Debug)]
pub(crate) struct SchedulerClock {
    /// The latest time that the driver reported.
    now: Timestamp,
    /// Total length of all pauses, which does not count against leases.
    paused: Duration,
    /// Total time on the lease clock during which no worker was ready.
    unattended: Duration,
    /// A longer step is treated as a pause.
    max_step: Duration,
}

impl SchedulerClock {
    pub(crate) fn new(max_step: Duration) -> Self {
        // With a maximum step of zero no lease would ever end, and the next deadline would always be now.
        let max_step = max_step.max(Duration::from_millis(1));
        Self { now: Timestamp::default(), paused: Duration::ZERO, unattended: Duration::ZERO, max_step }
    }

    /// Sets the current time. A `now` before the latest time has no effect. `attended` is true if a worker has been
    /// ready since the latest time.
    pub(crate) fn advance(&mut self, now: Timestamp, attended: bool) {
        let step = now.saturating_since(self.now);
        let counted = step.min(self.max_step);
        self.paused = self.paused.saturating_add(step.saturating_sub(counted));
        if !attended {
            self.unattended = self.unattended.saturating_add(counted);
        }
        self.now = self.now.max(now);
    }

    /// Returns the driver's time, pauses included.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the time on the lease clock: the driver's time without the pauses.
    pub(crate) fn lease_time(&self) -> Timestamp {
        self.now - self.paused
    }

    /// Returns the time on the attended clock. It runs like the lease clock, but stands still while no worker is
    /// ready.
    pub(crate) fn attended_time(&self) -> Timestamp {
        self.lease_time() - self.unattended
    }

    /// Converts a time on the attended clock to the lease clock, for as long as a worker stays ready.
    pub(crate) fn to_lease_time(&self, attended: Timestamp) -> Timestamp {
        attended + self.unattended
    }

    /// Returns when the driver must call again to notice `expiry`, a time on the lease clock. It is early enough that a
    /// quiet period does not look like a pause.
    pub(crate) fn deadline(&self, expiry: Timestamp) -> Timestamp {
        // Half of the maximum step: the driver may be late by the other half.
        (expiry + self.paused).min(self.now + self.max_step / 2)
    }
}
