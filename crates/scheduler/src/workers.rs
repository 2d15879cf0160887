//! The connected workers and their slots.

use crate::{AttemptId, KindSet, TaskKind, WorkerId, lanes::Excluded};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeBounds,
};

/// In the order of free workers, those from here on hold something.
const BUSY: (usize, WorkerId) = (1, WorkerId(0));

/// A connected worker.
#[derive(Debug)]
pub(crate) struct Worker {
    slots: usize,
    kinds: KindSet,
    held: BTreeSet<AttemptId>,
    /// How many of them are of each kind.
    held_of: [usize; TaskKind::ALL.len()],
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
    /// By kind, how many attempts they hold together.
    held_of: [usize; TaskKind::ALL.len()],
    /// By kind, how many of them hold an attempt of it.
    holders: [usize; TaskKind::ALL.len()],
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
    pub(crate) fn held(&self) -> usize {
        self.held_of.iter().sum()
    }

    /// How many attempts of `kind` all workers hold together.
    pub(crate) const fn held_of(&self, kind: TaskKind) -> usize {
        self.held_of[kind.index()]
    }

    /// How many workers hold an attempt of `kind`.
    pub(crate) const fn holders(&self, kind: TaskKind) -> usize {
        self.holders[kind.index()]
    }

    /// True when a worker outside `excluded` holds an attempt of `kind`.
    pub(crate) fn anyone_holds(&self, kind: TaskKind, excluded: &Excluded) -> bool {
        let holds = |worker: &&WorkerId| self.get(**worker).is_some_and(|worker| worker.held_of[kind.index()] > 0);
        self.holders(kind) > excluded.iter().filter(holds).count()
    }

    /// Adds a worker that holds nothing.
    ///
    /// # Panics
    /// When it is there already.
    pub(crate) fn insert(&mut self, id: WorkerId, slots: u32, kinds: KindSet) {
        let slots = usize::try_from(slots.max(1)).unwrap_or(usize::MAX);
        let added =
            self.workers.insert(id, Worker { slots, kinds, held: BTreeSet::new(), held_of: [0; TaskKind::ALL.len()] });
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

    /// Puts `attempt`, whose task is of `kind`, into a free slot of `id`.
    pub(crate) fn hold(&mut self, id: WorkerId, attempt: AttemptId, kind: TaskKind) {
        let of_kind = self.change_held(id, |worker| {
            assert!(worker.has_free_slot(), "{id} has no slot for {attempt}");
            assert!(worker.held.insert(attempt), "{id} holds {attempt} already");
            worker.held_of[kind.index()] += 1;
            worker.held_of[kind.index()]
        });
        self.held_of[kind.index()] += 1;
        self.holders[kind.index()] += usize::from(of_kind == 1);
    }

    /// Frees the slot of `attempt`, whose task is of `kind`.
    pub(crate) fn release(&mut self, id: WorkerId, attempt: AttemptId, kind: TaskKind) {
        let of_kind = self.change_held(id, |worker| {
            assert!(worker.held.remove(&attempt), "{id} does not hold {attempt}");
            worker.held_of[kind.index()] -= 1;
            worker.held_of[kind.index()]
        });
        self.held_of[kind.index()] -= 1;
        self.holders[kind.index()] -= usize::from(of_kind == 0);
    }

    fn change_held<T>(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker) -> T) -> T {
        let worker = self.workers.get_mut(&id).expect("live attempts are on connected workers");
        let before = worker.held.len();
        let answer = change(worker);
        let after = worker.held.len();
        for kind in worker.kinds.iter() {
            let free = &mut self.free[kind.index()];
            free.remove(&(before, id));
            if worker.has_free_slot() {
                free.insert((after, id));
            }
        }
        answer
    }

    /// How many workers can do `kind`, free or not.
    pub(crate) const fn able(&self, kind: TaskKind) -> usize {
        self.able[kind.index()]
    }

    /// True when a worker that can do `kind` has a free slot.
    pub(crate) fn anyone_free(&self, kind: TaskKind) -> bool {
        !self.free[kind.index()].is_empty()
    }

    /// True when a worker that can do `kind` holds nothing.
    pub(crate) fn anyone_idle(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].first().is_some_and(|(held, _)| *held == 0)
    }

    /// True when a worker that can do `kind` holds something and has a free slot.
    pub(crate) fn anyone_partly_free(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].last().is_some_and(|(held, _)| *held > 0)
    }

    /// True when `worker` can do `kind` and holds nothing.
    pub(crate) fn is_idle(&self, worker: WorkerId, kind: TaskKind) -> bool {
        self.free[kind.index()].contains(&(0, worker))
    }

    /// True when no connected worker that can do `kind` is outside `excluded`.
    pub(crate) fn all_excluded(&self, kind: TaskKind, excluded: &Excluded) -> bool {
        let able =
            excluded.iter().filter(|worker| self.get(**worker).is_some_and(|worker| worker.kinds.contains(kind)));
        able.count() == self.able(kind)
    }

    /// Of the workers outside `excluded` that can do `kind` and hold nothing, the one with the lowest id.
    pub(crate) fn first_idle(&self, kind: TaskKind, excluded: &Excluded) -> Option<WorkerId> {
        self.first_free(kind, ..BUSY, excluded)
    }

    /// Of the workers outside `excluded` that can do `kind`, hold something and have a free slot, the one that holds fewest attempts.
    /// The lowest id decides between equals.
    pub(crate) fn least_busy(&self, kind: TaskKind, excluded: &Excluded) -> Option<WorkerId> {
        self.first_free(kind, BUSY.., excluded)
    }

    fn first_free(
        &self,
        kind: TaskKind,
        range: impl RangeBounds<(usize, WorkerId)>,
        excluded: &Excluded,
    ) -> Option<WorkerId> {
        let mut free = self.free[kind.index()].range(range).map(|(_, worker)| *worker);
        free.find(|worker| !excluded.contains(worker))
    }

    /// Every worker, after comparing the indices with them.
    pub(crate) fn check_invariants(&self) -> &BTreeMap<WorkerId, Worker> {
        for kind in TaskKind::ALL {
            let able = || self.workers.iter().filter(|(_, worker)| worker.kinds.contains(kind));
            let free: BTreeSet<(usize, WorkerId)> = able()
                .filter(|(_, worker)| worker.has_free_slot())
                .map(|(id, worker)| (worker.held.len(), *id))
                .collect();
            assert_eq!(self.able(kind), able().count(), "the number of workers able to do {kind} is wrong");
            assert_eq!(self.free[kind.index()], free, "the index of free slots for {kind} is wrong");
            let held_of = || self.workers.values().map(|worker| worker.held_of[kind.index()]);
            assert_eq!(self.held_of(kind), held_of().sum(), "the number of held attempts of {kind} is wrong");
            let holders = held_of().filter(|held| *held > 0).count();
            assert_eq!(self.holders(kind), holders, "the number of workers that hold attempts of {kind} is wrong");
        }
        for (id, worker) in &self.workers {
            assert!(worker.held.len() <= worker.slots, "{id} has {} slots and holds {:?}", worker.slots, worker.held);
            let held: usize = worker.held_of.iter().sum();
            assert_eq!(held, worker.held.len(), "{id} holds {:?}, which are not {held}", worker.held);
        }
        &self.workers
    }
}
