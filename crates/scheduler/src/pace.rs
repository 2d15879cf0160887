//! How long tasks take, and what follows from it.

use crate::{AttemptId, TaskKind, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What follows from how long tasks take. Durations are learned for each worker and kind; where nothing is known of a
/// worker, those of all workers count.
///
/// The tasks of a kind differ in size, so the factors are generous: they are for machines that are ill, not for tasks
/// that are large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceRules {
    /// An attempt that has run for longer than this many hundredths of what was expected is a straggler: a worker that
    /// has nothing else to do gets a copy of it, and the first result that verifies counts.
    pub straggler_percent: u32,
    /// No attempt is a straggler earlier than this: a copy costs the transfer of its inputs.
    pub straggler_floor: Duration,
    /// An attempt that has run for longer than this many hundredths of what was expected is overdue, within the two
    /// bounds that follow: its task goes to another worker, which counts as a lost worker does.
    pub overdue_percent: u32,
    /// No attempt is overdue earlier than this.
    pub overdue_floor: Duration,
    /// Every attempt is overdue after this, also when nothing is known of such tasks.
    pub overdue_cap: Duration,
}

impl Default for PaceRules {
    /// Twice what was expected, from five seconds on, and ten times as much, within two minutes and two hours.
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
    fn straggles_after(&self, expected: Duration) -> Duration {
        percent(expected, self.straggler_percent).max(self.straggler_floor)
    }

    fn overdue_after(&self, expected: Option<Duration>) -> Duration {
        let limit = expected.map_or(self.overdue_cap, |expected| percent(expected, self.overdue_percent));
        // Not `clamp`, which panics when a configuration has the floor above the cap.
        limit.max(self.overdue_floor).min(self.overdue_cap)
    }
}

fn percent(duration: Duration, percent: u32) -> Duration {
    duration.saturating_mul(percent) / 100
}

/// The usual duration of something, following what it was lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pace(Option<Duration>);

impl Pace {
    /// An exponentially weighted mean: recent enough to notice a machine that has become slow, slow enough not to
    /// follow every small shard.
    pub(crate) fn learn(&mut self, took: Duration) {
        self.0 = Some(self.0.map_or(took, |mean| (mean * 3 + took) / 4));
    }

    pub(crate) const fn expected(self) -> Option<Duration> {
        self.0
    }
}

/// Durations by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paces([Pace; TaskKind::ALL.len()]);

impl Paces {
    pub(crate) const fn learn(&mut self, kind: TaskKind) -> &mut Pace {
        &mut self.0[kind.index()]
    }

    pub(crate) const fn expected(&self, kind: TaskKind) -> Option<Duration> {
        self.0[kind.index()].expected()
    }
}

/// The attempts that run, and when each becomes remarkable. Times are the leases': that the scheduler was paused makes
/// nobody slow.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    watched: BTreeMap<AttemptId, Watched>,
    stragglers: BTreeSet<(Timestamp, AttemptId)>,
    overdue: BTreeSet<(Timestamp, AttemptId)>,
    /// Those of which nothing was known when they began.
    unpredicted: BTreeSet<(TaskKind, AttemptId)>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    kind: TaskKind,
    began: Timestamp,
    straggles: Option<Timestamp>,
    overdue: Timestamp,
}

impl Watch {
    /// Watches an attempt that began at `began` and is expected to take `expected`.
    pub(crate) fn begin(
        &mut self,
        id: AttemptId,
        kind: TaskKind,
        began: Timestamp,
        expected: Option<Duration>,
        rules: &PaceRules,
    ) {
        self.end(id);
        let straggles = expected.map(|expected| began + rules.straggles_after(expected));
        let watched = Watched { kind, began, straggles, overdue: began + rules.overdue_after(expected) };
        self.watched.insert(id, watched);
        self.overdue.insert((watched.overdue, id));
        match straggles {
            Some(at) => self.stragglers.insert((at, id)),
            None => self.unpredicted.insert((kind, id)),
        };
    }

    /// Watches an attempt no longer; nothing when it wasn't watched.
    pub(crate) fn end(&mut self, id: AttemptId) {
        if let Some(watched) = self.watched.remove(&id) {
            self.overdue.remove(&(watched.overdue, id));
            self.unpredicted.remove(&(watched.kind, id));
            if let Some(at) = watched.straggles {
                self.stragglers.remove(&(at, id));
            }
        }
    }

    /// The attempt has a copy: it straggles no more, but may become overdue.
    pub(crate) fn end_straggling(&mut self, id: AttemptId) {
        if let Some(watched) = self.watched.get_mut(&id) {
            self.unpredicted.remove(&(watched.kind, id));
            if let Some(at) = watched.straggles.take() {
                self.stragglers.remove(&(at, id));
            }
        }
    }

    /// Something is known of `kind` at last: the attempts that began before are watched by it.
    pub(crate) fn predict(&mut self, kind: TaskKind, expected: Duration, rules: &PaceRules) {
        let blind = (kind, AttemptId(0))..=(kind, AttemptId(u64::MAX));
        let blind: Vec<AttemptId> = self.unpredicted.range(blind).map(|(_, id)| *id).collect();
        for id in blind {
            let began = self.watched[&id].began;
            self.begin(id, kind, began, Some(expected), rules);
        }
    }

    /// The attempts that straggle at `now`, the longest first.
    pub(crate) fn stragglers(&self, now: Timestamp) -> impl Iterator<Item = AttemptId> {
        self.stragglers.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// The first attempt that is overdue at `now`.
    pub(crate) fn first_overdue(&self, now: Timestamp) -> Option<AttemptId> {
        self.overdue.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Number of attempts watched.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Everything watched, after comparing the indices with it.
    pub(crate) fn check_invariants(&self) -> impl Iterator<Item = AttemptId> {
        let stragglers = self.watched.iter().filter_map(|(id, watched)| Some((watched.straggles?, *id)));
        assert_eq!(self.stragglers, stragglers.collect(), "the index of stragglers is wrong");
        let overdue = self.watched.iter().map(|(id, watched)| (watched.overdue, *id));
        assert_eq!(self.overdue, overdue.collect(), "the index of overdue attempts is wrong");
        let mut blind = self.unpredicted.iter();
        assert!(blind.all(|(_, id)| self.watched[id].straggles.is_none()), "a predicted attempt counts as unpredicted");
        self.watched.keys().copied()
    }
}
