//! Choosing what to do next with free slots. This module only decides; `scheduler/slots.rs` applies the choices.

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

/// Attempts that an idle worker can take over, the newest first. Such an attempt is held but not started, was not
/// resumed, and is not the only one on its worker.
pub(crate) type Stealable = Lanes<Reverse<AttemptId>>;

/// The data that a choice is based on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) stealable: &'a Stealable,
    pub(crate) workers: &'a Workers,
    /// How many workers share the tasks of each kind. `None` under [`crate::Placement::Spread`], which leaves no worker
    /// free.
    pub(crate) crews: Option<&'a Crews>,
    /// The worker on which the current event ended an attempt.
    pub(crate) at_work: Option<AtWork>,
    /// Every task that can still be assigned excludes fewer workers than this.
    pub(crate) max_excluded: usize,
    /// How far workers have come with their attempts. `None` if the configuration ignores task durations.
    pub(crate) pacing: Option<Pacing<'a>>,
}

/// How far workers have come with their attempts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing<'a> {
    pub(crate) attempts: &'a BTreeMap<AttemptId, Attempt>,
    /// The time on the lease clock.
    pub(crate) now: Timestamp,
}

impl Pacing<'_> {
    /// Returns the time that an attempt still needs, or `None` if that is unknown.
    fn left(&self, workers: &Workers, id: AttemptId) -> Option<Duration> {
        let attempt = &self.attempts[&id];
        let pace = workers.pace(attempt.worker, attempt.kind)?;
        let ran = attempt.began.map_or(Duration::ZERO, |began| self.now.saturating_since(began));
        match attempt.state {
            // An attempt that takes longer than expected on its worker may take forever.
            State::Held { started: Some(_) } if !attempt.overdue => pace.checked_sub(ran),
            State::Held { started: Some(_) } => None,
            _ => Some(pace),
        }
    }

    /// Returns the time that `worker` needs for its attempts up to and including `last`, or for all of them. Returns
    /// `None` if that is unknown.
    fn busy_for(&self, workers: &Workers, worker: WorkerId, last: Option<AttemptId>) -> Option<Duration> {
        let held = workers.get(worker)?.held().iter().copied();
        held.filter(|id| last.is_none_or(|last| *id <= last)).map(|id| self.left(workers, id)).sum()
    }
}

/// A worker that has just ended an attempt, so it was not idle before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtWork {
    pub(crate) worker: WorkerId,
    /// The attempt that ended.
    pub(crate) attempt: AttemptId,
}

impl Snapshot<'_> {
    /// Picks the next task and its worker. Proofs are tried in fair-share order. The first proof of which a worker with
    /// a free slot may take a task provides its most useful such task.
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

    /// Picks the newest attempt that waits behind another one on its worker while an idle worker may take its task.
    /// Also returns the idle worker.
    pub(crate) fn next_steal(&self) -> Option<(AttemptId, WorkerId)> {
        let kinds = TaskKind::ALL.into_iter().filter(|kind| self.any_idle_may_start(*kind));
        let newest_of_each = kinds.filter_map(|kind| {
            // Exclusions apply here even if every worker is excluded: it is better for the task to wait for its slot
            // than to go to a worker that it failed on.
            self.stealable.heads(kind).find_map(|(attempt, excluded)| {
                let thief = self.choose_idle(kind, excluded)?;
                self.gains(kind, attempt.0, thief).then_some((attempt, thief))
            })
        });
        let (Reverse(attempt), worker) = newest_of_each.min_by_key(|(attempt, _)| *attempt)?;
        Some((attempt, worker))
    }

    /// Returns the worker that takes a task of `kind` now. A worker in `excluded` takes it only if every other worker
    /// is excluded too. Otherwise the task waits for a worker that is not excluded, even if that one is busy,
    /// quarantined or starting its prover.
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

    /// Returns a busy worker that would finish a task of `kind` earlier than `idle` would, its current attempts
    /// included. This keeps the last task away from a slow machine. While more tasks wait, the slots of the fast worker
    /// fill quickly and the slow worker gets its share.
    fn sooner(&self, kind: TaskKind, excluded: &Exclusions, idle: WorkerId) -> Option<WorkerId> {
        let pacing = self.pacing.filter(|_| self.crews.is_none())?;
        let alone = self.workers.pace(idle, kind)?;
        let fastest =
            self.workers.fastest(kind).filter(|id| *id != idle && !self.workers.is_excluded(*id, excluded))?;
        let free = self.workers.get(fastest).is_some_and(|worker| worker.held().len() < worker.slots());
        let behind = pacing.busy_for(self.workers, fastest, None)? + self.workers.pace(fastest, kind)?;
        (free && behind < alone).then_some(fastest)
    }

    /// Returns true if `thief`, which is idle, would finish the task of `attempt` earlier than its holder would.
    /// Returns true if the durations are unknown.
    fn gains(&self, kind: TaskKind, attempt: AttemptId, thief: WorkerId) -> bool {
        let comparison = || {
            let pacing = self.pacing.filter(|_| self.crews.is_none())?;
            let holder = pacing.attempts[&attempt].worker;
            let waits = pacing.busy_for(self.workers, holder, Some(attempt))?;
            Some(self.workers.pace(thief, kind)? < waits)
        };
        comparison().unwrap_or(true)
    }

    /// Returns the idle worker outside `excluded` that takes a task of `kind` now.
    fn choose_idle(&self, kind: TaskKind, excluded: &Exclusions) -> Option<WorkerId> {
        let at_work = self.idle_at_work(kind).filter(|at_work| !self.workers.is_excluded(at_work.worker, excluded));
        let worker = at_work.map(|at_work| at_work.worker).or_else(|| self.workers.first_idle(kind, excluded))?;
        let may_start = self.has_room(kind)
            || at_work.is_some_and(|at_work| self.goes_on(kind, at_work))
            || !self.workers.anyone_holds(kind, excluded);
        may_start.then_some(worker)
    }

    /// Returns false if no task of `kind` can go to an idle worker, whatever workers the task excludes. Without this
    /// check every event would search all buckets for one that excludes every worker holding the kind.
    fn any_idle_may_start(&self, kind: TaskKind) -> bool {
        self.workers.anyone_idle(kind)
            && (self.has_room(kind)
                || self.idle_at_work(kind).is_some_and(|at_work| self.goes_on(kind, at_work))
                || self.workers.holders(kind) < self.max_excluded)
    }

    /// Returns true if fewer workers hold tasks of `kind` than the plan uses.
    fn has_room(&self, kind: TaskKind) -> bool {
        self.crews.is_none_or(|crews| self.workers.holders(kind) < crews.of(kind).size())
    }

    /// Returns the worker that has just ended an attempt, if it is idle and available for `kind`. It comes before the
    /// workers that were left free. Under [`crate::Placement::Spread`] it has no precedence, and this returns `None`.
    fn idle_at_work(&self, kind: TaskKind) -> Option<AtWork> {
        self.at_work.filter(|at_work| self.crews.is_some() && self.workers.is_idle(at_work.worker, kind))
    }

    /// Returns true if the worker of `at_work` may take one more task of `kind` even though fewer workers are enough:
    /// once after each new plan. While tasks arrive one by one, each makes a new plan. If workers stopped meanwhile,
    /// the tasks still to come would finish late.
    fn goes_on(&self, kind: TaskKind, at_work: AtWork) -> bool {
        self.crews.is_some_and(|crews| crews.of(kind).is_newer_than(at_work.attempt))
    }
}
