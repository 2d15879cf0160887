//! The policies that a user can choose.

use std::{error, fmt, str::FromStr};

/// Which worker gets a task when several workers could take it.
///
/// The following example has tasks of equal length, submitted before workers of equal speed connect. Each number is the
/// number of tasks that one worker proves:
///
/// ```text
///                Spread                     Pack                       ends after
///   15 on 7      3 2 2 2 2 2 2              3 3 3 3 3 0 0              3 rounds
///   40 on 12     4 4 4 4 3 3 3 3 3 3 3 3    4 4 4 4 4 4 4 4 4 4 0 0    4 rounds
/// ```
///
/// Under both policies a task that only one worker may take goes to that worker, so no task waits forever.
///
/// ```
/// use sp1d_scheduler::{SchedulerConfig, Placement};
///
/// let config = SchedulerConfig { placement: "pack".parse()?, ..SchedulerConfig::default() };
/// assert_eq!(config.placement, Placement::Pack);
/// assert_eq!(Placement::default(), Placement::Spread);
/// # Ok::<(), sp1d_scheduler::UnknownPlacement>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Placement {
    /// Aims at the earliest finish. A free slot takes a task at once. A task goes to an idle worker, unless the fastest
    /// worker has a free slot and would finish it earlier. If no worker is idle, the task goes to the worker that holds
    /// the fewest attempts.
    #[default]
    Spread,
    /// Uses the fewest workers that need no more rounds than [`Placement::Spread`]. The other workers stay free: the
    /// fleet can be reduced by them, or they replace a lost worker at once.
    ///
    /// Let *n* be the number of tasks of a kind that wait or that workers hold, and *w* the number of workers
    /// available for it. All *w* workers need *r = ⌈n / w⌉* rounds, and *m = ⌈n / r⌉* workers need no more. Therefore:
    ///
    /// - An idle worker gets a task only while fewer than *m* workers hold tasks of its kind. The same condition
    ///   applies when an idle worker steals a task that waits behind another one on its worker.
    /// - Otherwise the free slots of busy workers fill, first those of the workers that hold the fewest attempts.
    /// - A worker that has just finished an attempt comes before workers that were idle, so that the same *m* workers
    ///   continue.
    /// - If a task excludes every worker that holds tasks of its kind, it goes to an idle worker, whatever *m* is.
    ///
    /// *m* is computed again when tasks or workers come or go, but not when a result is delivered. The attempts that
    /// started together with the delivered one are almost finished as well. Counting them as whole tasks would put too
    /// many workers to work: with 15 tasks on 7 workers, the first result leaves 14 tasks, which would be two full
    /// rounds of 7 if none of them had started.
    ///
    /// Tasks that arrive one by one, for example while the program executes, each use another worker until there are
    /// more tasks than workers. After each computation of *m*, a worker that finishes an attempt may take one more task
    /// even if *m* other workers hold tasks, because more tasks may follow. After the last task has arrived, workers
    /// become free as the remaining work shrinks.
    ///
    /// Rounds assume equally fast workers that start together. If tasks arrive one by one or differ in duration, the
    /// finish may be up to about one attempt later than under [`Placement::Spread`]. If workers differ in speed, the
    /// workers left free may be the fast ones. Several proofs share one *m*: an earlier proof may have to wait for
    /// rounds that it would not need under [`Placement::Spread`], while all proofs together finish as early.
    Pack,
}

impl Placement {
    /// Every policy, the default first.
    pub const ALL: [Self; 2] = [Self::Spread, Self::Pack];

    /// Returns the stable name that configurations and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Pack => "pack",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Placement {
    type Err = UnknownPlacement;

    /// Parses a [`name`](Placement::name).
    fn from_str(text: &str) -> Result<Self, UnknownPlacement> {
        let known = Self::ALL.into_iter().find(|placement| placement.name() == text);
        known.ok_or_else(|| UnknownPlacement(text.to_owned()))
    }
}

/// The text is not the name of a placement. The error message lists the valid names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPlacement(String);

impl fmt::Display for UnknownPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = Placement::ALL;
        write!(f, "unknown placement {:?}: expected \"{first}\" or \"{second}\"", self.0)
    }
}

impl error::Error for UnknownPlacement {}
