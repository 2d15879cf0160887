//! The policies that a caller chooses between.

use std::{error, fmt, str::FromStr};

/// Who gets a task when several workers could take it.
///
/// Equally long tasks, known before equally fast workers join; each number is how many of them one worker does:
///
/// ```text
///                Spread                     Pack                       ends after
///   15 on 7      3 2 2 2 2 2 2              3 3 3 3 3 0 0              3 rounds
///   40 on 12     4 4 4 4 3 3 3 3 3 3 3 3    4 4 4 4 4 4 4 4 4 4 0 0    4 rounds
/// ```
///
/// Under both a task that only one worker may take goes to that worker, so no task waits for ever.
///
/// ```
/// use sp1_distributed_scheduler::{Config, Placement};
///
/// let config = Config { placement: "pack".parse()?, ..Config::default() };
/// assert_eq!(config.placement, Placement::Pack);
/// assert_eq!(Placement::default(), Placement::Spread);
/// # Ok::<(), sp1_distributed_scheduler::UnknownPlacement>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Placement {
    /// The earliest finish: a free slot takes a task at once, and a task goes to the worker that holds fewest attempts.
    #[default]
    Spread,
    /// The fewest workers that need no more rounds than [`Placement::Spread`]. The others are left free: a fleet can be
    /// made smaller by them, and one that is lost is replaced at once.
    ///
    /// The *n* open tasks of a kind (those that wait and those that workers hold) take the *w* workers that can do it
    /// *r = ⌈n / w⌉* rounds, and *m = ⌈n / r⌉* workers are enough for as many. So
    ///
    /// - a worker that holds nothing gets a task only while fewer than *m* workers hold tasks of its kind. It takes one
    ///   that only waits behind another on its worker under the same condition;
    /// - only when that isn't so do the free slots of busy workers fill, first of those that hold fewest attempts;
    /// - a worker that has just ended an attempt comes before those that held nothing, so that the same *m* go on;
    /// - a task whose kind nobody holds but workers that it failed on goes to a worker that holds nothing, whatever *m*
    ///   is.
    ///
    /// *m* is worked out anew when tasks or workers come or go, but not when a result is delivered. The attempts that
    /// began together with the delivered one are then about to end as well, and counting them as whole tasks would put
    /// more workers to work for nothing: of 15 on 7 the first result leaves 14 open, which were two full rounds of 7 if
    /// all of them had yet to begin.
    ///
    /// Tasks that come one by one, as while the program executes, put everybody to work as long as there are no more of
    /// them than workers. Each worker may then go on once more after *m* was last worked out, even if *m* others are at
    /// work, since more tasks may follow. When the last has come, workers run free as the rest of the work shrinks.
    ///
    /// Rounds take equally fast workers for granted, and that they begin together. When tasks come one by one or their
    /// durations differ the finish may be up to about one attempt later than under [`Placement::Spread`]; when workers
    /// differ, those left free may be the fast ones. Several proofs share one *m*, so an earlier one may have to wait
    /// for rounds that spread would have spared it, while all of them together end as early.
    Pack,
}

impl Placement {
    /// Every policy, the default first.
    pub const ALL: [Self; 2] = [Self::Spread, Self::Pack];

    /// Stable name, as configurations and logs show it.
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

    /// The policy of this [`name`](Placement::name).
    fn from_str(text: &str) -> Result<Self, UnknownPlacement> {
        let known = Self::ALL.into_iter().find(|placement| placement.name() == text);
        known.ok_or_else(|| UnknownPlacement(text.to_owned()))
    }
}

/// A text is no policy's name. Its message lists the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPlacement(String);

impl fmt::Display for UnknownPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = Placement::ALL;
        write!(f, "{:?} is no placement: choose \"{first}\" or \"{second}\"", self.0)
    }
}

impl error::Error for UnknownPlacement {}
