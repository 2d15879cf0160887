//! Choosing, apart from applying: what is done next with the free slots.

use crate::{
    AttemptId, KindSet, TaskId, TaskKind, Timestamp, WorkerId,
    attempt::{Attempt, State},
    crew::Crews,
    exclusions::Exclusions,
    lanes::Lanes,
    queue::Queue,
    workers::Workers,
};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// Attempts that can be taken back for an idle worker, the newest first: held, not begun now or earlier, and not the
/// only one of their worker.
pub(crate) type Stealable = Lanes<Reverse<AttemptId>>;

/// What a choice is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) stealable: &'a Stealable,
    pub(crate) workers: &'a Workers,
    /// How many workers are to share the tasks of each kind; `None` when nobody is to be left free.
    pub(crate) crews: Option<&'a Crews>,
    /// The worker that the event at hand took an attempt from.
    pub(crate) at_work: Option<AtWork>,
    /// A task that may still be assigned excludes fewer workers than this.
    pub(crate) max_excluded: usize,
    /// How far the workers are with what they hold; `None` when nothing is made of how long tasks take.
    pub(crate) pacing: Option<Pacing<'a>>,
}

/// How far the workers are with what they hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing<'a> {
    pub(crate) attempts: &'a BTreeMap<AttemptId, Attempt>,
    /// By the leases' clock.
    pub(crate) now: Timestamp,
}

impl Pacing<'_> {
    /// What is left of an attempt; `None` when that cannot be told.
    fn left(&self, workers: &Workers, id: AttemptId) -> Option<Duration> {
        let attempt = &self.attempts[&id];
        let pace = workers.pace(attempt.worker, attempt.kind)?;
        let ran = attempt.began.map_or(Duration::ZERO, |began| self.now.saturating_since(began));
        match attempt.state {
            // One that takes longer than its worker ever took may take for ever.
            State::Held { started: Some(_) } if !attempt.overdue => pace.checked_sub(ran),
            State::Held { started: Some(_) } => None,
            _ => Some(pace),
        }
    }

    /// When `worker` has done all that it holds up to `last`, or all, from now.
    fn busy_for(&self, workers: &Workers, worker: WorkerId, last: Option<AttemptId>) -> Option<Duration> {
        let held = workers.get(worker)?.held().iter().copied();
        held.filter(|id| last.is_none_or(|last| *id <= last)).map(|id| self.left(workers, id)).sum()
    }
}

/// A worker that has just ended an attempt, so it has not been idle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtWork {
    pub(crate) worker: WorkerId,
    /// What it has ended.
    pub(crate) attempt: AttemptId,
}

impl Snapshot<'_> {
    /// The most useful waiting task, of the first proof by their turns of which a worker with a free slot may take any,
    /// and which worker takes it.
    pub(crate) fn next_assignment(&self) -> Option<(TaskId, WorkerId)> {
        let kinds: KindSet = TaskKind::ALL
            .into_iter()
            .filter(|kind| self.workers.anyone_partly_free(*kind) || self.any_idle_may_start(*kind))
            .collect();
        if kinds.is_empty() {
            return None;
        }
        self.queue.turns().find_map(|waiting| {
            let first_of_each = kinds.iter().filter_map(|kind| {
                waiting.heads(kind).find_map(|(rank, excluded)| Some((rank, self.choose_worker(kind, excluded)?)))
            });
            let (rank, worker) = first_of_each.min_by_key(|(rank, _)| *rank)?;
            Some((rank.task(), worker))
        })
    }

    /// The newest attempt that waits behind another while a worker that may take it holds nothing, and that worker.
    pub(crate) fn next_steal(&self) -> Option<(AttemptId, WorkerId)> {
        let kinds = TaskKind::ALL.into_iter().filter(|kind| self.any_idle_may_start(*kind));
        let newest_of_each = kinds.filter_map(|kind| {
            // A worker that the task failed on is no help even when all others are excluded too: the task is better off
            // waiting for its turn than failing at once.
            self.stealable.heads(kind).find_map(|(attempt, excluded)| {
                let thief = self.choose_idle(kind, excluded)?;
                self.gains(kind, attempt.0, thief).then_some((attempt, thief))
            })
        });
        let (Reverse(attempt), worker) = newest_of_each.min_by_key(|(attempt, _)| *attempt)?;
        Some((attempt, worker))
    }

    /// The worker that takes a task of `kind`. A worker in `excluded` takes it only if every other one is excluded too.
    /// Otherwise the task waits for another worker, even if that is busy, in quarantine, or starting its prover.
    pub(crate) fn choose_worker(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        self.choose_outside(kind, excluded).or_else(|| {
            let anyone = || self.choose_outside(kind, &excluded.lasting());
            self.workers.all_excluded(kind, excluded).then(anyone).flatten()
        })
    }

    fn choose_outside(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        let Some(idle) = self.choose_idle(kind, excluded) else { return self.workers.least_busy(kind, excluded) };
        Some(self.sooner(kind, excluded, idle).unwrap_or(idle))
    }

    /// A busy worker that is so much faster than `idle`, which is free, that a task of `kind` is done earlier behind
    /// what it holds: a slow machine must not get the last task. While more tasks wait, the fast one's slots are soon
    /// full, and the slow one takes its share.
    fn sooner(&self, kind: TaskKind, excluded: &Exclusions, idle: WorkerId) -> Option<WorkerId> {
        let pacing = self.pacing.filter(|_| self.crews.is_none())?;
        let alone = self.workers.pace(idle, kind)?;
        let fastest =
            self.workers.fastest(kind).filter(|id| *id != idle && !self.workers.is_excluded(*id, excluded))?;
        let free = self.workers.get(fastest).is_some_and(|worker| worker.held().len() < worker.slots());
        let behind = pacing.busy_for(self.workers, fastest, None)? + self.workers.pace(fastest, kind)?;
        (free && behind < alone).then_some(fastest)
    }

    /// True when `thief`, which is idle, is done with what `attempt` waits to do earlier than its holder, as far as
    /// that is known.
    fn gains(&self, kind: TaskKind, attempt: AttemptId, thief: WorkerId) -> bool {
        let comparison = || {
            let pacing = self.pacing.filter(|_| self.crews.is_none())?;
            let holder = pacing.attempts[&attempt].worker;
            let waits = pacing.busy_for(self.workers, holder, Some(attempt))?;
            Some(self.workers.pace(thief, kind)? < waits)
        };
        comparison().unwrap_or(true)
    }

    /// Of the workers outside `excluded` that can do `kind` and hold nothing, the one that takes a task now.
    fn choose_idle(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        let at_work = self.idle_at_work(kind).filter(|at_work| !self.workers.is_excluded(at_work.worker, excluded));
        let worker = at_work.map(|at_work| at_work.worker).or_else(|| self.workers.first_idle(kind, excluded))?;
        let may_start = self.has_room(kind)
            || at_work.is_some_and(|at_work| self.goes_on(kind, at_work))
            || !self.workers.anyone_holds(kind, excluded);
        may_start.then_some(worker)
    }

    /// False when no task of `kind` goes to a worker that holds nothing, whatever the task has failed on. Without this,
    /// all lanes would be looked through at each event for one that excludes all that hold the kind.
    fn any_idle_may_start(&self, kind: TaskKind) -> bool {
        self.workers.anyone_idle(kind)
            && (self.has_room(kind)
                || self.idle_at_work(kind).is_some_and(|at_work| self.goes_on(kind, at_work))
                || self.workers.holders(kind) < self.max_excluded)
    }

    /// True when fewer workers hold tasks of `kind` than are to share them.
    fn has_room(&self, kind: TaskKind) -> bool {
        self.crews.is_none_or(|crews| self.workers.holders(kind) < crews.of(kind).size())
    }

    /// The worker at work, if it can do `kind` and holds nothing now. It comes before those that are left free. When
    /// nobody is to be left free, it comes in its turn.
    fn idle_at_work(&self, kind: TaskKind) -> Option<AtWork> {
        self.at_work.filter(|at_work| self.crews.is_some() && self.workers.is_idle(at_work.worker, kind))
    }

    /// True when a worker that has ended `at_work` goes on with `kind` even if fewer workers are enough: once after
    /// each plan. While tasks come one by one there is always a newer plan, and were workers to stop meanwhile, what is
    /// still to come would be late.
    fn goes_on(&self, kind: TaskKind, at_work: AtWork) -> bool {
        self.crews.is_some_and(|crews| crews.of(kind).is_newer_than(at_work.attempt))
    }
}
