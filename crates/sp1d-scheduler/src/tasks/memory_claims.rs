//! What workers say about the memory that a task needs.

use crate::{OriginId, WorkerId, queue::with_tolerance};
use std::collections::BTreeMap;

/// The memory with which a task ran out of memory, as workers report it. A worker may be wrong.
#[derive(Debug, Default)]
pub(crate) struct MemoryClaims(BTreeMap<WorkerId, (Option<OriginId>, u64)>);

impl MemoryClaims {
    pub(super) const NONE: Self = Self(BTreeMap::new());

    pub(super) fn add(&mut self, worker: WorkerId, origin: Option<OriginId>, bytes: u64) {
        let (_, claimed) = self.0.entry(worker).or_insert((origin, bytes));
        *claimed = bytes.max(*claimed);
    }

    /// Returns the most memory that is too little according to workers of two origins. `None` if the workers of only
    /// one origin ran out of memory.
    pub(crate) fn confirmed_bytes(&self) -> Option<u64> {
        let mut of_origins: BTreeMap<Option<OriginId>, u64> = BTreeMap::new();
        for (origin, bytes) in self.0.values() {
            let most = of_origins.entry(*origin).or_default();
            *most = (*most).max(*bytes);
        }
        let mut most: Vec<u64> = of_origins.into_values().collect();
        most.sort_unstable_by(|one, other| other.cmp(one));
        most.get(1).copied()
    }

    /// Returns true if `worker`, which has `bytes` of memory, ran out of memory with as much, or if a worker of its
    /// origin did.
    pub(crate) fn concern(&self, worker: WorkerId, origin: Option<OriginId>, bytes: u64) -> bool {
        let is_same = |other: WorkerId, other_origin| other == worker || other_origin == origin;
        self.0
            .iter()
            .any(|(other, (other_origin, claimed))| is_same(*other, *other_origin) && bytes <= with_tolerance(*claimed))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the workers that ran out of more memory than `bytes`, with a tolerance of 1/16.
    pub(crate) fn above(&self, bytes: u64) -> impl Iterator<Item = WorkerId> {
        let is_above = move |claimed: u64| claimed > with_tolerance(bytes);
        self.0.iter().filter(move |(_, (_, claimed))| is_above(*claimed)).map(|(worker, _)| *worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_two_origins_claim_is_confirmed() {
        let mut claims = MemoryClaims::default();
        let mut check = |worker: u64, origin: u128, bytes: u64, expected: Option<u64>| {
            claims.add(WorkerId(worker), Some(OriginId(origin)), bytes);
            assert_eq!(claims.confirmed_bytes(), expected, "after the claim of worker {worker}");
        };
        check(1, 1, 16, None);
        check(2, 1, 32, None);
        check(3, 2, 8, Some(8));
        check(4, 3, 24, Some(24));
        assert_eq!(claims.above(16).collect::<Vec<_>>(), [WorkerId(2), WorkerId(4)]);
    }
}
