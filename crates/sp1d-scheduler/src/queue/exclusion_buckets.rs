//! Ordered items grouped by the workers that they exclude.

use super::exclusions::Exclusions;
use crate::TaskKind;
use std::collections::{BTreeMap, BTreeSet};

/// An ordered set of items in buckets. A bucket holds the items of one kind that exclude the same workers.
///
/// Within a bucket a worker may take either every item or none, so only the first item of a bucket is ever examined.
/// Finding an item for a worker therefore takes as many steps as there are buckets that exclude the worker, however
/// many items wait. A worker that fails at everything does not make other workers search through all the tasks it
/// failed at.
#[derive(Debug)]
pub(crate) struct ExclusionBuckets<T> {
    kinds: [KindBuckets<T>; TaskKind::ALL.len()],
}

#[derive(Debug)]
struct KindBuckets<T> {
    buckets: BTreeMap<Exclusions, BTreeSet<T>>,
    /// The first item of every bucket.
    heads: BTreeMap<T, Exclusions>,
    /// Number of items in all buckets.
    len: usize,
}

impl<T: Ord + Copy> ExclusionBuckets<T> {
    pub(crate) fn new() -> Self {
        Self {
            kinds: std::array::from_fn(|_| KindBuckets { buckets: BTreeMap::new(), heads: BTreeMap::new(), len: 0 }),
        }
    }

    /// Returns the number of items of all kinds.
    pub(crate) fn len(&self) -> usize {
        self.kinds.iter().map(|kind| kind.len).sum()
    }

    /// Adds `item`. Does nothing if the set already contains it.
    pub(crate) fn insert(&mut self, kind: TaskKind, excluded: &Exclusions, item: T) {
        let KindBuckets { buckets, heads, len } = &mut self.kinds[kind.index()];
        if !buckets.contains_key(excluded) {
            buckets.insert(excluded.clone(), BTreeSet::new());
        }
        let bucket = buckets.get_mut(excluded).expect("the bucket was inserted if it was missing");
        let before = bucket.first().copied();
        if !bucket.insert(item) {
            return;
        }
        *len += 1;
        if before.is_none_or(|before| item < before) {
            before.map(|before| heads.remove(&before));
            heads.insert(item, excluded.clone());
        }
    }

    /// Removes `item`. Returns false if the set does not contain it.
    pub(crate) fn remove(&mut self, kind: TaskKind, excluded: &Exclusions, item: T) -> bool {
        let KindBuckets { buckets, heads, len } = &mut self.kinds[kind.index()];
        let Some(bucket) = buckets.get_mut(excluded) else { return false };
        if !bucket.remove(&item) {
            return false;
        }
        *len -= 1;
        let first = bucket.first().copied();
        if first.is_none() {
            buckets.remove(excluded);
        }
        if let Some(excluded) = heads.remove(&item)
            && let Some(first) = first
        {
            heads.insert(first, excluded);
        }
        true
    }

    /// Returns the first item of every bucket of `kind` with the bucket's exclusions, in item order.
    pub(crate) fn heads(&self, kind: TaskKind) -> impl Iterator<Item = (T, &Exclusions)> {
        self.kinds[kind.index()].heads.iter().map(|(item, excluded)| (*item, excluded))
    }

    /// Returns the number of items in every bucket of `kind`, with the bucket's exclusions.
    pub(crate) fn sizes(&self, kind: TaskKind) -> impl Iterator<Item = (&Exclusions, usize)> {
        self.kinds[kind.index()].buckets.iter().map(|(excluded, bucket)| (excluded, bucket.len()))
    }

    /// Checks the first items against the buckets. Returns every item.
    pub(crate) fn check_invariants(&self) -> BTreeMap<T, (TaskKind, &Exclusions)> {
        let mut items = BTreeMap::new();
        for kind in TaskKind::ALL {
            let KindBuckets { buckets, heads, len } = &self.kinds[kind.index()];
            let firsts: BTreeMap<T, &Exclusions> = buckets
                .iter()
                .map(|(excluded, bucket)| (*bucket.first().expect("empty buckets are removed"), excluded))
                .collect();
            assert!(
                firsts.iter().map(|(item, excluded)| (item, *excluded)).eq(heads.iter()),
                "the heads of {kind} are not the first items of its buckets"
            );
            let items_of_kind: usize = buckets.values().map(BTreeSet::len).sum();
            assert_eq!(*len, items_of_kind, "the number of items of {kind} is wrong");
            for (excluded, bucket) in buckets {
                for item in bucket {
                    assert!(items.insert(*item, (kind, excluded)).is_none(), "an item of {kind} is in two buckets");
                }
            }
        }
        items
    }
}
