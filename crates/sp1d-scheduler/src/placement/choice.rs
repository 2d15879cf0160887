//! Choosing what to do next with free slots. This module only decides; `scheduler/slots.rs` applies the choices.

use super::pack_plan::PackPlans;
use crate::{
    AttemptId, KindSet, SessionId, TaskId, TaskKind, Timestamp,
    queue::{ExclusionBuckets, Exclusions, TaskQueue},
    tasks::{AttemptState, ScheduledAttempt},
    workers::WorkerSessions,
};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// Attempts whose tasks an idle worker can steal, the newest first. Such an attempt is held but not started, was not
/// resumed, and is not the only one on its worker.
pub(crate) type Stealable = ExclusionBuckets<Reverse<AttemptId>>;

/// The data that a choice is based on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlacementInputs<'a> {
    pub(crate) queue: &'a TaskQueue,
    pub(crate) stealable: &'a Stealable,
    pub(crate) sessions: &'a WorkerSessions,
    /// How many workers share the tasks of each kind. `None` under [`crate::Placement::Spread`], which leaves no worker
    /// free.
    pub(crate) pack_plans: Option<&'a PackPlans>,
    /// The worker that finished an attempt with the current event.
    pub(crate) freed_worker: Option<FreedWorker>,
    /// Every task that can still be assigned excludes fewer workers than this. So if this many workers hold tasks of a
    /// kind, each task may go to one of them, and no search for a task that excludes them all is needed.
    pub(crate) excludes_fewer_than: usize,
    /// How far workers have come with their attempts. `None` if the configuration ignores how long tasks take.
    pub(crate) progress: Option<AttemptProgress<'a>>,
}

/// How far workers have come with their attempts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptProgress<'a> {
    pub(crate) attempts: &'a BTreeMap<AttemptId, ScheduledAttempt>,
    /// The time on the lease clock.
    pub(crate) now: Timestamp,
}

impl AttemptProgress<'_> {
    /// Returns the time that an attempt still needs, or `None` if that is unknown.
    fn remaining_time(&self, sessions: &WorkerSessions, id: AttemptId) -> Option<Duration> {
        let attempt = &self.attempts[&id];
        let pace = sessions.pace(attempt.session, attempt.kind)?;
        let ran =
            attempt.proving_since.map_or(Duration::ZERO, |proving_since| self.now.saturating_since(proving_since));
        match attempt.state {
            // An attempt that takes longer than expected on its worker may take forever.
            AttemptState::Held { started: Some(_) } if !attempt.overdue => pace.checked_sub(ran),
            AttemptState::Held { started: Some(_) } => None,
            _ => Some(pace),
        }
    }

    /// Returns the time that `session` needs for its attempts up to and including `last`, or for all of them. Returns
    /// `None` if that is unknown.
    fn busy_for(&self, sessions: &WorkerSessions, session: SessionId, last: Option<AttemptId>) -> Option<Duration> {
        let held = sessions.get(session)?.held().iter().copied();
        held.filter(|id| last.is_none_or(|last| *id <= last)).map(|id| self.remaining_time(sessions, id)).sum()
    }
}

/// A worker that has just finished an attempt, so it was not idle before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreedWorker {
    pub(crate) session: SessionId,
    /// The finished attempt.
    pub(crate) attempt: AttemptId,
}

impl PlacementInputs<'_> {
    /// Picks the next task and its worker. Visits the tries in fair-share order. Stops at the first try with a task
    /// that a worker with a free slot may take, and returns the most useful of these tasks.
    pub(crate) fn next_assignment(&self) -> Option<(TaskId, SessionId)> {
        let kinds: KindSet = TaskKind::ALL
            .into_iter()
            .filter(|kind| self.sessions.any_busy_with_free_slot(*kind) || self.any_idle_may_take(*kind))
            .collect();
        if kinds.is_empty() {
            return None;
        }
        self.queue.waiting_by_fair_share().find_map(|waiting| {
            let first_of_each = kinds.iter().filter_map(|kind| {
                waiting.heads(kind).find_map(|(rank, excluded)| Some((rank, self.choose_worker(kind, excluded)?)))
            });
            let (rank, session) = first_of_each.min_by_key(|(rank, _)| *rank)?;
            Some((rank.task(), session))
        })
    }

    /// Picks the newest attempt that waits behind another one on its worker while an idle worker may take its task.
    /// Also returns the idle worker.
    pub(crate) fn next_steal(&self) -> Option<(AttemptId, SessionId)> {
        let kinds = TaskKind::ALL.into_iter().filter(|kind| self.any_idle_may_take(*kind));
        let newest_of_each = kinds.filter_map(|kind| {
            // Exclusions apply here even if every worker is excluded: it is better for the task to wait for its slot
            // than to go to a worker that it failed on.
            self.stealable.heads(kind).find_map(|(attempt, excluded)| {
                let thief = self.choose_idle(kind, excluded)?;
                self.thief_is_sooner(kind, attempt.0, thief).then_some((attempt, thief))
            })
        });
        let (Reverse(attempt), session) = newest_of_each.min_by_key(|(attempt, _)| *attempt)?;
        Some((attempt, session))
    }

    /// Returns the worker that takes a task of `kind` now. A worker in `excluded` takes it only if every other worker
    /// is excluded too. Otherwise the task waits for a worker that is not excluded, even if that one is busy,
    /// quarantined or starting its prover.
    pub(crate) fn choose_worker(&self, kind: TaskKind, excluded: &Exclusions) -> Option<SessionId> {
        self.choose_not_excluded(kind, excluded).or_else(|| {
            let any = || self.choose_not_excluded(kind, &excluded.lasting());
            self.sessions.all_excluded(kind, excluded).then(any).flatten()
        })
    }

    fn choose_not_excluded(&self, kind: TaskKind, excluded: &Exclusions) -> Option<SessionId> {
        let Some(idle) = self.choose_idle(kind, excluded) else { return self.sessions.least_busy(kind, excluded) };
        Some(self.fastest_if_sooner(kind, excluded, idle).unwrap_or(idle))
    }

    /// Returns the fastest worker if it has a free slot and would finish its attempts, and then a task of `kind`,
    /// earlier than `idle` would finish the task alone. No other worker is considered. This keeps the last task away
    /// from a slow machine. While more tasks wait, the slots of the fastest worker fill quickly, and the slow worker
    /// gets its share.
    fn fastest_if_sooner(&self, kind: TaskKind, excluded: &Exclusions, idle: SessionId) -> Option<SessionId> {
        let progress = self.progress.filter(|_| self.pack_plans.is_none())?;
        let time_on_idle = self.sessions.pace(idle, kind)?;
        let fastest =
            self.sessions.fastest(kind).filter(|id| *id != idle && !self.sessions.is_excluded(*id, excluded))?;
        let has_free_slot = self.sessions.get(fastest).is_some_and(|session| session.has_free_slot(kind));
        let time_on_fastest = progress.busy_for(self.sessions, fastest, None)? + self.sessions.pace(fastest, kind)?;
        (has_free_slot && time_on_fastest < time_on_idle).then_some(fastest)
    }

    /// Returns true if `thief`, which is idle, would finish the task of `attempt` earlier than its holder would.
    /// Returns true if the durations are unknown.
    fn thief_is_sooner(&self, kind: TaskKind, attempt: AttemptId, thief: SessionId) -> bool {
        let comparison = || {
            let progress = self.progress.filter(|_| self.pack_plans.is_none())?;
            let holder = progress.attempts[&attempt].session;
            let time_on_holder = progress.busy_for(self.sessions, holder, Some(attempt))?;
            Some(self.sessions.pace(thief, kind)? < time_on_holder)
        };
        comparison().unwrap_or(true)
    }

    /// Returns the idle worker outside `excluded` that takes a task of `kind` now.
    fn choose_idle(&self, kind: TaskKind, excluded: &Exclusions) -> Option<SessionId> {
        let freed_worker = self
            .idle_freed_worker(kind)
            .filter(|freed_worker| !self.sessions.is_excluded(freed_worker.session, excluded));
        let session = freed_worker
            .map(|freed_worker| freed_worker.session)
            .or_else(|| self.sessions.fastest_idle(kind, excluded))?;
        let may_start = self.has_room(kind)
            || freed_worker.is_some_and(|freed_worker| self.may_take_one_more(kind, freed_worker))
            || !self.sessions.any_with_attempts_outside(kind, excluded);
        may_start.then_some(session)
    }

    /// Returns false if no task of `kind` can go to an idle worker, whatever workers the task excludes. Without this
    /// check, every event would search all buckets for a task that excludes every worker that holds its kind.
    fn any_idle_may_take(&self, kind: TaskKind) -> bool {
        self.sessions.any_idle(kind)
            && (self.has_room(kind)
                || self.idle_freed_worker(kind).is_some_and(|freed_worker| self.may_take_one_more(kind, freed_worker))
                || self.sessions.workers_with_attempts(kind) < self.excludes_fewer_than)
    }

    /// Returns true if fewer workers hold tasks of `kind` than the plan uses.
    fn has_room(&self, kind: TaskKind) -> bool {
        let used = self.sessions.workers_with_attempts(kind);
        self.pack_plans.is_none_or(|pack_plans| used < pack_plans.plan_for(kind).size())
    }

    /// Returns the worker that has just finished an attempt, if it is idle and available for `kind`. It comes before
    /// the workers that were left free. Under [`crate::Placement::Spread`] it has no precedence, and this returns
    /// `None`.
    fn idle_freed_worker(&self, kind: TaskKind) -> Option<FreedWorker> {
        self.freed_worker
            .filter(|freed_worker| self.pack_plans.is_some() && self.sessions.is_idle(freed_worker.session, kind))
    }

    /// Returns true if `freed_worker` may take one more task of `kind` even though fewer workers are enough: once after
    /// each new plan. While tasks arrive one by one, each makes a new plan. If workers stopped meanwhile, the tasks
    /// still to come would finish late.
    fn may_take_one_more(&self, kind: TaskKind, freed_worker: FreedWorker) -> bool {
        self.pack_plans.is_some_and(|pack_plans| pack_plans.plan_for(kind).is_newer_than(freed_worker.attempt))
    }
}
