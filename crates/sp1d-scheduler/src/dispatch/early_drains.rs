//! Drains that were requested before the worker was ready.

use crate::SessionId;
use std::collections::{BTreeMap, BTreeSet};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of early drains that are remembered. The oldest is forgotten first: its worker has had the most
    /// time to become ready.
    const MAX_EARLY_DRAINS: usize = 4096; Count by Worker;
}

/// The sessions for which a drain was requested before their worker was ready. They are draining once it is ready.
#[derive(Debug, Default)]
pub(super) struct EarlyDrains {
    sessions: BTreeSet<SessionId>,
    /// The sessions that were added or removed since the last call of [`EarlyDrains::take_changes`].
    changed: BTreeSet<SessionId>,
}

impl EarlyDrains {
    pub(super) fn insert(&mut self, session: SessionId) {
        if self.sessions.insert(session) {
            self.changed.insert(session);
        }
        if self.sessions.len() > MAX_EARLY_DRAINS {
            self.changed.extend(self.sessions.pop_first());
        }
    }

    /// Forgets the drain of `session`. Returns true if there was one.
    pub(super) fn remove(&mut self, session: SessionId) -> bool {
        let is_known = self.sessions.remove(&session);
        if is_known {
            self.changed.insert(session);
        }
        is_known
    }

    /// Returns the sessions that changed since the last call, with true for those that have an early drain now.
    pub(super) fn take_changes(&mut self) -> BTreeMap<SessionId, bool> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|session| (session, self.sessions.contains(&session))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_early_drain_is_forgotten_at_the_limit() {
        let mut drains = EarlyDrains::default();
        let last = MAX_EARLY_DRAINS as u64 + 1;
        (1..=last).for_each(|session| drains.insert(SessionId(session)));
        let changes = drains.take_changes();
        assert_eq!(changes.len(), MAX_EARLY_DRAINS + 1);
        assert_eq!((changes[&SessionId(1)], changes[&SessionId(last)]), (false, true));
        assert!(!drains.remove(SessionId(1)));
        assert!(drains.remove(SessionId(last)));
        assert_eq!(drains.take_changes(), [(SessionId(last), false)].into());
    }
}
