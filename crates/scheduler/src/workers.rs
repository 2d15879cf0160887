//! The connected workers and their slots.
//!
//! A worker is *available* for a task kind if it supports the kind and is not draining, quarantined or starting its
//! prover. An *idle* worker is available and holds no attempt.

use crate::{AttemptId, KindSet, PeerId, TaskKind, Timestamp, WorkerId, exclusions::Exclusions};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeBounds,
    time::Duration,
};

/// The order in which workers with a free slot are chosen: the fewest held attempts, then the shortest expected
/// duration (zero if unknown), then the lowest id.
type Turn = (usize, Duration, WorkerId);

/// In the order of workers with a free slot, workers from here on hold at least one attempt.
const BUSY: Turn = (1, Duration::ZERO, WorkerId(0));

#[derive(Debug)]
pub(crate) struct Worker {
    peer: PeerId,
    /// Bytes of memory that one attempt can use; 0 if unknown.
    memory_bytes: u64,
    slots: usize,
    /// The kinds that the worker supports.
    declared: KindSet,
    /// The kinds that the worker is available for: either all that it supports, or none.
    kinds: KindSet,
    /// The worker may hold only one attempt at a time.
    probation: bool,
    /// The worker finishes its attempts and gets no more.
    draining: bool,
    /// The worker gets nothing until its quarantine ends.
    quarantined: bool,
    /// The prover is being started again. The worker gets nothing until then.
    starting: bool,
    /// The time on the lease clock by which the worker must start one of its attempts. `None` if it has started one, or
    /// holds none.
    start_deadline: Option<Timestamp>,
    /// The expected duration of a task, by kind; zero if unknown.
    paces: [Duration; TaskKind::ALL.len()],
    held: BTreeSet<AttemptId>,
    /// Number of held attempts, by kind.
    held_of: [usize; TaskKind::ALL.len()],
}

impl Worker {
    pub(crate) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns the maximum number of attempts that the worker may hold now.
    pub(crate) const fn slots(&self) -> usize {
        if self.probation { 1 } else { self.slots }
    }

    /// Returns the kinds that the worker is available for.
    pub(crate) const fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// Returns the kinds that the worker supports.
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

    /// Returns the bytes of memory that one attempt can use; 0 if unknown.
    pub(crate) const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    pub(crate) const fn start_deadline(&self) -> Option<Timestamp> {
        self.start_deadline
    }

    /// Returns true if a task of `kind` may reach the worker now or later: it supports the kind and is not draining.
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

/// All connected workers, with indexes for choosing among them.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    /// By kind: the available workers with a free slot, in the order in which they are chosen.
    free: [BTreeSet<Turn>; TaskKind::ALL.len()],
    /// By kind: the available workers whose expected duration is known, the fastest first.
    fastest: [BTreeSet<(Duration, WorkerId)>; TaskKind::ALL.len()],
    /// Draining workers that have not yet been reported as drained.
    draining: BTreeSet<WorkerId>,
    quarantined: BTreeSet<WorkerId>,
    /// By kind: number of available workers, with or without a free slot.
    able: [usize; TaskKind::ALL.len()],
    /// By kind: number of workers that support it and are not draining. This includes workers that are quarantined or
    /// starting their prover.
    prospects: [usize; TaskKind::ALL.len()],
    /// The session of each connected worker.
    sessions: BTreeMap<PeerId, WorkerId>,
    /// Workers that hold attempts and have started none of them, by start deadline.
    start_deadlines: BTreeSet<(Timestamp, WorkerId)>,
    /// Number of attempts that all workers hold.
    held: usize,
    /// By kind: number of attempts of the kind that available workers hold.
    held_of: [usize; TaskKind::ALL.len()],
    /// By kind: number of available workers that hold an attempt of the kind.
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

    /// Returns the number of attempts that all workers hold.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Returns the number of attempts of `kind` that workers available for it hold.
    pub(crate) const fn held_of(&self, kind: TaskKind) -> usize {
        self.held_of[kind.index()]
    }

    /// Returns the number of workers that are available for `kind` and hold an attempt of it.
    pub(crate) const fn holders(&self, kind: TaskKind) -> usize {
        self.holders[kind.index()]
    }

    /// Returns true if a worker outside `excluded` is available for `kind` and holds an attempt of it.
    pub(crate) fn anyone_holds(&self, kind: TaskKind, excluded: &Exclusions) -> bool {
        let holds = |worker: &Worker| worker.kinds.contains(kind) && worker.held_of[kind.index()] > 0;
        self.holders(kind) > self.excluded(excluded).filter(|worker| holds(worker)).count()
    }

    /// Returns the connected workers that `exclusions` excludes. Only exclusions by memory require a look at every
    /// worker.
    fn excluded<'a>(&'a self, exclusions: &'a Exclusions) -> impl Iterator<Item = &'a Worker> {
        let by_memory = exclusions.by_memory().is_some();
        let all = self.workers.values().filter(move |worker| by_memory && worker.is_excluded(exclusions));
        let named = exclusions.peers().iter().filter(move |_| !by_memory);
        all.chain(named.filter_map(|peer| self.get(*self.sessions.get(peer)?)))
    }

    /// Returns true if `exclusions` excludes `id`, or if `id` is not connected.
    pub(crate) fn is_excluded(&self, id: WorkerId, exclusions: &Exclusions) -> bool {
        self.get(id).is_none_or(|worker| worker.is_excluded(exclusions))
    }

    /// Adds a worker that holds no attempt. `paces` contains the expected duration of a task on this worker by kind, or
    /// zero if unknown.
    ///
    /// # Panics
    /// Panics if the worker is already there.
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

    /// Removes a worker that holds no attempt any more.
    pub(crate) fn remove(&mut self, id: WorkerId) {
        self.leave(id);
        let worker = self.workers.remove(&id).expect("only connected workers are removed");
        assert!(worker.held.is_empty(), "{id} is removed while it holds {:?}", worker.held);
        self.sessions.remove(&worker.peer);
        self.draining.remove(&id);
        self.quarantined.remove(&id);
    }

    /// Returns the quarantined workers.
    pub(crate) fn quarantined(&self) -> impl Iterator<Item = WorkerId> {
        self.quarantined.iter().copied()
    }

    /// Sets whether `id` is quarantined, and whether it may hold only one attempt.
    pub(crate) fn set_standing(&mut self, id: WorkerId, quarantined: bool, probation: bool) {
        self.change(id, |worker| (worker.quarantined, worker.probation) = (quarantined, probation));
        if quarantined {
            self.quarantined.insert(id);
        } else {
            self.quarantined.remove(&id);
        }
    }

    /// Sets whether the prover of `id` is being started again.
    pub(crate) fn set_starting(&mut self, id: WorkerId, starting: bool) {
        self.change(id, |worker| worker.starting = starting);
    }

    /// Sets the time by which `id` must start one of its attempts. `None` if it has started one, or holds none.
    pub(crate) fn set_start_deadline(&mut self, id: WorkerId, deadline: Option<Timestamp>) {
        let worker = self.workers.get_mut(&id).expect("only connected workers hold attempts");
        if let Some(earlier) = std::mem::replace(&mut worker.start_deadline, deadline) {
            self.start_deadlines.remove(&(earlier, id));
        }
        self.start_deadlines.extend(deadline.map(|deadline| (deadline, id)));
    }

    /// Returns the first worker whose start deadline has passed at `now`.
    pub(crate) fn first_late_start(&self, now: Timestamp) -> Option<WorkerId> {
        self.start_deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// Sets whether `id` finishes its attempts and gets no more.
    pub(crate) fn set_draining(&mut self, id: WorkerId, draining: bool) {
        self.change(id, |worker| worker.draining = draining);
        if draining {
            self.draining.insert(id);
        } else {
            self.draining.remove(&id);
        }
    }

    /// Returns the draining workers that hold nothing now. Each is returned once.
    pub(crate) fn drained(&mut self) -> Vec<WorkerId> {
        let empty: Vec<WorkerId> =
            self.draining.iter().copied().filter(|id| self.workers[id].held.is_empty()).collect();
        empty.iter().for_each(|id| {
            self.draining.remove(id);
        });
        empty
    }

    /// Sets the expected duration of a task of `kind` on `id`.
    pub(crate) fn set_pace(&mut self, id: WorkerId, kind: TaskKind, pace: Duration) {
        self.change(id, |worker| worker.paces[kind.index()] = pace);
    }

    /// Returns the expected duration of a task of `kind` on `id`, or `None` if unknown.
    pub(crate) fn pace(&self, id: WorkerId, kind: TaskKind) -> Option<Duration> {
        self.get(id).map(|worker| worker.paces[kind.index()]).filter(|pace| !pace.is_zero())
    }

    /// Returns the fastest worker available for `kind`, or `None` if no duration is known.
    pub(crate) fn fastest(&self, kind: TaskKind) -> Option<WorkerId> {
        self.fastest[kind.index()].first().map(|(_, id)| *id)
    }

    /// Applies a change that may move the worker within the indexes.
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
            assert!(worker.held.insert(attempt), "{id} already holds {attempt}");
            worker.held_of[kind.index()] += 1;
            worker.held_of[kind.index()]
        });
        self.held += 1;
        if self.gets(id, kind) {
            self.held_of[kind.index()] += 1;
            self.holders[kind.index()] += usize::from(of_kind == 1);
        }
    }

    /// Returns true if `id` is available for `kind`.
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
        let outcome = change(worker);
        for kind in worker.kinds.iter().filter(|_| worker.has_free_slot()) {
            self.free[kind.index()].insert(worker.turn(id, kind));
        }
        outcome
    }

    /// Returns the number of workers available for `kind`, with or without a free slot.
    pub(crate) const fn able(&self, kind: TaskKind) -> usize {
        self.able[kind.index()]
    }

    /// Returns true if a worker available for `kind` has a free slot.
    pub(crate) fn anyone_free(&self, kind: TaskKind) -> bool {
        !self.free[kind.index()].is_empty()
    }

    /// Returns true if a worker available for `kind` holds no attempt.
    pub(crate) fn anyone_idle(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].first().is_some_and(|(held, ..)| *held == 0)
    }

    /// Returns true if a worker available for `kind` holds an attempt and has a free slot.
    pub(crate) fn anyone_partly_free(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].last().is_some_and(|(held, ..)| *held > 0)
    }

    /// Returns true if `worker` is available for `kind` and holds no attempt.
    pub(crate) fn is_idle(&self, worker: WorkerId, kind: TaskKind) -> bool {
        let found = self.get(worker).filter(|found| found.held.is_empty() && found.kinds.contains(kind));
        found.is_some_and(Worker::has_free_slot)
    }

    /// Returns true if `excluded` excludes every worker that supports `kind` and is not draining. This includes workers
    /// that are quarantined or starting their prover.
    pub(crate) fn all_excluded(&self, kind: TaskKind, excluded: &Exclusions) -> bool {
        let prospects = self.excluded(excluded).filter(|worker| worker.is_prospect(kind));
        prospects.count() == self.prospects[kind.index()]
    }

    /// Returns for each kind the largest memory of a worker that supports the kind and is not draining, or `None` if
    /// there is no such worker.
    pub(crate) fn largest_memory(&self) -> [Option<u64>; TaskKind::ALL.len()] {
        TaskKind::ALL.map(|kind| {
            let prospects = self.workers.values().filter(|worker| worker.is_prospect(kind));
            prospects.map(Worker::memory_bytes).max()
        })
    }

    /// Returns true if `excluded` excludes every worker available for `kind`.
    pub(crate) fn able_are_excluded(&self, kind: TaskKind, excluded: &Exclusions) -> bool {
        self.excluded(excluded).filter(|worker| worker.kinds.contains(kind)).count() == self.able(kind)
    }

    /// Returns the fastest idle worker for `kind` outside `excluded`.
    pub(crate) fn first_idle(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        self.first_free(kind, ..BUSY, excluded)
    }

    /// Returns the worker outside `excluded` that is available for `kind`, holds an attempt and has a free slot. The
    /// one with the fewest attempts comes first, then the fastest, then the lowest id.
    pub(crate) fn least_busy(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        self.first_free(kind, BUSY.., excluded)
    }

    fn first_free(&self, kind: TaskKind, range: impl RangeBounds<Turn>, excluded: &Exclusions) -> Option<WorkerId> {
        let mut free = self.free[kind.index()].range(range).map(|(.., worker)| *worker);
        free.find(|worker| excluded.is_empty() || !self.is_excluded(*worker, excluded))
    }

    /// Checks the indexes against the workers. Returns all workers.
    pub(crate) fn check_invariants(&self) -> &BTreeMap<WorkerId, Worker> {
        for kind in TaskKind::ALL {
            let able = || self.workers.iter().filter(|(_, worker)| worker.kinds.contains(kind));
            let free: BTreeSet<Turn> = able()
                .filter(|(_, worker)| worker.has_free_slot())
                .map(|(id, worker)| worker.turn(*id, kind))
                .collect();
            let paces = able().map(|(id, worker)| (worker.paces[kind.index()], *id));
            let fastest: BTreeSet<_> = paces.filter(|(pace, _)| !pace.is_zero()).collect();
            assert_eq!(self.fastest[kind.index()], fastest, "the index of the fastest workers for {kind} is wrong");
            assert_eq!(self.able(kind), able().count(), "the number of workers available for {kind} is wrong");
            assert_eq!(self.free[kind.index()], free, "the index of free slots for {kind} is wrong");
            let held_of = || able().map(|(_, worker)| worker.held_of[kind.index()]);
            assert_eq!(self.held_of(kind), held_of().sum(), "the number of held attempts of {kind} is wrong");
            let prospects = self.workers.values().filter(|worker| worker.is_prospect(kind)).count();
            assert_eq!(
                self.prospects[kind.index()],
                prospects,
                "the number of prospective workers for {kind} is wrong"
            );
            let holders = held_of().filter(|held| *held > 0).count();
            assert_eq!(self.holders(kind), holders, "the number of workers that hold attempts of {kind} is wrong");
        }
        let held: usize = self.workers.values().map(|worker| worker.held.len()).sum();
        assert_eq!(self.held, held, "the number of held attempts is wrong");
        let quarantined = self.workers.iter().filter(|(_, worker)| worker.quarantined).map(|(id, _)| *id);
        assert_eq!(self.quarantined, quarantined.collect(), "the index of quarantined workers is wrong");
        let sessions = self.workers.iter().map(|(id, worker)| (worker.peer, *id));
        assert_eq!(self.sessions, sessions.collect(), "the index of sessions is wrong");
        let deadlines = self.workers.iter().filter_map(|(id, worker)| Some((worker.start_deadline?, *id)));
        assert_eq!(self.start_deadlines, deadlines.collect(), "the index of start deadlines is wrong");
        for (id, worker) in &self.workers {
            let gets_nothing = worker.draining || worker.quarantined || worker.starting;
            assert_eq!(
                worker.kinds.is_empty(),
                gets_nothing || worker.declared.is_empty(),
                "{id} is available for the wrong kinds"
            );
            assert!(
                !self.draining.contains(id) || worker.draining,
                "{id} is indexed as draining, but it is not draining"
            );
            assert!(worker.held.len() <= worker.slots, "{id} has {} slots and holds {:?}", worker.slots, worker.held);
            let held: usize = worker.held_of.iter().sum();
            assert_eq!(
                held,
                worker.held.len(),
                "{id} holds {:?}, but the counts by kind add up to {held}",
                worker.held
            );
        }
        &self.workers
    }
}
