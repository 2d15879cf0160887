//! What the invariants see of one step of the scheduler.

use crate::scenario::{Plan, UploadedClaims, Value};
use sp1d_scheduler::{AttemptId, Command, Event, Scheduler, SchedulerConfig, Timestamp, TryId};
use std::{collections::BTreeMap, fmt};

/// How a proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SimOutcome {
    Complete,
    Failed,
    Cancelled,
}

/// One event, the commands that the scheduler returned for it, and further known facts.
pub(crate) struct SimStep<'a> {
    pub(crate) now: Timestamp,
    pub(crate) event: &'a Event,
    pub(crate) commands: &'a [Command],
    /// State after the event.
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) config: &'a SchedulerConfig,
    pub(crate) plan: &'a Plan,
    /// The results of reported attempts, before any of `commands` is carried out. `None`: the attempt reported a result
    /// but delivered nothing.
    pub(crate) delivered: &'a BTreeMap<AttemptId, Option<Value>>,
    /// The claims that attempts delivered for their markers, before any of `commands` is carried out.
    pub(crate) claims: &'a UploadedClaims,
    /// False if the event brought the claims of a worker, and no worker of another origin was available before.
    pub(crate) has_independent_worker: bool,
    /// Outcomes of proofs that have ended or are about to end.
    pub(crate) outcomes: &'a BTreeMap<TryId, SimOutcome>,
}

impl SimStep<'_> {
    /// Returns true if only time has passed.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.commands.is_empty() && matches!(self.event, Event::LeaseRenewed { .. } | Event::Tick)
    }
}

impl fmt::Display for SimStep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.event)?;
        self.commands.iter().try_for_each(|command| write!(f, "\n          → {command:?}"))
    }
}
