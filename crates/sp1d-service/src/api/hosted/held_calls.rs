//! Counts the status calls that are held open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

sp1d_model::limits! {
    /// Maximum number of status calls of one requester that are held open. Further ones get a response at once. All
    /// calls of a program share one connection, and the others must find room on it.
    const MAX_HELD_CALLS: usize = 32; Count by Client;
}

/// The number of held calls of each requester. Clones refer to the same numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldCalls(Arc<Mutex<BTreeMap<String, usize>>>);

impl HeldCalls {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call of `requester` until the returned value is dropped. Returns `None` if the requester already has
    /// the maximum number of held calls.
    pub(super) fn hold(&self, requester: &str) -> Option<HeldCall> {
        let mut counts = self.lock();
        let count = counts.entry(requester.to_owned()).or_default();
        if *count >= MAX_HELD_CALLS {
            return None;
        }
        *count += 1;
        Some(HeldCall { calls: self.clone(), requester: requester.to_owned() })
    }
}

/// A call that is held open.
#[derive(Debug)]
pub(super) struct HeldCall {
    calls: HeldCalls,
    requester: String,
}

impl Drop for HeldCall {
    fn drop(&mut self) {
        let mut counts = self.calls.lock();
        match counts.get_mut(&self.requester) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.requester);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_requester_has_its_own_number_of_held_calls() {
        let calls = HeldCalls::default();
        let mut held: Vec<_> = (0..MAX_HELD_CALLS).map(|_| calls.hold("one").unwrap()).collect();
        assert!(calls.hold("one").is_none());
        let other = calls.hold("other").unwrap();
        held.pop();
        held.push(calls.hold("one").unwrap());
        assert!(calls.hold("one").is_none());
        drop((held, other));
        assert!(calls.lock().is_empty());
    }
}
