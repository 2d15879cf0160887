//! Ordered items grouped by who can take them.

use crate::{TaskKind, exclusions::Exclusions};
use std::collections::{BTreeMap, BTreeSet};

/// An ordered set of items, in lanes: a lane holds the items of one kind that exclude the same workers.
///
/// Within a lane every worker may take either each item or none, so only the first item of a lane is ever looked at.
/// Finding what a worker may take therefore costs as many steps as there are lanes that exclude it, however many items
/// wait: a worker that fails everything it touches doesn't make others walk over all that it has touched.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    kinds: [Kind<T>; TaskKind::ALL.len()],
}

#[derive(Debug)]
struct Kind<T> {
    lanes: BTreeMap<Exclusions, BTreeSet<T>>,
    /// The first item of every lane.
    heads: BTreeMap<T, Exclusions>,
    /// Number of items in all lanes.
    len: usize,
}

impl<T: Ord + Copy> Lanes<T> {
    pub(crate) fn new() -> Self {
        Self { kinds: std::array::from_fn(|_| Kind { lanes: BTreeMap::new(), heads: BTreeMap::new(), len: 0 }) }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.kinds.iter().map(|kind| kind.len).sum()
    }

    /// Adds `item`; nothing when it is there already.
    pub(crate) fn insert(&mut self, kind: TaskKind, excluded: &Exclusions, item: T) {
        let Kind { lanes, heads, len } = &mut self.kinds[kind.index()];
        if !lanes.contains_key(excluded) {
            lanes.insert(excluded.clone(), BTreeSet::new());
        }
        let lane = lanes.get_mut(excluded).expect("it was inserted if it was missing");
        let before = lane.first().copied();
        if !lane.insert(item) {
            return;
        }
        *len += 1;
        if before.is_none_or(|before| item < before) {
            before.map(|before| heads.remove(&before));
            heads.insert(item, excluded.clone());
        }
    }

    /// Removes `item`. False when it isn't there.
    pub(crate) fn remove(&mut self, kind: TaskKind, excluded: &Exclusions, item: T) -> bool {
        let Kind { lanes, heads, len } = &mut self.kinds[kind.index()];
        let Some(lane) = lanes.get_mut(excluded) else { return false };
        if !lane.remove(&item) {
            return false;
        }
        *len -= 1;
        let first = lane.first().copied();
        if first.is_none() {
            lanes.remove(excluded);
        }
        if let Some(excluded) = heads.remove(&item)
            && let Some(first) = first
        {
            heads.insert(first, excluded);
        }
        true
    }

    /// The first item of every lane of `kind`, in the items' order, and whom the lane excludes.
    pub(crate) fn heads(&self, kind: TaskKind) -> impl Iterator<Item = (T, &Exclusions)> {
        self.kinds[kind.index()].heads.iter().map(|(item, excluded)| (*item, excluded))
    }

    /// Every item, after comparing the heads with the lanes.
    pub(crate) fn check_invariants(&self) -> BTreeMap<T, (TaskKind, &Exclusions)> {
        let mut items = BTreeMap::new();
        for kind in TaskKind::ALL {
            let Kind { lanes, heads, len } = &self.kinds[kind.index()];
            let firsts: BTreeMap<T, &Exclusions> = lanes
                .iter()
                .map(|(excluded, lane)| (*lane.first().expect("no lane is kept empty"), excluded))
                .collect();
            assert!(
                firsts.iter().map(|(item, excluded)| (item, *excluded)).eq(heads.iter()),
                "the heads of {kind} are not the first items of its lanes"
            );
            let items_of_kind: usize = lanes.values().map(BTreeSet::len).sum();
            assert_eq!(*len, items_of_kind, "the number of items of {kind} is wrong");
            for (excluded, lane) in lanes {
                for item in lane {
                    assert!(items.insert(*item, (kind, excluded)).is_none(), "an item of {kind} stands in two lanes");
                }
            }
        }
        items
    }
}
