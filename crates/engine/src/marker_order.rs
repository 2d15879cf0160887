//! Puts the markers of a proof's core shards into the order of the program's clock.
//!
//! A marker says that the deferred events of its core shard are uploaded. SP1 groups events into precompile shards in
//! the order in which their markers complete. The result cache finds the result of a precompile shard again only if the
//! same events were grouped. Markers are therefore released in the order of the program's clock, no matter which worker
//! finishes first.

use std::collections::BTreeMap;

/// Where the program's clock starts (`ShardRange::precompile` in sp1-hypercube).
const FIRST: u64 = 1;

/// Number of markers that may wait for an earlier one. The events of waiting markers stay in the artifact store. Above
/// this number, the order is given up for the rest of the proof, and the result cache no longer finds the precompile
/// shards that depend on it.
const MOST_EARLY: usize = 256;

/// Start and end of a shard on the program's clock. The next shard starts where this one ends.
pub(crate) type Clock = (u64, u64);

/// Returns the cycles between start and end. The clock advances by 8 per cycle.
pub(crate) const fn clock_cycles((begin, end): Clock) -> u64 {
    end.saturating_sub(begin) / 8
}

/// Holds markers back until all earlier shards have completed theirs. `T` stands for one marker.
#[derive(Debug)]
pub struct MarkerOrder<T> {
    /// Start of the next shard whose marker is released.
    next: u64,
    /// Markers that came too early: start of the shard, then its end and the marker.
    early: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for MarkerOrder<T> {
    fn default() -> Self {
        Self { next: FIRST, early: BTreeMap::new() }
    }
}

impl<T> MarkerOrder<T> {
    /// Adds the marker `told` of the shard at the given clock range. Returns the markers that can be released now, in
    /// order. Duplicates are passed through.
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

    /// Returns the markers that are still held back, in order. For the end of the proof, when the shards that these
    /// markers wait for do not exist.
    pub fn rest(&mut self) -> Vec<T> {
        std::mem::take(&mut self.early).into_values().map(|(_, told)| told).collect()
    }
}
