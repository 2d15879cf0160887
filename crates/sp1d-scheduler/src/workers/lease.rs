//! When the lease of each worker ends.

use crate::{SessionId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// When the lease of each ready worker ends. A worker has one lease for all its attempts.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_session: BTreeMap<SessionId, Timestamp>,
    by_expiry: BTreeSet<(Timestamp, SessionId)>,
}

impl Leases {
    /// Sets the lease of `session` to end at `expiry`, a time on the lease clock. It replaces an earlier lease.
    pub(crate) fn set(&mut self, session: SessionId, expiry: Timestamp) {
        self.remove(session);
        self.by_session.insert(session, expiry);
        self.by_expiry.insert((expiry, session));
    }

    pub(crate) fn remove(&mut self, session: SessionId) {
        if let Some(expiry) = self.by_session.remove(&session) {
            self.by_expiry.remove(&(expiry, session));
        }
    }

    /// Returns the earliest end of a lease, and its worker.
    pub(crate) fn earliest(&self) -> Option<(Timestamp, SessionId)> {
        self.by_expiry.first().copied()
    }

    /// Checks the index against the leases. Returns the workers that have a lease.
    pub(crate) fn check_invariants(&self) -> impl Iterator<Item = SessionId> {
        let by_expiry: BTreeSet<_> = self.by_session.iter().map(|(session, expiry)| (*expiry, *session)).collect();
        assert_eq!(self.by_expiry, by_expiry, "the index of lease ends is wrong");
        self.by_session.keys().copied()
    }
}
