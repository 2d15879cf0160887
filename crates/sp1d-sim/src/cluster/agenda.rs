//! The agenda: the queue of everything that is scheduled to happen.

use sp1d_scheduler::Timestamp;
use std::collections::BTreeMap;

/// Items ordered by time. Items with the same time keep their insertion order.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    items: BTreeMap<(Timestamp, u64), T>,
    put: u64,
}

impl<T> Agenda<T> {
    pub(crate) const fn new() -> Self {
        Self { items: BTreeMap::new(), put: 0 }
    }

    pub(crate) fn put(&mut self, at: Timestamp, item: T) {
        self.put += 1;
        self.items.insert((at, self.put), item);
    }

    /// Returns the time of the next item.
    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        self.items.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take(&mut self) -> Option<(Timestamp, T)> {
        self.items.pop_first().map(|((at, _), item)| (at, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn items_are_ordered_by_time_then_by_insertion() {
        let at = |seconds| Timestamp::new(Duration::from_secs(seconds));
        let mut queue = Agenda::new();
        for (seconds, item) in [(3, 'd'), (1, 'a'), (2, 'b'), (2, 'c')] {
            queue.put(at(seconds), item);
        }
        assert_eq!(queue.next_time(), Some(at(1)));
        let order: Vec<char> = std::iter::from_fn(|| queue.take().map(|(_, item)| item)).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
        assert_eq!(queue.next_time(), None);
    }
}
