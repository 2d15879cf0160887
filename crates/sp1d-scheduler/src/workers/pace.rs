//! How long tasks take, and which attempts are too slow.

use crate::{AttemptId, TaskKind, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// An overdue attempt is cancelled after this many times the time after which it is overdue according to the durations
/// of its worker. The factor is generous, because the attempt may only be slow, and its worker may be the only one: a
/// full shard takes up to about 20 times as long as a small one. With the default rules, an attempt is cancelled after
/// 50 times its expected duration.
const CANCEL_FACTOR: u32 = 5;

/// No attempt runs longer than this many times [`PaceRules::overdue_cap`].
const CANCEL_CAP_FACTOR: u32 = 2;

/// When an attempt counts as slow or overdue. The scheduler learns durations for each worker and task kind. If it knows
/// none for a worker, it uses the durations of all workers.
///
/// Tasks of one kind differ in size, so the factors are generous: they detect faulty machines, not large tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceRules {
    /// An attempt that runs longer than this percentage of the expected duration is a straggler. An idle worker then
    /// gets a speculative attempt, and the first result that verifies counts. The same happens if a worker has started
    /// none of its attempts for so long.
    pub straggler_percent: u32,
    /// No attempt is a straggler before this time, because a speculative attempt transfers the inputs again. For the
    /// same reason, an idle worker that is much faster overtakes an attempt only after this time, and only if it saves
    /// as much.
    pub straggler_floor: Duration,
    /// An attempt that runs longer than this percentage of the expected duration is overdue, within the two bounds
    /// below. Its task goes to another worker, and the attempt counts as a loss.
    ///
    /// An overdue attempt keeps its slot, because its result may still arrive. It is cancelled when it has run for five
    /// times as long, or for twice [`overdue_cap`](Self::overdue_cap) if that is earlier. Otherwise an attempt that
    /// hangs would block its worker forever, and tasks that only this worker may take would never end. If no duration
    /// of the worker is known, only twice the cap applies: the worker may be much slower than the others.
    pub overdue_percent: u32,
    /// No attempt is overdue before this time.
    pub overdue_floor: Duration,
    /// Every attempt is overdue after this time, even if the expected duration is unknown.
    pub overdue_cap: Duration,
}

impl Default for PaceRules {
    /// Stragglers at 200 % of the expected duration, but not before 5 s. Overdue at 1000 %, but not before 2 minutes
    /// and not after 2 hours. So an overdue attempt is cancelled when it has run for at least 10 minutes and at most 4
    /// hours; after 4 hours if no duration of its worker is known.
    fn default() -> Self {
        Self {
            straggler_percent: 200,
            straggler_floor: Duration::from_secs(5),
            overdue_percent: 1000,
            overdue_floor: Duration::from_secs(120),
            overdue_cap: Duration::from_secs(2 * 3600),
        }
    }
}

impl PaceRules {
    pub(crate) fn straggles_after(&self, expected: Duration) -> Duration {
        percent(expected, self.straggler_percent).max(self.straggler_floor)
    }

    fn overdue_after(&self, expected: Option<Duration>) -> Duration {
        let limit = expected.map_or(self.overdue_cap, |expected| percent(expected, self.overdue_percent));
        // `clamp` would panic if a configuration sets the floor above the cap.
        limit.max(self.overdue_floor).min(self.overdue_cap)
    }

    /// Returns how long an attempt may run. `of_worker` is the expected duration that its worker's own durations give.
    /// A duration of other workers does not count: the results of a slow worker would be lost each time, and so its
    /// duration would never be learned.
    fn cancelled_after(&self, of_worker: Option<Duration>) -> Duration {
        let cap = self.overdue_cap.saturating_mul(CANCEL_CAP_FACTOR);
        self.overdue_after(of_worker).saturating_mul(CANCEL_FACTOR).min(cap)
    }
}

fn percent(duration: Duration, percent: u32) -> Duration {
    duration.saturating_mul(percent) / 100
}

/// The expected duration of a task, learned from recent durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pace(Option<Duration>);

impl Pace {
    /// Updates an exponentially weighted mean. A weight of 1/4 for the latest duration notices a machine that has
    /// become slow, but does not follow every small shard.
    pub(crate) fn learn(&mut self, took: Duration) {
        self.0 = Some(self.0.map_or(took, |mean| (mean * 3 + took) / 4));
    }

    pub(crate) const fn expected(self) -> Option<Duration> {
        self.0
    }
}

/// Expected durations by task kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paces([Pace; TaskKind::ALL.len()]);

impl Paces {
    pub(crate) const fn of_mut(&mut self, kind: TaskKind) -> &mut Pace {
        &mut self.0[kind.index()]
    }

    pub(crate) const fn expected(&self, kind: TaskKind) -> Option<Duration> {
        self.0[kind.index()].expected()
    }
}

/// The expected duration of an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpectedDuration {
    /// Learned from tasks of the same kind on the attempt's worker.
    pub(crate) of_worker: Option<Duration>,
    /// Learned from tasks of the same kind on all workers.
    pub(crate) of_all: Option<Duration>,
}

impl ExpectedDuration {
    /// Returns the duration of the worker, or of all workers if that is unknown.
    pub(crate) fn best(self) -> Option<Duration> {
        self.of_worker.or(self.of_all)
    }
}

/// The running attempts, and when each becomes a straggler or overdue, or is cancelled. Times are on the lease clock,
/// so a pause of the scheduler does not make an attempt look slow.
#[derive(Debug, Default)]
pub(crate) struct PaceWatch {
    watched: BTreeMap<AttemptId, WatchedAttempt>,
    stragglers: BTreeSet<(Timestamp, AttemptId)>,
    overdue: BTreeSet<(Timestamp, AttemptId)>,
    /// The overdue attempts, which are not watched any more, and when each is cancelled.
    cancel_times: BTreeMap<AttemptId, Timestamp>,
    /// The same, by time.
    cancels: BTreeSet<(Timestamp, AttemptId)>,
    /// Attempts whose expected duration was unknown when they started.
    unpredicted: BTreeSet<(TaskKind, AttemptId)>,
}

#[derive(Debug, Clone, Copy)]
struct WatchedAttempt {
    kind: TaskKind,
    started: Timestamp,
    straggles: Option<Timestamp>,
    overdue: Timestamp,
    cancelled: Timestamp,
}

impl PaceWatch {
    /// Watches an attempt that started at `started`, with the expected duration `expected`.
    pub(crate) fn start(
        &mut self,
        id: AttemptId,
        kind: TaskKind,
        started: Timestamp,
        expected: ExpectedDuration,
        rules: &PaceRules,
    ) {
        self.end(id);
        let straggles = expected.best().map(|expected| started + rules.straggles_after(expected));
        let overdue = started + rules.overdue_after(expected.best());
        let cancelled = started + rules.cancelled_after(expected.of_worker);
        let watched = WatchedAttempt { kind, started, straggles, overdue, cancelled };
        self.watched.insert(id, watched);
        self.overdue.insert((watched.overdue, id));
        match straggles {
            Some(at) => self.stragglers.insert((at, id)),
            None => self.unpredicted.insert((kind, id)),
        };
    }

    /// Notes that a watched attempt is overdue: until [`Self::end`], only [`Self::first_to_cancel`] returns it.
    pub(crate) fn note_overdue(&mut self, id: AttemptId) {
        if let Some(WatchedAttempt { cancelled, .. }) = self.watched.get(&id).copied() {
            self.end(id);
            self.cancel_times.insert(id, cancelled);
            self.cancels.insert((cancelled, id));
        }
    }

    /// Stops watching an attempt, overdue or not. Does nothing if it is not known.
    pub(crate) fn end(&mut self, id: AttemptId) {
        if let Some(at) = self.cancel_times.remove(&id) {
            self.cancels.remove(&(at, id));
        }
        if let Some(watched) = self.watched.remove(&id) {
            self.overdue.remove(&(watched.overdue, id));
            self.unpredicted.remove(&(watched.kind, id));
            if let Some(at) = watched.straggles {
                self.stragglers.remove(&(at, id));
            }
        }
    }

    /// Notes that the attempt got a speculative attempt beside it: it no longer counts as a straggler, but may become
    /// overdue.
    pub(crate) fn end_straggling(&mut self, id: AttemptId) {
        if let Some(watched) = self.watched.get_mut(&id) {
            self.unpredicted.remove(&(watched.kind, id));
            if let Some(at) = watched.straggles.take() {
                self.stragglers.remove(&(at, id));
            }
        }
    }

    /// Sets the expected duration of the running attempts of `kind` that started when none was known. `of_all` is the
    /// duration on all workers.
    pub(crate) fn predict(&mut self, kind: TaskKind, of_all: Duration, rules: &PaceRules) {
        let expected = ExpectedDuration { of_worker: None, of_all: Some(of_all) };
        let blind = (kind, AttemptId(0))..=(kind, AttemptId(u64::MAX));
        let blind: Vec<AttemptId> = self.unpredicted.range(blind).map(|(_, id)| *id).collect();
        for id in blind {
            let started = self.watched[&id].started;
            self.start(id, kind, started, expected, rules);
        }
    }

    /// Returns the stragglers at `now`, the longest in that state first.
    pub(crate) fn stragglers(&self, now: Timestamp) -> impl Iterator<Item = AttemptId> {
        self.stragglers.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Returns the first attempt that is overdue at `now`.
    pub(crate) fn first_overdue(&self, now: Timestamp) -> Option<AttemptId> {
        self.overdue.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Returns the first overdue attempt that must be cancelled at `now`.
    pub(crate) fn first_to_cancel(&self, now: Timestamp) -> Option<AttemptId> {
        self.cancels.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Returns the overdue attempts that will be cancelled, in the order of their numbers.
    pub(crate) fn to_cancel(&self) -> impl Iterator<Item = AttemptId> {
        self.cancel_times.keys().copied()
    }

    /// Returns the number of watched and overdue attempts.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.watched.len() + self.cancel_times.len()
    }

    /// Checks the indexes against the watched attempts. Returns the watched attempts.
    pub(crate) fn check_invariants(&self) -> impl Iterator<Item = AttemptId> {
        let stragglers = self.watched.iter().filter_map(|(id, watched)| Some((watched.straggles?, *id)));
        assert_eq!(self.stragglers, stragglers.collect(), "the index of stragglers is wrong");
        let overdue = self.watched.iter().map(|(id, watched)| (watched.overdue, *id));
        assert_eq!(self.overdue, overdue.collect(), "the index of overdue attempts is wrong");
        let cancels = self.cancel_times.iter().map(|(id, at)| (*at, *id));
        assert_eq!(self.cancels, cancels.collect(), "the index of attempts to cancel is wrong");
        let mut blind = self.unpredicted.iter();
        assert!(blind.all(|(_, id)| self.watched[id].straggles.is_none()), "a predicted attempt counts as unpredicted");
        self.watched.keys().copied()
    }
}
