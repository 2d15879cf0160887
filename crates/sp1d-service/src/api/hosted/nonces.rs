//! Issues the nonces that clients sign.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Issues nonces. A nonce is a time in microseconds since 1970, and each is issued once: requests that one requester
/// sends at the same time never compete for a nonce. The database remembers which nonces were used.
#[derive(Debug)]
pub(super) struct NonceIssuer {
    last: Mutex<u64>,
}

impl NonceIssuer {
    /// All nonces up to `floor` count as used.
    pub(super) const fn new(floor: u64) -> Self {
        Self { last: Mutex::new(floor) }
    }

    fn last(&self) -> MutexGuard<'_, u64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a new nonce at the time `now`, in microseconds.
    pub(super) fn issue(&self, now: u64) -> u64 {
        let mut last = self.last();
        *last = last.saturating_add(1).max(now);
        *last
    }

    /// Returns true if `nonce` may have been issued before the time `now`, also by an earlier process.
    pub(super) fn may_have_issued(&self, nonce: u64, now: u64) -> bool {
        nonce <= (*self.last()).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nonce_is_issued_once_and_above_the_floor() {
        let nonces = NonceIssuer::new(100);
        assert_eq!([nonces.issue(50), nonces.issue(50), nonces.issue(200), nonces.issue(200)], [101, 102, 200, 201]);
        assert!(nonces.may_have_issued(201, 0) && nonces.may_have_issued(300, 300));
        assert!(!nonces.may_have_issued(202, 0) && !nonces.may_have_issued(u64::MAX, 300));
    }
}
