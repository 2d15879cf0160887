//! Whether the scheduler gives a worker tasks of one kind, after its faults.

use crate::{TaskId, Timestamp};
use std::time::Duration;

/// When and for how long a worker is quarantined. Faults, quarantine and probation belong to one task kind of one
/// worker: a worker that fails at wrapping continues to prove shards.
///
/// - One fault: a failed or overdue attempt, an attempt that was never started, the loss of the worker while it proves,
///   or the end of its last prover before it started any of its tasks.
/// - Two faults: wrong output, which is a wrong or missing result, wrong or missing deferred events, or a claim that
///   workers of two origins contradict.
/// - Quarantine for every kind at once: a result that turns out to be wrong after other tasks have used it, or a claim
///   that workers of two origins refute later.
///
/// An accepted result removes one fault. If a task fails for good, the faults that it caused are removed, because the
/// task itself is the cause. If a lost worker returns and continues an attempt, the faults of the loss are removed, and
/// a quarantine that they started ends. A worker is not quarantined for a kind if no other worker is available for it,
/// unless it was proven wrong.
///
/// After the quarantine, the worker is on probation: it gets one task of the kind at a time. An accepted result of the
/// kind ends the probation, and a single fault starts the next quarantine.
///
/// A worker that connects for the first time starts with the worst record of the workers of its origin. So a worker
/// does not lose its faults with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineRules {
    /// Number of faults that lead to quarantine, at least 1.
    pub max_faults: u32,
    /// Duration of the first quarantine. Each further quarantine lasts twice as long as the one before. Each accepted
    /// result of a worker without faults undoes one doubling.
    pub first_duration: Duration,
    /// Maximum duration of a quarantine.
    pub max_duration: Duration,
}

impl Default for QuarantineRules {
    /// Quarantine after three faults, first for one minute, at most for one hour.
    fn default() -> Self {
        Self { max_faults: 3, first_duration: Duration::from_secs(60), max_duration: Duration::from_secs(3600) }
    }
}

impl QuarantineRules {
    fn duration(&self, earlier: u32) -> Duration {
        self.first_duration.saturating_mul(1_u32.checked_shl(earlier).unwrap_or(u32::MAX)).min(self.max_duration)
    }
}

/// Whether the scheduler gives a worker tasks of one kind, after its faults: from the best to the worst.
/// [`crate::WorkerStanding`] is the summary for the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Standing {
    #[default]
    Normal,
    /// The worker gets one task of the kind at a time.
    Probation,
    /// The worker gets no task of the kind.
    Quarantined {
        /// The quarantine does not end early if the worker is needed, because the worker was proven wrong.
        is_firm: bool,
        /// When it ends, on the lease clock.
        until: Timestamp,
    },
}

/// Faults of a worker at tasks of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults<'a> {
    pub(crate) count: u32,
    /// The last fault, for people.
    pub(crate) reason: &'a str,
}

/// What the scheduler remembers about a worker's tasks of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KindRecord {
    standing: Standing,
    /// The reason for the last quarantine.
    reason: String,
    faults: u32,
    quarantines: u32,
}

impl KindRecord {
    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns when the quarantine ends; `None` without quarantine.
    pub(crate) const fn quarantined_until(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Quarantined { until, .. } => Some(until),
            Standing::Normal | Standing::Probation => None,
        }
    }

    /// Returns true if nothing bad is remembered.
    pub(crate) fn is_clean(&self) -> bool {
        (self.standing, self.faults, self.quarantines) == (Standing::Normal, 0, 0)
    }

    pub(crate) fn is_worse_than(&self, other: &Self) -> bool {
        let rank = |record: &Self| (record.standing, record.quarantines, record.faults);
        rank(self) > rank(other)
    }

    /// Records faults. If that reaches the limit and `may_quarantine` is true, a quarantine starts at `now`. Returns
    /// its duration.
    pub(crate) fn record_faults(
        &mut self,
        faults: Faults<'_>,
        rules: &QuarantineRules,
        may_quarantine: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        if self.quarantined_until().is_some() {
            return None;
        }
        self.faults = self.faults.saturating_add(faults.count);
        if !may_quarantine || self.faults < rules.max_faults.max(1) && self.standing != Standing::Probation {
            return None;
        }
        Some(self.quarantine(rules, false, faults.reason, now))
    }

    /// Starts a firm quarantine at `now`, because the worker was proven wrong. Returns its duration; `None` if there is
    /// a firm quarantine already.
    pub(crate) fn quarantine_firmly(
        &mut self,
        rules: &QuarantineRules,
        reason: &str,
        now: Timestamp,
    ) -> Option<Duration> {
        match self.standing {
            Standing::Quarantined { is_firm: true, .. } => None,
            Standing::Normal | Standing::Probation | Standing::Quarantined { is_firm: false, .. } => {
                Some(self.quarantine(rules, true, reason, now))
            }
        }
    }

    fn quarantine(&mut self, rules: &QuarantineRules, is_firm: bool, reason: &str, now: Timestamp) -> Duration {
        let duration = rules.duration(self.quarantines);
        self.quarantines = self.quarantines.saturating_add(1);
        self.faults = 0;
        self.standing = Standing::Quarantined { is_firm, until: now + duration };
        reason.clone_into(&mut self.reason);
        duration
    }

    /// Records an accepted result. Returns true if that ends the probation.
    pub(crate) fn record_success(&mut self) -> bool {
        if self.faults > 0 {
            self.faults -= 1;
        } else {
            self.quarantines = self.quarantines.saturating_sub(1);
        }
        let ends = self.standing == Standing::Probation;
        if ends {
            self.standing = Standing::Normal;
        }
        ends
    }

    /// Removes `faults` faults.
    pub(crate) fn forgive(&mut self, faults: u32) {
        self.faults = self.faults.saturating_sub(faults);
    }

    /// Ends the quarantine. Probation follows.
    pub(crate) fn end_quarantine(&mut self) {
        if self.quarantined_until().is_some() {
            self.standing = Standing::Probation;
        }
    }

    /// Ends the quarantine if its time is over at `now`. Probation follows.
    pub(crate) fn end_past_quarantine(&mut self, now: Timestamp) {
        if self.quarantined_until().is_some_and(|until| until <= now) {
            self.end_quarantine();
        }
    }
}

/// The fault of a disconnected worker for its loss, at tasks of one kind. The fault is removed if the worker returns
/// and continues an attempt.
#[derive(Debug)]
pub(crate) struct LossFault {
    /// The task that bears the fault. `None` if the task has failed for good, which removes the fault.
    pub(crate) task: Option<TaskId>,
    /// The record that the worker would have without the loss. Later faults and successes change both records. While
    /// the loss keeps the worker quarantined, faults count only here.
    pub(crate) record_without: KindRecord,
}
