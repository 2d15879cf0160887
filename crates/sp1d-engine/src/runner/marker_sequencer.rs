//! Puts the markers of a proof's core shards into the order of the program's clock.
//!
//! A marker is complete when the deferred events of its core shard have passed their check and the claim is accepted.
//! SP1 groups events into precompile shards in the order in which their markers complete. The result cache finds the
//! result of a precompile shard again only if the same events were grouped. If results are cached, markers are
//! therefore released in the order of the program's clock. Otherwise they are released as they complete.

use crate::verify::ClockRange;
use std::collections::BTreeMap;

/// Where the program's clock starts (`ShardRange::precompile` in sp1-hypercube).
const CLOCK_START: u64 = 1;

sp1d_model::limits! {
    /// Number of markers that may wait for an earlier one. The events of waiting markers stay in the artifact store.
    /// Above this number, the order is given up for the rest of the proof, and the result cache no longer finds the
    /// precompile shards that depend on it.
    const MAX_HELD: usize = 256; Count by Worker;
}

/// Holds markers back until all earlier shards have completed theirs. `T` stands for one marker.
#[derive(Debug)]
pub struct MarkerSequencer<T> {
    /// Start of the next shard whose marker is released.
    next: u64,
    /// Markers that came too early: start of the shard, then its end and the marker.
    held: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for MarkerSequencer<T> {
    fn default() -> Self {
        Self { next: CLOCK_START, held: BTreeMap::new() }
    }
}

impl<T> MarkerSequencer<T> {
    /// Adds the `marker` of the shard at the given clock range. Returns the markers that can be released now, in
    /// order. Duplicates are passed through.
    pub fn complete(&mut self, (start, end): ClockRange, marker: T) -> Vec<T> {
        if start < self.next {
            return vec![marker];
        }
        let duplicate = self.held.insert(start, (end, marker)).map(|(_, marker)| marker);
        let mut released = Vec::from_iter(duplicate);
        while let Some((end, marker)) = self.held.remove(&self.next) {
            self.next = end;
            released.push(marker);
        }
        if self.held.len() > MAX_HELD {
            self.next = u64::MAX;
            released.extend(self.release_all());
        }
        released
    }

    /// Returns the markers that are still held back, in order. For the end of the proof, when the shards that these
    /// markers wait for do not exist.
    pub fn release_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.held).into_values().map(|(_, marker)| marker).collect()
    }
}
