//! In which order the core shards of a proof say that their deferred events are there.
//!
//! SP1 groups events into precompile shards in the order in which it hears of them, and a result is found again only
//! when the same events were grouped. So they are told in the order of the program's clock, whichever worker came
//! first.

use std::collections::BTreeMap;

/// Where the program's clock begins (`ShardRange::precompile` in sp1-hypercube).
const FIRST: u64 = 1;

/// So many may be early. Their events wait in the store meanwhile: beyond that the order is given up, and results that
/// depend on it are not found again.
const MOST_EARLY: usize = 256;

/// Begin and end of a shard on the program's clock; the next shard begins where it ends.
pub(crate) type Clock = (u64, u64);

/// Cycles between the two. The clock takes eight steps a cycle.
pub(crate) const fn clock_cycles((begin, end): Clock) -> u64 {
    end.saturating_sub(begin) / 8
}

/// See the module's documentation.
#[derive(Debug)]
pub struct MarkerOrder<T> {
    /// Where the next shard to be told of begins.
    next: u64,
    /// What came too early, by begin: the end, and what is to be told.
    early: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for MarkerOrder<T> {
    fn default() -> Self {
        Self { next: FIRST, early: BTreeMap::new() }
    }
}

impl<T> MarkerOrder<T> {
    /// The events of the shard at `clock` are there, which is told by `told`. Answers what is to be told now. What
    /// comes twice is told twice.
    pub fn complete(&mut self, (begin, end): Clock, told: T) -> Vec<T> {
        if begin < self.next {
            return vec![told];
        }
        let twice = self.early.insert(begin, (end, told)).map(|(_, told)| told);
        let mut now = Vec::from_iter(twice);
        while let Some((end, told)) = self.early.remove(&self.next) {
            self.next = end;
            now.push(told);
        }
        if self.early.len() > MOST_EARLY {
            self.next = u64::MAX;
            now.extend(self.rest());
        }
        now
    }

    /// Nothing more will come: what waits for a shard that there is not.
    pub fn rest(&mut self) -> Vec<T> {
        std::mem::take(&mut self.early).into_values().map(|(_, told)| told).collect()
    }
}
