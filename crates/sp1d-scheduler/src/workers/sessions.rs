//! The ready workers and their slots.
//!
//! - A *ready* worker has an open session in which its prover was loaded. It stays ready while its prover is started
//!   again. The scheduler does not know a connected worker that was never ready in its session.
//! - An *eligible* worker for a task kind supports the kind and is not draining. It may get such a task now or later.
//! - An *available* worker for the kind is eligible, is not quarantined for the kind, and does not start its prover.
//! - An *idle* worker is available and holds no attempt.

use super::ready_worker::ReadyWorker;
use crate::{AttemptId, KindSet, SessionId, ShardRoom, TaskKind, Timestamp, WorkerId, queue::Exclusions};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeBounds,
    time::Duration,
};

/// The order in which workers with a free slot are chosen: the fewest held attempts, then the shortest expected
/// duration (zero if unknown), then the lowest id.
type FreeSlotRank = (usize, Duration, SessionId);

/// In the order of workers with a free slot, workers from here on hold at least one attempt.
const BUSY: FreeSlotRank = (1, Duration::ZERO, SessionId(0));

#[derive(Debug)]
pub(crate) struct SessionState {
    worker: WorkerId,
    /// Whether it may get the tasks of tries that are only for trusted workers.
    trusted: bool,
    /// See [`ReadyWorker::comparable_bytes`].
    comparable_bytes: u64,
    shard_room: ShardRoom,
    slots: usize,
    /// The kinds that the worker supports.
    supported_kinds: KindSet,
    /// The kinds that the worker is available for.
    available_kinds: KindSet,
    /// The kinds of which the worker gets one task at a time. It may continue several attempts that it has started.
    on_probation: KindSet,
    /// The worker finishes the attempts that it has started, and gets no others.
    draining: bool,
    /// The kinds of which the worker gets no task until its quarantine ends.
    quarantined: KindSet,
    /// The prover is being started again. The worker gets nothing until then.
    starting: bool,
    /// The worker has started an attempt or failed at one since its prover was loaded. Attempts of an earlier session
    /// count too: its prover may have worked then.
    has_worked: bool,
    /// The time on the lease clock by which the worker must start one of its attempts. `None` if it has started one, or
    /// holds none.
    start_deadline: Option<Timestamp>,
    /// The expected duration of a task, by kind; zero if unknown.
    paces: [Duration; TaskKind::ALL.len()],
    held: BTreeSet<AttemptId>,
    /// Number of held attempts, by kind.
    held_of: [usize; TaskKind::ALL.len()],
}

impl SessionState {
    pub(crate) const fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Returns the maximum number of attempts that the worker may hold.
    pub(crate) const fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the kinds that the worker is available for.
    pub(crate) const fn available_kinds(&self) -> KindSet {
        self.available_kinds
    }

    /// Returns the kinds that the worker supports.
    pub(crate) const fn supported_kinds(&self) -> KindSet {
        self.supported_kinds
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Returns the kinds for which the worker is quarantined, those that it does not support included.
    pub(crate) const fn quarantined(&self) -> KindSet {
        self.quarantined
    }

    /// Returns the kinds for which the worker is on probation.
    pub(crate) const fn on_probation(&self) -> KindSet {
        self.on_probation
    }

    pub(crate) const fn is_starting(&self) -> bool {
        self.starting
    }

    /// Returns true if the worker has started an attempt or failed at one since its prover was loaded, or has become
    /// ready with attempts of an earlier session.
    pub(crate) const fn has_worked(&self) -> bool {
        self.has_worked
    }

    /// Returns [`ReadyWorker::comparable_bytes`].
    pub(crate) const fn comparable_bytes(&self) -> u64 {
        self.comparable_bytes
    }

    pub(crate) const fn shard_room(&self) -> ShardRoom {
        self.shard_room
    }

    pub(crate) const fn start_deadline(&self) -> Option<Timestamp> {
        self.start_deadline
    }

    /// Returns true if the worker is eligible for `kind`, even if it is quarantined or starts its prover.
    pub(crate) const fn is_eligible(&self, kind: TaskKind) -> bool {
        self.supported_kinds.contains(kind) && !self.draining
    }

    pub(crate) fn is_excluded(&self, exclusions: &Exclusions) -> bool {
        exclusions.contains(self.worker, self.trusted, self.comparable_bytes, self.shard_room)
    }

    pub(crate) const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Returns the expected durations of tasks by index of the kind, `None` if unknown.
    pub(crate) fn paces(&self) -> [Option<Duration>; TaskKind::ALL.len()] {
        self.paces.map(|pace| Some(pace).filter(|pace| !pace.is_zero()))
    }

    fn free_slot_rank(&self, id: SessionId, kind: TaskKind) -> FreeSlotRank {
        (self.held.len(), self.paces[kind.index()], id)
    }

    pub(crate) const fn held(&self) -> &BTreeSet<AttemptId> {
        &self.held
    }

    /// Returns true if the worker holds fewer attempts than it may. Probation is another limit.
    pub(crate) fn has_room(&self) -> bool {
        self.held.len() < self.slots
    }

    /// Returns true if the worker may get one more attempt of `kind`.
    pub(crate) fn has_free_slot(&self, kind: TaskKind) -> bool {
        let is_at_limit_of_probation = self.on_probation.contains(kind) && self.held_of[kind.index()] > 0;
        self.has_room() && !is_at_limit_of_probation
    }

    /// Returns the kinds that the worker should be available for.
    fn compute_available_kinds(&self) -> KindSet {
        if self.draining || self.starting { KindSet::default() } else { self.supported_kinds.without(self.quarantined) }
    }
}

/// All ready workers, with indexes for choosing among them.
#[derive(Debug, Default)]
pub(crate) struct WorkerSessions {
    sessions: BTreeMap<SessionId, SessionState>,
    /// By kind: the available workers with a free slot, in the order in which they are chosen.
    free: [BTreeSet<FreeSlotRank>; TaskKind::ALL.len()],
    /// By kind: the available workers whose expected duration is known, the fastest first.
    fastest: [BTreeSet<(Duration, SessionId)>; TaskKind::ALL.len()],
    /// Draining workers that have not yet been reported as drained.
    draining: BTreeSet<SessionId>,
    /// Workers that are quarantined for at least one kind.
    quarantined: BTreeSet<SessionId>,
    /// By kind: number of available workers, with or without a free slot.
    available: [usize; TaskKind::ALL.len()],
    /// By kind: number of eligible workers, with those that are quarantined or start their prover.
    eligible: [usize; TaskKind::ALL.len()],
    /// The session of each ready worker.
    by_worker: BTreeMap<WorkerId, SessionId>,
    /// Workers that hold attempts and have started none of them, by start deadline.
    start_deadlines: BTreeSet<(Timestamp, SessionId)>,
    /// Number of attempts that all workers hold.
    held: usize,
    /// By kind: number of attempts of the kind that available workers hold.
    held_by_available: [usize; TaskKind::ALL.len()],
    /// By kind: number of available workers that hold an attempt of the kind.
    workers_with_attempts: [usize; TaskKind::ALL.len()],
    /// The sessions that changed since the last call of [`WorkerSessions::take_changed`], those that were removed
    /// included.
    changed: BTreeSet<SessionId>,
}

impl WorkerSessions {
    pub(crate) fn get(&self, session: SessionId) -> Option<&SessionState> {
        self.sessions.get(&session)
    }

    /// Returns the ready workers, in order of their sessions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SessionState> {
        self.sessions.values()
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns the number of attempts that all workers hold.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Returns the number of attempts of `kind` that workers available for it hold.
    pub(crate) const fn held_by_available(&self, kind: TaskKind) -> usize {
        self.held_by_available[kind.index()]
    }

    /// Returns the number of workers that are available for `kind` and hold an attempt of it.
    pub(crate) const fn workers_with_attempts(&self, kind: TaskKind) -> usize {
        self.workers_with_attempts[kind.index()]
    }

    /// Returns true if a worker outside `exclusions` is available for `kind` and holds an attempt of it.
    pub(crate) fn any_with_attempts_outside(&self, kind: TaskKind, exclusions: &Exclusions) -> bool {
        let holds =
            |session: &SessionState| session.available_kinds.contains(kind) && session.held_of[kind.index()] > 0;
        self.workers_with_attempts(kind) > self.excluded_sessions(exclusions).filter(|session| holds(session)).count()
    }

    /// Returns the ready workers that `exclusions` excludes. Only exclusions by memory or trust require a look at every
    /// worker.
    fn excluded_sessions<'a>(&'a self, exclusions: &'a Exclusions) -> impl Iterator<Item = &'a SessionState> {
        let by_rule = exclusions.excludes_by_rule();
        let all = self.sessions.values().filter(move |session| by_rule && session.is_excluded(exclusions));
        let named = exclusions.workers().iter().filter(move |_| !by_rule);
        all.chain(named.filter_map(|worker| self.get(*self.by_worker.get(worker)?)))
    }

    /// Returns true if `exclusions` excludes `id`, or if `id` has no ready worker.
    pub(crate) fn is_excluded(&self, id: SessionId, exclusions: &Exclusions) -> bool {
        self.get(id).is_none_or(|session| session.is_excluded(exclusions))
    }

    /// Adds a worker that holds no attempt yet: its held attempts continue later. `paces` contains the expected
    /// duration of a task on this worker by kind, or zero if unknown.
    ///
    /// # Panics
    /// Panics if the worker is already there.
    pub(crate) fn insert(&mut self, id: SessionId, ready: &ReadyWorker, paces: [Duration; TaskKind::ALL.len()]) {
        let ReadyWorker { worker, trusted, comparable_bytes, shard_room, slots, supported_kinds, .. } = *ready;
        let session = SessionState {
            worker,
            trusted,
            comparable_bytes,
            shard_room,
            slots: usize::try_from(slots.max(1)).unwrap_or(usize::MAX),
            supported_kinds,
            available_kinds: supported_kinds,
            on_probation: KindSet::default(),
            draining: false,
            quarantined: KindSet::default(),
            starting: false,
            has_worked: !ready.holds.is_empty(),
            start_deadline: None,
            paces,
            held: BTreeSet::new(),
            held_of: [0; TaskKind::ALL.len()],
        };
        let added = self.sessions.insert(id, session);
        assert!(added.is_none(), "{id} was added twice");
        let other = self.by_worker.insert(worker, id);
        assert!(other.is_none(), "{worker} has two sessions");
        self.changed.insert(id);
        self.enter_indexes(id);
    }

    /// Removes a worker that holds no attempt any more.
    pub(crate) fn remove(&mut self, id: SessionId) {
        self.leave_indexes(id);
        let session = self.sessions.remove(&id).expect("only ready workers are removed");
        assert!(session.held.is_empty(), "{id} is removed while it holds {:?}", session.held);
        self.by_worker.remove(&session.worker);
        self.draining.remove(&id);
        self.quarantined.remove(&id);
        self.changed.insert(id);
    }

    /// Returns the workers that changed since the last call, those that were removed included.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<SessionId> {
        std::mem::take(&mut self.changed)
    }

    /// Returns the workers that are quarantined for at least one kind.
    pub(crate) fn quarantined(&self) -> impl Iterator<Item = SessionId> {
        self.quarantined.iter().copied()
    }

    /// Sets the kinds for which `id` is quarantined, and those of which it gets one task at a time.
    pub(crate) fn set_standing(&mut self, id: SessionId, quarantined: KindSet, on_probation: KindSet) {
        self.change(id, |session| (session.quarantined, session.on_probation) = (quarantined, on_probation));
        if quarantined.is_empty() {
            self.quarantined.remove(&id);
        } else {
            self.quarantined.insert(id);
        }
    }

    /// Sets whether the prover of `id` is being started again.
    pub(crate) fn set_starting(&mut self, id: SessionId, starting: bool) {
        self.change(id, |session| (session.starting, session.has_worked) = (starting, false));
    }

    /// Notes that `id` has started an attempt or failed at one.
    pub(crate) fn note_work(&mut self, id: SessionId) {
        self.sessions.get_mut(&id).expect("live attempts are on ready workers").has_worked = true;
    }

    /// Sets the time by which `id` must start one of its attempts. `None` if it has started one, or holds none.
    pub(crate) fn set_start_deadline(&mut self, id: SessionId, deadline: Option<Timestamp>) {
        let session = self.sessions.get_mut(&id).expect("only ready workers hold attempts");
        if let Some(earlier) = std::mem::replace(&mut session.start_deadline, deadline) {
            self.start_deadlines.remove(&(earlier, id));
        }
        self.start_deadlines.extend(deadline.map(|deadline| (deadline, id)));
    }

    /// Returns the workers that hold attempts and have started none of them, with their start deadlines. The earliest
    /// deadline comes first.
    pub(crate) fn start_deadlines(&self) -> impl Iterator<Item = (Timestamp, SessionId)> {
        self.start_deadlines.iter().copied()
    }

    /// Returns the first worker whose start deadline has passed at `now`.
    pub(crate) fn first_missed_start_deadline(&self, now: Timestamp) -> Option<SessionId> {
        self.start_deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// Sets whether `id` finishes the attempts that it has started, and gets no others.
    pub(crate) fn set_draining(&mut self, id: SessionId, draining: bool) {
        self.change(id, |session| session.draining = draining);
        if draining {
            self.draining.insert(id);
        } else {
            self.draining.remove(&id);
        }
    }

    /// Returns the draining workers that hold nothing now. Each is returned once.
    pub(crate) fn take_drained(&mut self) -> Vec<SessionId> {
        let empty: Vec<SessionId> =
            self.draining.iter().copied().filter(|id| self.sessions[id].held.is_empty()).collect();
        empty.iter().for_each(|id| {
            self.draining.remove(id);
        });
        empty
    }

    /// Sets the expected duration of a task of `kind` on `id`.
    pub(crate) fn set_pace(&mut self, id: SessionId, kind: TaskKind, pace: Duration) {
        let session = self.sessions.get_mut(&id).expect("only ready workers change");
        let before = session.paces[kind.index()];
        if before == pace {
            return;
        }
        let rank_before = session.free_slot_rank(id, kind);
        session.paces[kind.index()] = pace;
        // A pace changes with almost every accepted result. It affects only two indexes, and only those of its kind.
        if session.available_kinds.contains(kind) {
            self.free[kind.index()].remove(&rank_before);
            if session.has_free_slot(kind) {
                self.free[kind.index()].insert(session.free_slot_rank(id, kind));
            }
            self.fastest[kind.index()].remove(&(before, id));
            if !pace.is_zero() {
                self.fastest[kind.index()].insert((pace, id));
            }
        }
        self.changed.insert(id);
    }

    /// Returns the expected duration of a task of `kind` on `id`, or `None` if unknown.
    pub(crate) fn pace(&self, id: SessionId, kind: TaskKind) -> Option<Duration> {
        self.get(id).map(|session| session.paces[kind.index()]).filter(|pace| !pace.is_zero())
    }

    /// Returns the fastest worker available for `kind`, or `None` if no duration is known.
    pub(crate) fn fastest(&self, kind: TaskKind) -> Option<SessionId> {
        self.fastest[kind.index()].first().map(|(_, id)| *id)
    }

    /// Returns the workers available for `kind` whose expected duration is at least `pace`, with this duration, the
    /// slowest first.
    pub(crate) fn slowest(&self, kind: TaskKind, pace: Duration) -> impl Iterator<Item = (Duration, SessionId)> {
        self.fastest[kind.index()].range((pace, SessionId(0))..).rev().copied()
    }

    /// Applies a change that may move the worker within the indexes.
    fn change(&mut self, id: SessionId, change: impl FnOnce(&mut SessionState)) {
        self.leave_indexes(id);
        let session = self.sessions.get_mut(&id).expect("only ready workers change");
        change(session);
        session.available_kinds = session.compute_available_kinds();
        self.changed.insert(id);
        self.enter_indexes(id);
    }

    fn enter_indexes(&mut self, id: SessionId) {
        let session = &self.sessions[&id];
        for kind in TaskKind::ALL {
            self.eligible[kind.index()] += usize::from(session.is_eligible(kind));
        }
        for kind in session.available_kinds.iter() {
            self.available[kind.index()] += 1;
            self.held_by_available[kind.index()] += session.held_of[kind.index()];
            self.workers_with_attempts[kind.index()] += usize::from(session.held_of[kind.index()] > 0);
            if session.has_free_slot(kind) {
                self.free[kind.index()].insert(session.free_slot_rank(id, kind));
            }
            let pace = session.paces[kind.index()];
            if !pace.is_zero() {
                self.fastest[kind.index()].insert((pace, id));
            }
        }
    }

    fn leave_indexes(&mut self, id: SessionId) {
        let session = &self.sessions[&id];
        for kind in TaskKind::ALL {
            self.eligible[kind.index()] -= usize::from(session.is_eligible(kind));
        }
        for kind in session.available_kinds.iter() {
            self.available[kind.index()] -= 1;
            self.held_by_available[kind.index()] -= session.held_of[kind.index()];
            self.workers_with_attempts[kind.index()] -= usize::from(session.held_of[kind.index()] > 0);
            self.free[kind.index()].remove(&session.free_slot_rank(id, kind));
            self.fastest[kind.index()].remove(&(session.paces[kind.index()], id));
        }
    }

    /// Puts `attempt`, whose task is of `kind`, into a free slot of `id`.
    pub(crate) fn take_slot(&mut self, id: SessionId, attempt: AttemptId, kind: TaskKind) {
        let of_kind = self.change_held(id, |session| {
            // A worker on probation may continue several attempts that it has started before.
            assert!(session.has_room(), "{id} has no slot for {attempt}");
            assert!(session.held.insert(attempt), "{id} already holds {attempt}");
            session.held_of[kind.index()] += 1;
            session.held_of[kind.index()]
        });
        self.held += 1;
        if self.is_available(id, kind) {
            self.held_by_available[kind.index()] += 1;
            self.workers_with_attempts[kind.index()] += usize::from(of_kind == 1);
        }
    }

    /// Returns true if `id` is available for `kind`.
    pub(crate) fn is_available(&self, id: SessionId, kind: TaskKind) -> bool {
        self.get(id).is_some_and(|session| session.available_kinds.contains(kind))
    }

    /// Frees the slot of `attempt`, whose task is of `kind`.
    pub(crate) fn free_slot(&mut self, id: SessionId, attempt: AttemptId, kind: TaskKind) {
        let of_kind = self.change_held(id, |session| {
            assert!(session.held.remove(&attempt), "{id} does not hold {attempt}");
            session.held_of[kind.index()] -= 1;
            session.held_of[kind.index()]
        });
        self.held -= 1;
        if self.is_available(id, kind) {
            self.held_by_available[kind.index()] -= 1;
            self.workers_with_attempts[kind.index()] -= usize::from(of_kind == 0);
        }
    }

    fn change_held<T>(&mut self, id: SessionId, change: impl FnOnce(&mut SessionState) -> T) -> T {
        let session = self.sessions.get_mut(&id).expect("live attempts are on ready workers");
        for kind in session.available_kinds.iter() {
            self.free[kind.index()].remove(&session.free_slot_rank(id, kind));
        }
        let outcome = change(session);
        for kind in session.available_kinds.iter().filter(|kind| session.has_free_slot(*kind)) {
            self.free[kind.index()].insert(session.free_slot_rank(id, kind));
        }
        self.changed.insert(id);
        outcome
    }

    /// Returns the number of workers available for `kind`, with or without a free slot.
    pub(crate) const fn available(&self, kind: TaskKind) -> usize {
        self.available[kind.index()]
    }

    /// Returns true if a worker available for `kind` holds no attempt.
    pub(crate) fn any_idle(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].first().is_some_and(|(held, ..)| *held == 0)
    }

    /// Returns true if a worker available for `kind` holds an attempt and has a free slot.
    pub(crate) fn any_busy_with_free_slot(&self, kind: TaskKind) -> bool {
        self.free[kind.index()].last().is_some_and(|(held, ..)| *held > 0)
    }

    /// Returns true if `session` is available for `kind` and holds no attempt.
    pub(crate) fn is_idle(&self, session: SessionId, kind: TaskKind) -> bool {
        let found = self.get(session).filter(|found| found.held.is_empty() && found.available_kinds.contains(kind));
        found.is_some_and(|found| found.has_free_slot(kind))
    }

    /// Returns true if `exclusions` excludes every eligible worker, with those that are quarantined or start their
    /// prover.
    pub(crate) fn all_excluded(&self, kind: TaskKind, exclusions: &Exclusions) -> bool {
        let eligible = self.excluded_sessions(exclusions).filter(|session| session.is_eligible(kind));
        eligible.count() == self.eligible[kind.index()]
    }

    /// Returns true if `exclusions` excludes every worker available for `kind`.
    pub(crate) fn available_are_excluded(&self, kind: TaskKind, exclusions: &Exclusions) -> bool {
        let available = self.excluded_sessions(exclusions).filter(|session| session.available_kinds.contains(kind));
        available.count() == self.available(kind)
    }

    /// Returns the fastest idle worker for `kind` outside `exclusions`.
    pub(crate) fn fastest_idle(&self, kind: TaskKind, exclusions: &Exclusions) -> Option<SessionId> {
        self.first_free(kind, ..BUSY, exclusions)
    }

    /// Returns the worker outside `exclusions` that is available for `kind`, holds an attempt and has a free slot. The
    /// one with the fewest attempts comes first, then the fastest, then the lowest id.
    pub(crate) fn least_busy(&self, kind: TaskKind, exclusions: &Exclusions) -> Option<SessionId> {
        self.first_free(kind, BUSY.., exclusions)
    }

    fn first_free(
        &self,
        kind: TaskKind,
        range: impl RangeBounds<FreeSlotRank>,
        exclusions: &Exclusions,
    ) -> Option<SessionId> {
        let mut free = self.free[kind.index()].range(range).map(|(.., session)| *session);
        free.find(|session| exclusions.is_empty() || !self.is_excluded(*session, exclusions))
    }

    /// Checks the indexes against the workers. Returns all workers.
    pub(crate) fn check_invariants(&self) -> &BTreeMap<SessionId, SessionState> {
        for kind in TaskKind::ALL {
            let available = || self.sessions.iter().filter(|(_, session)| session.available_kinds.contains(kind));
            let free: BTreeSet<FreeSlotRank> = available()
                .filter(|(_, session)| session.has_free_slot(kind))
                .map(|(id, session)| session.free_slot_rank(*id, kind))
                .collect();
            let paces = available().map(|(id, session)| (session.paces[kind.index()], *id));
            let fastest: BTreeSet<_> = paces.filter(|(pace, _)| !pace.is_zero()).collect();
            assert_eq!(self.fastest[kind.index()], fastest, "the index of the fastest workers for {kind} is wrong");
            assert_eq!(
                self.available(kind),
                available().count(),
                "the number of workers available for {kind} is wrong"
            );
            assert_eq!(self.free[kind.index()], free, "the index of free slots for {kind} is wrong");
            let held_of = || available().map(|(_, session)| session.held_of[kind.index()]);
            assert_eq!(
                self.held_by_available(kind),
                held_of().sum::<usize>(),
                "the number of held attempts of {kind} is wrong"
            );
            let eligible = self.sessions.values().filter(|session| session.is_eligible(kind)).count();
            assert_eq!(self.eligible[kind.index()], eligible, "the number of eligible workers for {kind} is wrong");
            let with_attempts = held_of().filter(|held| *held > 0).count();
            assert_eq!(
                self.workers_with_attempts(kind),
                with_attempts,
                "the number of workers that hold attempts of {kind} is wrong"
            );
        }
        let held: usize = self.sessions.values().map(|session| session.held.len()).sum();
        assert_eq!(self.held, held, "the number of held attempts is wrong");
        let quarantined = self.sessions.iter().filter(|(_, session)| !session.quarantined.is_empty());
        let quarantined = quarantined.map(|(id, _)| *id);
        assert_eq!(self.quarantined, quarantined.collect(), "the index of quarantined workers is wrong");
        let of_worker = self.sessions.iter().map(|(id, session)| (session.worker, *id));
        assert_eq!(self.by_worker, of_worker.collect(), "the index of sessions is wrong");
        let deadlines = self.sessions.iter().filter_map(|(id, session)| Some((session.start_deadline?, *id)));
        assert_eq!(self.start_deadlines, deadlines.collect(), "the index of start deadlines is wrong");
        for (id, session) in &self.sessions {
            assert_eq!(
                session.available_kinds,
                session.compute_available_kinds(),
                "{id} is available for the wrong kinds"
            );
            assert!(
                !self.draining.contains(id) || session.draining,
                "{id} is indexed as draining, but it is not draining"
            );
            assert!(
                session.held.len() <= session.slots,
                "{id} has {} slots and holds {:?}",
                session.slots,
                session.held
            );
            let held: usize = session.held_of.iter().sum();
            assert_eq!(
                held,
                session.held.len(),
                "{id} holds {:?}, but the counts by kind add up to {held}",
                session.held
            );
        }
        &self.sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OriginId;

    const ID: SessionId = SessionId(1);
    const KIND: TaskKind = TaskKind::ProveShard;

    /// Returns two workers with two slots each. Expected durations are known only for the second one.
    fn two_workers() -> WorkerSessions {
        let mut sessions = WorkerSessions::default();
        for (id, seconds) in [(ID, 0), (SessionId(2), 4)] {
            let ready = ReadyWorker {
                worker: WorkerId(id.0),
                origin: OriginId(id.0.into()),
                trusted: false,
                comparable_bytes: 0,
                shard_room: ShardRoom::Unknown,
                slots: 2,
                supported_kinds: KindSet::all(),
                holds: Vec::new(),
            };
            sessions.insert(id, &ready, [Duration::from_secs(seconds); TaskKind::ALL.len()]);
        }
        sessions
    }

    /// Prepares a worker with `prepare` and sets its pace several times. Each time, checks all indexes.
    #[track_caller]
    fn check_paces(prepare: impl FnOnce(&mut WorkerSessions)) {
        let mut sessions = two_workers();
        prepare(&mut sessions);
        for seconds in [9, 9, 3, 0, 5] {
            let pace = Duration::from_secs(seconds);
            sessions.set_pace(ID, KIND, pace);
            sessions.check_invariants();
            assert_eq!(sessions.pace(ID, KIND), Some(pace).filter(|pace| !pace.is_zero()));
        }
    }

    #[test]
    fn a_new_pace_keeps_the_indexes_exact() {
        let only = KindSet::only(KIND);
        check_paces(|_| {});
        check_paces(|sessions| sessions.take_slot(ID, AttemptId(1), KIND));
        check_paces(|sessions| sessions.take_slot(ID, AttemptId(1), TaskKind::ShrinkWrap));
        check_paces(|sessions| (1..=2).for_each(|id| sessions.take_slot(ID, AttemptId(id), KIND)));
        check_paces(|sessions| {
            sessions.set_standing(ID, KindSet::default(), only);
            sessions.take_slot(ID, AttemptId(1), KIND);
        });
        check_paces(|sessions| sessions.set_standing(ID, only, KindSet::default()));
        check_paces(|sessions| sessions.set_starting(ID, true));
        check_paces(|sessions| sessions.set_draining(ID, true));
    }

    #[test]
    fn only_a_different_pace_is_a_change() {
        let mut sessions = two_workers();
        let _ = sessions.take_changed();
        sessions.set_pace(ID, KIND, Duration::ZERO);
        assert!(sessions.take_changed().is_empty());
        sessions.set_pace(ID, KIND, Duration::from_secs(3));
        assert_eq!(sessions.take_changed(), [ID].into());
        assert_eq!(sessions.fastest(KIND), Some(ID));
    }
}
