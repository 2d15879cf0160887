//! The connected workers and their slots.

use crate::{AttemptId, KindSet, PeerId, TaskKind, Timestamp, WorkerId, exclusions::Exclusions};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeBounds,
    time::Duration,
};

/// In what order workers with a free slot are chosen: those that hold fewest attempts, then the fastest, as far as that
/// is known, then the lowest id.
type Turn = (usize, Duration, WorkerId);

/// In the order of free workers, those from here on hold something.
const BUSY: Turn = (1, Duration::ZERO, WorkerId(0));

/// A connected worker.
#[derive(Debug)]
pub(crate) struct Worker {
    peer: PeerId,
    /// What an attempt on it can have; 0 for unknown.
    memory_bytes: u64,
    slots: usize,
    /// What it said that it can do.
    declared: KindSet,
    /// What it may get: all that it can do, or nothing.
    kinds: KindSet,
    /// It may hold one attempt only.
    probation: bool,
    /// It is to finish what it has.
    draining: bool,
    /// It gets nothing for a while.
    quarantined: bool,
    /// Its prover is being started again: it gets nothing until then.
    starting: bool,
    /// When the oldest attempt that it holds must have started, if none of them has. By the leases' clock.
    start_deadline: Option<Timestamp>,
    /// What a task is expected to take, by kind; nothing where nothing is known.
    paces: [Duration; TaskKind::ALL.len()],
    held: BTreeSet<AttemptId>,
    /// How many of them are of each kind.
    held_of: [usize; TaskKind::ALL.len()],
}

impl Worker {
    pub(crate) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// How many attempts it may hold now.
    pub(crate) const fn slots(&self) -> usize {
        if self.probation { 1 } else { self.slots }
    }

    /// What it may get now.
    pub(crate) const fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// What it can do.
    pub(crate) const fn declared(&self) -> KindSet {
        self.declared
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.draining
    }

    pub(crate) const fn is_quarantined(&self) -> bool {
        self.quarantined
    }

    pub(crate) const fn is_starting(&self) -> bool {
        self.starting
    }

    /// Bytes that an attempt on it can have; 0 for unknown.
    pub(crate) const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    pub(crate) const fn start_deadline(&self) -> Option<Timestamp> {
        self.start_deadline
    }

    /// True if a task of `kind` may reach it sooner or later: it supports the kind and is not draining.
    pub(crate) const fn is_prospect(&self, kind: TaskKind) -> bool {
        self.declared.contains(kind) && !self.draining
    }

    pub(crate) fn is_excluded(&self, exclusions: &Exclusions) -> bool {
        exclusions.contains(self.peer, self.memory_bytes)
    }

    fn turn(&self, id: WorkerId, kind: TaskKind) -> Turn {
        (self.held.len(), self.paces[kind.index()], id)
    }

    pub(crate) const fn held(&self) -> &BTreeSet<AttemptId> {
        &self.held
    }

    fn has_free_slot(&self) -> bool {
        self.held.len() < self.slots()
    }
}

/// Every connected worker, and those with a free slot in the order in which they are chosen.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    /// By kind, the workers with a free slot, in the order in which they are chosen.
    free: [BTreeSet<Turn>; TaskKind::ALL.len()],
    /// By kind, the workers that may get it and of which a pace is known, the fastest first.
    fastest: [BTreeSet<(Duration, WorkerId)>; TaskKind::ALL.len()],
    /// Workers to be drained that hold something, or have not been said to hold nothing.
    draining: BTreeSet<WorkerId>,
    quarantined: BTreeSet<WorkerId>,
    /// By kind, how many workers may get it, free or not.
    able: [usize; TaskKind::ALL.len()],
    /// By kind, how many workers support it and are not draining. Those in quarantine and those that are starting
    /// count.
    prospects: [usize; TaskKind::ALL.len()],
    /// The session of each connected worker.
    sessions: BTreeMap<PeerId, WorkerId>,
    /// Workers whose attempts all wait to be started, by the time when the oldest must have.
    start_deadlines: BTreeSet<(Timestamp, WorkerId)>,
    /// How many attempts all of them hold.
    held: usize,
    /// By kind, how many attempts those that may get it hold together.
    held_of: [usize; TaskKind::ALL.len()],
    /// By kind, how many of those that may get it hold an attempt of it.
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
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// How many attempts of `kind` the workers hold together that may get more of it.
    pub(crate) const fn held_of(&self, kind: TaskKind) -> usize {
        self.held_of[kind.index()]
    }

    /// How many workers hold an attempt of `kind` and may get more of it.
    pub(crate) const fn holders(&self, kind: TaskKind) -> usize {
        self.holders[kind.index()]
    }

    /// True when a worker outside `excluded` that may get more of `kind` holds an attempt of it.
    pub(crate) fn anyone_holds(&self, kind: TaskKind, excluded: &Exclusions) -> bool {
        let holds = |worker: &Worker| worker.kinds.contains(kind) && worker.held_of[kind.index()] > 0;
        self.holders(kind) > self.excluded(excluded).filter(|worker| holds(worker)).count()
    }

    /// The connected workers that `exclusions` names. Only exclusions by memory make this look at every worker.
    fn excluded<'a>(&'a self, exclusions: &'a Exclusions) -> impl Iterator<Item = &'a Worker> {
        let by_memory = exclusions.by_memory().is_some();
        let all = self.workers.values().filter(move |worker| by_memory && worker.is_excluded(exclusions));
        let named = exclusions.peers().iter().filter(move |_| !by_memory);
        all.chain(named.filter_map(|peer| self.get(*self.sessions.get(peer)?)))
    }

    /// True if `exclusions` names `id`, or if it is not connected.
    pub(crate) fn is_excluded(&self, id: WorkerId, exclusions: &Exclusions) -> bool {
        self.get(id).is_none_or(|worker| worker.is_excluded(exclusions))
    }

    /// Adds a worker that holds nothing. `paces` are what tasks are expected to take on it, by kind; nothing where
    /// nothing is known.
    ///
    /// # Panics
    /// When it is there already.
    pub(crate) fn insert(
        &mut self,
        id: WorkerId,
        peer: PeerId,
        memory_bytes: u64,
        slots: u32,
        kinds: KindSet,
        paces: [Duration; TaskKind::ALL.len()],
    ) {
        let worker = Worker {
            peer,
            memory_bytes,
            slots: usize::try_from(slots.max(1)).unwrap_or(usize::MAX),
            declared: kinds,
            kinds,
            probation: false,
            draining: false,
            quarantined: false,
            starting: false,
            start_deadline: None,
            paces,
            held: BTreeSet::new(),
            held_of: [0; TaskKind::ALL.len()],
        };
        let added = self.workers.insert(id, worker);
        assert!(added.is_none(), "{id} was added twice");
        let other = self.sessions.insert(peer, id);
        assert!(other.is_none(), "{peer} has two sessions");
        self.enter(id);
    }

    /// Removes a worker, from which everything has been taken before.
    pub(crate) fn remove(&mut self, id: WorkerId) {
        self.leave(id);
        let worker = self.workers.remove(&id).expect("only connected workers are removed");
        assert!(worker.held.is_empty(), "{id} is removed while it holds {:?}", worker.held);
        self.sessions.remove(&worker.peer);
        self.draining.remove(&id);
        self.quarantined.remove(&id);
    }

    /// Those that get nothing for a while.
    pub(crate) fn quarantined(&self) -> impl Iterator<Item = WorkerId> {
        self.quarantined.iter().copied()
    }

    /// Says whether `id` gets nothing for a while, and whether it may hold but one attempt.
    pub(crate) fn set_standing(&mut self, id: WorkerId, quarantined: bool, probation: bool) {
        self.change(id, |worker| (worker.quarantined, worker.probation) = (quarantined, probation));
        if quarantined {
            self.quarantined.insert(id);
        } else {
            self.quarantined.remove(&id);
        }
    }

    /// Says whether the prover of `id` is being started again.
    pub(crate) fn set_starting(&mut self, id: WorkerId, starting: bool) {
        self.change(id, |worker| worker.starting = starting);
    }

    /// Sets when the oldest attempt that `id` holds must have started; `None` if one of them has, or if it holds none.
    pub(crate) fn set_start_deadline(&mut self, id: WorkerId, deadline: Option<Timestamp>) {
        let worker = self.workers.get_mut(&id).expect("only connected workers hold attempts");
        if let Some(earlier) = std::mem::replace(&mut worker.start_deadline, deadline) {
            self.start_deadlines.remove(&(earlier, id));
        }
        self.start_deadlines.extend(deadline.map(|deadline| (deadline, id)));
    }

    /// The first worker whose start deadline has passed at `now`.
    pub(crate) fn first_late_start(&self, now: Timestamp) -> Option<WorkerId> {
        self.start_deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// Says whether `id` is to finish what it has and get nothing more.
    pub(crate) fn set_draining(&mut self, id: WorkerId, draining: bool) {
        self.change(id, |worker| worker.draining = draining);
        if draining {
            self.draining.insert(id);
        } else {
            self.draining.remove(&id);
        }
    }

    /// Workers to be drained that hold nothing now. Each is answered once.
    pub(crate) fn drained(&mut self) -> Vec<WorkerId> {
        let empty: Vec<WorkerId> =
            self.draining.iter().copied().filter(|id| self.workers[id].held.is_empty()).collect();
        empty.iter().for_each(|id| {
            self.draining.remove(id);
        });
        empty
    }

    /// A task of `kind` is expected to take `pace` on `id`.
    pub(crate) fn set_pace(&mut self, id: WorkerId, kind: TaskKind, pace: Duration) {
        self.change(id, |worker| worker.paces[kind.index()] = pace);
    }

    /// What a task of `kind` is expected to take on `id`, if that is known.
    pub(crate) fn pace(&self, id: WorkerId, kind: TaskKind) -> Option<Duration> {
        self.get(id).map(|worker| worker.paces[kind.index()]).filter(|pace| !pace.is_zero())
    }

    /// Of the workers that may get `kind`, the fastest, if a pace is known of any.
    pub(crate) fn fastest(&self, kind: TaskKind) -> Option<WorkerId> {
        self.fastest[kind.index()].first().map(|(_, id)| *id)
    }

    /// Changes what decides where a worker stands in the indices.
    fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        self.leave(id);
        let worker = self.workers.get_mut(&id).expect("only connected workers change");
        change(worker);
        let gets_nothing = worker.draining || worker.quarantined || worker.starting;
        worker.kinds = if gets_nothing { KindSet::default() } else { worker.declared };
        self.enter(id);
    }

    fn enter(&mut self, id: WorkerId) {
        let worker = &self.workers[&id];
        for kind in TaskKind::ALL {
            self.prospects[kind.index()] += usize::from(worker.is_prospect(kind));
        }
        for kind in worker.kinds.iter() {
            self.able[kind.index()] += 1;
            self.held_of[kind.index()] += worker.held_of[kind.index()];
            self.holders[kind.index()] += usize::from(worker.held_of[kind.index()] > 0);
            if worker.has_free_slot() {
                self.free[kind.index()].insert(worker.turn(id, kind));
            }
            let pace = worker.paces[kind.index()];
            if !pace.is_zero() {
                self.fastest[kind.index()].insert((pace, id));
            }
        }
    }

    fn leave(&mut self, id: WorkerId) {
        let worker = &self.workers[&id];
        for kind in TaskKind::ALL {
            self.prospects[kind.index()] -= usize::from(worker.is_prospect(kind));
        }
        for kind in worker.kinds.iter() {
            self.able[kind.index()] -= 1;
            self.held_of[kind.index()] -= worker.held_of[kind.index()];
            self.holders[kind.index()] -= usize::from(worker.held_of[kind.index()] > 0);
            self.free[kind.index()].remove(&worker.turn(id, kind));
            self.fastest[kind.index()].remove(&(worker.paces[kind.index()], id));
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
        self.held += 1;
        if self.gets(id, kind) {
            self.held_of[kind.index()] += 1;
            self.holders[kind.index()] += usize::from(of_kind == 1);
        }
    }

    /// True when `id` may get tasks of `kind` now.
    pub(crate) fn gets(&self, id: WorkerId, kind: TaskKind) -> bool {
        self.get(id).is_some_and(|worker| worker.kinds.contains(kind))
    }

    /// Frees the slot of `attempt`, whose task is of `kind`.
    pub(crate) fn release(&mut self, id: WorkerId, attempt: AttemptId, kind: TaskKind) {
        let of_kind = self.change_held(id, |worker| {
            assert!(worker.held.remove(&attempt), "{id} does not hold {attempt}");
            worker.held_of[kind.index()] -= 1;
            worker.held_of[kind.index()]
        });
        self.held -= 1;
        if self.gets(id, kind) {
            self.held_of[kind.index()] -= 1;
            self.holders[kind.index()] -= usize::from(of_kind == 0);
        }
    }

    fn change_held<T>(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker) -> T) -> T {
        let worker = self.workers.get_mut(&id).expect("live attempts are on connected workers");
        for kind in worker.kinds.iter() {
            self.free[kind.index()].remove(&worker.turn(id, kind));
        }
        let answer = change(worker);
        for kind in worker.kinds.iter().filter(|_| worker.has_free_slot()) {
            self.free[kind.index()].insert(worker.turn(id, kind));
        }
        answer
    }

    /// How many workers may get `kind`, free or not.
    pub(crate) const fn able(&self, kind: TaskKind) -> usize {
        self.able[kind.index()]
    }

    /// True when a worker that can do `kind` has a free slot.
    pub(crate) fn anyone_free(&self, kind: TaskKind) -> bool {
        !self.free[kind.index()].is_empty()
    }

    /// True when a worker that can do `kind` holds nothing.
    pub(crate) fn anyone_idle(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].first().is_some_and(|(held, ..)| *held == 0)
    }

    /// True when a worker that can do `kind` holds something and has a free slot.
    pub(crate) fn anyone_partly_free(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].last().is_some_and(|(held, ..)| *held > 0)
    }

    /// True when `worker` can do `kind` and holds nothing.
    pub(crate) fn is_idle(&self, worker: WorkerId, kind: TaskKind) -> bool {
        let found = self.get(worker).filter(|found| found.held.is_empty() && found.kinds.contains(kind));
        found.is_some_and(Worker::has_free_slot)
    }

    /// True when no connected worker that supports `kind`, now or after a quarantine or a start of its prover, is
    /// outside `excluded`.
    pub(crate) fn all_excluded(&self, kind: TaskKind, excluded: &Exclusions) -> bool {
        let prospects = self.excluded(excluded).filter(|worker| worker.is_prospect(kind));
        prospects.count() == self.prospects[kind.index()]
    }

    /// True when `excluded` names every worker that may get `kind` now.
    pub(crate) fn able_are_excluded(&self, kind: TaskKind, excluded: &Exclusions) -> bool {
        self.excluded(excluded).filter(|worker| worker.kinds.contains(kind)).count() == self.able(kind)
    }

    /// Of the workers outside `excluded` that can do `kind` and hold nothing, the fastest.
    pub(crate) fn first_idle(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        self.first_free(kind, ..BUSY, excluded)
    }

    /// Of the workers outside `excluded` that can do `kind`, hold something and have a free slot, the one that holds
    /// fewest attempts. Then the fastest, then the lowest id.
    pub(crate) fn least_busy(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        self.first_free(kind, BUSY.., excluded)
    }

    fn first_free(&self, kind: TaskKind, range: impl RangeBounds<Turn>, excluded: &Exclusions) -> Option<WorkerId> {
        let mut free = self.free[kind.index()].range(range).map(|(.., worker)| *worker);
        free.find(|worker| excluded.is_empty() || !self.is_excluded(*worker, excluded))
    }

    /// Every worker, after comparing the indices with them.
    pub(crate) fn check_invariants(&self) -> &BTreeMap<WorkerId, Worker> {
        for kind in TaskKind::ALL {
            let able = || self.workers.iter().filter(|(_, worker)| worker.kinds.contains(kind));
            let free: BTreeSet<Turn> = able()
                .filter(|(_, worker)| worker.has_free_slot())
                .map(|(id, worker)| worker.turn(*id, kind))
                .collect();
            let paces = able().map(|(id, worker)| (worker.paces[kind.index()], *id));
            let fastest: BTreeSet<_> = paces.filter(|(pace, _)| !pace.is_zero()).collect();
            assert_eq!(self.fastest[kind.index()], fastest, "the index of the fastest for {kind} is wrong");
            assert_eq!(self.able(kind), able().count(), "the number of workers able to do {kind} is wrong");
            assert_eq!(self.free[kind.index()], free, "the index of free slots for {kind} is wrong");
            let held_of = || able().map(|(_, worker)| worker.held_of[kind.index()]);
            assert_eq!(self.held_of(kind), held_of().sum(), "the number of held attempts of {kind} is wrong");
            let prospects = self.workers.values().filter(|worker| worker.is_prospect(kind)).count();
            assert_eq!(self.prospects[kind.index()], prospects, "the number of prospects for {kind} is wrong");
            let holders = held_of().filter(|held| *held > 0).count();
            assert_eq!(self.holders(kind), holders, "the number of workers that hold attempts of {kind} is wrong");
        }
        let held: usize = self.workers.values().map(|worker| worker.held.len()).sum();
        assert_eq!(self.held, held, "the number of held attempts is wrong");
        let quarantined = self.workers.iter().filter(|(_, worker)| worker.quarantined).map(|(id, _)| *id);
        assert_eq!(self.quarantined, quarantined.collect(), "the index of the quarantined is wrong");
        let sessions = self.workers.iter().map(|(id, worker)| (worker.peer, *id));
        assert_eq!(self.sessions, sessions.collect(), "the index of sessions is wrong");
        let deadlines = self.workers.iter().filter_map(|(id, worker)| Some((worker.start_deadline?, *id)));
        assert_eq!(self.start_deadlines, deadlines.collect(), "the index of start deadlines is wrong");
        for (id, worker) in &self.workers {
            let gets_nothing = worker.draining || worker.quarantined || worker.starting;
            assert_eq!(
                worker.kinds.is_empty(),
                gets_nothing || worker.declared.is_empty(),
                "{id} gets what it may not"
            );
            assert!(!self.draining.contains(id) || worker.draining, "{id} counts as draining and is not");
            assert!(worker.held.len() <= worker.slots, "{id} has {} slots and holds {:?}", worker.slots, worker.held);
            let held: usize = worker.held_of.iter().sum();
            assert_eq!(held, worker.held.len(), "{id} holds {:?}, which are not {held}", worker.held);
        }
        &self.workers
    }
}
