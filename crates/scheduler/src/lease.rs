//! Leases, and the clock they are measured with.

use crate::{Timestamp, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The scheduler's view of the driver's clock: it doesn't run backwards, and it knows how long the scheduler itself was
/// not running.
///
/// A scheduler that was stopped for a while (a suspended machine, a blocked driver) has not listened. That it heard
/// nothing is then no sign of the workers' silence, so that time doesn't count against their leases.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The latest time the driver has named.
    now: Timestamp,
    /// Time that doesn't count against leases.
    paused: Duration,
    /// A longer step is a pause.
    max_step: Duration,
}

impl Clock {
    pub(crate) fn new(max_step: Duration) -> Self {
        // With steps of nothing every lease would last for ever and the next deadline would always be now.
        Self { now: Timestamp::default(), paused: Duration::ZERO, max_step: max_step.max(Duration::from_millis(1)) }
    }

    /// The driver says that it is `now`. An earlier time than the last is taken for the last.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        let step = now.saturating_since(self.now);
        self.paused = self.paused.saturating_add(step.saturating_sub(self.max_step));
        self.now = self.now.max(now);
    }

    /// The driver's time.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The time on the leases' clock: the driver's without the pauses.
    pub(crate) fn lease_time(&self) -> Timestamp {
        self.now - self.paused
    }

    /// When the driver must call again so that `expiry`, a time on the leases' clock, is noticed, and so that a quiet
    /// time isn't taken for a pause.
    pub(crate) fn deadline(&self, expiry: Timestamp) -> Timestamp {
        // Half a step leaves the driver the other half to be late in.
        (expiry + self.paused).min(self.now + self.max_step / 2)
    }
}

/// When each connected worker's lease ends. A worker has one lease for all that it holds.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_worker: BTreeMap<WorkerId, Timestamp>,
    by_expiry: BTreeSet<(Timestamp, WorkerId)>,
}

impl Leases {
    /// Gives `worker` a lease until `expiry`, a time on the leases' clock, in place of the one it had.
    pub(crate) fn set(&mut self, worker: WorkerId, expiry: Timestamp) {
        self.remove(worker);
        self.by_worker.insert(worker, expiry);
        self.by_expiry.insert((expiry, worker));
    }

    /// Ends the lease of `worker`.
    pub(crate) fn remove(&mut self, worker: WorkerId) {
        if let Some(expiry) = self.by_worker.remove(&worker) {
            self.by_expiry.remove(&(expiry, worker));
        }
    }

    /// The earliest end of a lease, and whose.
    pub(crate) fn earliest(&self) -> Option<(Timestamp, WorkerId)> {
        self.by_expiry.first().copied()
    }

    /// Who has a lease, after comparing the index with it.
    pub(crate) fn check_invariants(&self) -> impl Iterator<Item = WorkerId> {
        let by_expiry: BTreeSet<_> = self.by_worker.iter().map(|(worker, expiry)| (*expiry, *worker)).collect();
        assert_eq!(self.by_expiry, by_expiry, "the index of lease ends is wrong");
        self.by_worker.keys().copied()
    }
}
