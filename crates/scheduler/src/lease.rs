//! Leases, and the clock that measures them.

use crate::{Timestamp, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The scheduler's view of the driver's clock. It never runs backwards, and it knows how long the scheduler itself was
/// paused.
///
/// A paused scheduler (suspended machine, blocked driver) receives nothing, so its workers only seem silent. Pauses
/// therefore do not count against leases.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The latest time that the driver reported.
    now: Timestamp,
    /// Total length of all pauses, which does not count against leases.
    paused: Duration,
    /// Total time on the lease clock during which no worker was connected.
    unattended: Duration,
    /// A longer step is treated as a pause.
    max_step: Duration,
}

impl Clock {
    pub(crate) fn new(max_step: Duration) -> Self {
        // With a maximum step of zero no lease would ever end, and the next deadline would always be now.
        let max_step = max_step.max(Duration::from_millis(1));
        Self { now: Timestamp::default(), paused: Duration::ZERO, unattended: Duration::ZERO, max_step }
    }

    /// Sets the current time. A `now` before the latest time has no effect. `attended` is true if a worker has been
    /// connected since the latest time.
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
    /// connected.
    pub(crate) fn attended_time(&self) -> Timestamp {
        self.lease_time() - self.unattended
    }

    /// Converts a time on the attended clock to the lease clock, for as long as a worker stays connected.
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

/// When the lease of each connected worker ends. A worker has one lease for all its attempts.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_worker: BTreeMap<WorkerId, Timestamp>,
    by_expiry: BTreeSet<(Timestamp, WorkerId)>,
}

impl Leases {
    /// Sets the lease of `worker` to end at `expiry`, a time on the lease clock. It replaces an earlier lease.
    pub(crate) fn set(&mut self, worker: WorkerId, expiry: Timestamp) {
        self.remove(worker);
        self.by_worker.insert(worker, expiry);
        self.by_expiry.insert((expiry, worker));
    }

    pub(crate) fn remove(&mut self, worker: WorkerId) {
        if let Some(expiry) = self.by_worker.remove(&worker) {
            self.by_expiry.remove(&(expiry, worker));
        }
    }

    /// Returns the earliest end of a lease, and its worker.
    pub(crate) fn earliest(&self) -> Option<(Timestamp, WorkerId)> {
        self.by_expiry.first().copied()
    }

    /// Checks the index against the leases. Returns the workers that have a lease.
    pub(crate) fn check_invariants(&self) -> impl Iterator<Item = WorkerId> {
        let by_expiry: BTreeSet<_> = self.by_worker.iter().map(|(worker, expiry)| (*expiry, *worker)).collect();
        assert_eq!(self.by_expiry, by_expiry, "the index of lease ends is wrong");
        self.by_worker.keys().copied()
    }
}
