//! The connected workers and their slots.

use crate::{AttemptId, KindSet, TaskKind, WorkerId, lanes::Excluded};
use std::collections::{BTreeMap, BTreeSet};

/// A connected worker.
#[derive(Debug)]
pub(crate) struct Worker {
    slots: usize,
    kinds: KindSet,
    held: BTreeSet<AttemptId>,
}

impl Worker {
    pub(crate) const fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) const fn kinds(&self) -> KindSet {
        self.kinds
    }

    pub(crate) const fn held(&self) -> &BTreeSet<AttemptId> {
        &self.held
    }

    fn has_free_slot(&self) -> bool {
        self.held.len() < self.slots
    }
}

/// Every connected worker, and those with a free slot in the order in which they are chosen.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    /// By kind, the workers with a free slot: how many attempts they hold, then their id.
    free: [BTreeSet<(usize, WorkerId)>; TaskKind::ALL.len()],
    /// By kind, how many workers can do it, free or not.
    able: [usize; TaskKind::ALL.len()],
    /// How many attempts they hold together.
    held: usize,
}

impl Workers {
    pub(crate) fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    pub(crate) fn contains(&self, worker: WorkerId) -> bool {
        self.workers.contains_key(&worker)
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// How many attempts all workers hold together.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Adds a worker that holds nothing.
    ///
    /// # Panics
    /// When it is there already.
    pub(crate) fn insert(&mut self, id: WorkerId, slots: u32, kinds: KindSet) {
        let slots = usize::try_from(slots.max(1)).unwrap_or(usize::MAX);
        let added = self.workers.insert(id, Worker { slots, kinds, held: BTreeSet::new() });
        assert!(added.is_none(), "{id} was added twice");
        for kind in kinds.iter() {
            self.able[kind.index()] += 1;
            self.free[kind.index()].insert((0, id));
        }
    }

    /// Removes a worker, from which everything has been taken before.
    pub(crate) fn remove(&mut self, id: WorkerId) {
        let worker = self.workers.remove(&id).expect("only connected workers are removed");
        assert!(worker.held.is_empty(), "{id} is removed while it holds {:?}", worker.held);
        for kind in worker.kinds.iter() {
            self.able[kind.index()] -= 1;
            self.free[kind.index()].remove(&(0, id));
        }
    }

    /// Puts `attempt` into a free slot of `id`.
    pub(crate) fn hold(&mut self, id: WorkerId, attempt: AttemptId) {
        self.change_held(id, |worker| {
            assert!(worker.has_free_slot(), "{id} has no slot for {attempt}");
            assert!(worker.held.insert(attempt), "{id} holds {attempt} already");
        });
    }

    /// Frees the slot of `attempt`.
    pub(crate) fn release(&mut self, id: WorkerId, attempt: AttemptId) {
        self.change_held(id, |worker| assert!(worker.held.remove(&attempt), "{id} does not hold {attempt}"));
    }

    fn change_held(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        let worker = self.workers.get_mut(&id).expect("live attempts are on connected workers");
        let before = worker.held.len();
        change(worker);
        let after = worker.held.len();
        self.held = self.held - before + after;
        for kind in worker.kinds.iter() {
            let free = &mut self.free[kind.index()];
            free.remove(&(before, id));
            if worker.has_free_slot() {
                free.insert((after, id));
            }
        }
    }

    /// True when a worker that can do `kind` is connected.
    pub(crate) const fn anyone_able(&self, kind: TaskKind) -> bool {
        self.able[kind.index()] > 0
    }

    /// True when a worker that can do `kind` has a free slot.
    pub(crate) fn anyone_free(&self, kind: TaskKind) -> bool {
        !self.free[kind.index()].is_empty()
    }

    /// True when no connected worker that can do `kind` is outside `excluded`.
    pub(crate) fn all_excluded(&self, kind: TaskKind, excluded: &Excluded) -> bool {
        let able =
            excluded.iter().filter(|worker| self.get(**worker).is_some_and(|worker| worker.kinds.contains(kind)));
        able.count() == self.able[kind.index()]
    }

    /// Of the workers outside `excluded` that can do `kind` and have a free slot, the one that holds fewest attempts, and how many.
    /// The lowest id decides between equals.
    pub(crate) fn least_busy(&self, kind: TaskKind, excluded: &Excluded) -> Option<(WorkerId, usize)> {
        let free = self.free[kind.index()].iter();
        free.map(|(held, worker)| (*worker, *held)).find(|(worker, _)| !excluded.contains(worker))
    }

    /// Every worker, after comparing the indices with them.
    pub(crate) fn check_invariants(&self) -> &BTreeMap<WorkerId, Worker> {
        for kind in TaskKind::ALL {
            let able = || self.workers.iter().filter(|(_, worker)| worker.kinds.contains(kind));
            let free: BTreeSet<(usize, WorkerId)> = able()
                .filter(|(_, worker)| worker.has_free_slot())
                .map(|(id, worker)| (worker.held.len(), *id))
                .collect();
            assert_eq!(self.able[kind.index()], able().count(), "the number of workers able to do {kind} is wrong");
            assert_eq!(self.free[kind.index()], free, "the index of free slots for {kind} is wrong");
        }
        let held: usize = self.workers.values().map(|worker| worker.held.len()).sum();
        assert_eq!(self.held, held, "the number of held attempts is wrong");
        for (id, worker) in &self.workers {
            assert!(worker.held.len() <= worker.slots, "{id} has {} slots and holds {:?}", worker.slots, worker.held);
        }
        &self.workers
    }
}
