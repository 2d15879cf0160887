//! What must be true after every step. Each invariant has its own file.
//!
//! Where possible, an invariant judges the events and commands of the scheduler, not what the scheduler reports about
//! its own state.

mod a_finished_proof_is_whole_and_right;
mod a_proof_fails_for_what_happened;
mod a_proof_is_never_forgotten;
mod a_task_completes_once;
mod at_most_one_live_attempt;
pub(crate) mod books;
mod every_proof_ends;
mod later_reports_change_nothing;
mod no_bound_is_passed;
mod nothing_starts_for_an_ended_proof;
mod silence_alone_expires;
mod the_indices_agree;
mod who_began_a_task_gets_it;

#[cfg(test)]
mod example;

use crate::{
    driver::Outcome,
    plan::{Plan, Value},
};
use scheduler::{AttemptId, Command, Config, Event, ProofId, Scheduler, Timestamp};
use std::{collections::BTreeMap, fmt};

/// One event, the commands that the scheduler returned for it, and further known facts.
pub(crate) struct Step<'a> {
    pub(crate) now: Timestamp,
    pub(crate) event: &'a Event,
    pub(crate) commands: &'a [Command],
    /// State after the event.
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) config: &'a Config,
    pub(crate) plan: &'a Plan,
    /// The results of reported attempts, before any of `commands` is carried out. `None`: the attempt reported a result
    /// but delivered nothing.
    pub(crate) delivered: &'a BTreeMap<AttemptId, Option<Value>>,
    /// Outcomes of proofs that have ended or are about to end.
    pub(crate) outcomes: &'a BTreeMap<ProofId, Outcome>,
}

impl Step<'_> {
    /// Returns true if only time has passed.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.commands.is_empty() && matches!(self.event, Event::LeasesRenewed { .. } | Event::Tick)
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.event)?;
        self.commands.iter().try_for_each(|command| write!(f, "\n          → {command:?}"))
    }
}

/// A property that must hold after every step.
pub(crate) trait Invariant {
    /// Returns the property as a sentence.
    fn name(&self) -> &'static str;

    /// Records a step. Fails if the step breaks the property.
    fn check(&mut self, step: &Step<'_>) -> Result<(), String>;

    /// Fails if the property is broken when every proof should have ended. `step` is a tick without commands.
    fn check_end(&mut self, _step: &Step<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// A broken invariant and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: String,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(invariant: &str, what: impl Into<String>) -> Self {
        Self { invariant: invariant.to_owned(), what: what.into() }
    }
}

/// All invariants.
pub(crate) struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    /// `deadline` is the time at which every proof must have ended.
    pub(crate) fn all(deadline: Timestamp) -> Self {
        Self(vec![
            Box::new(a_finished_proof_is_whole_and_right::AFinishedProofIsWholeAndRight::default()),
            Box::new(a_proof_fails_for_what_happened::AProofFailsForWhatHappened::default()),
            Box::new(a_proof_is_never_forgotten::AProofIsNeverForgotten::default()),
            Box::new(a_task_completes_once::ATaskCompletesOnce::default()),
            Box::new(at_most_one_live_attempt::AtMostOneLiveAttempt::default()),
            Box::new(every_proof_ends::EveryProofEnds::new(deadline)),
            Box::new(later_reports_change_nothing::LaterReportsChangeNothing::default()),
            Box::new(no_bound_is_passed::NoBoundIsPassed::default()),
            Box::new(nothing_starts_for_an_ended_proof::NothingStartsForAnEndedProof::default()),
            Box::new(silence_alone_expires::SilenceAloneExpires::default()),
            Box::new(the_indices_agree::TheIndicesAgree::default()),
            Box::new(who_began_a_task_gets_it::WhoBeganATaskGetsIt),
        ])
    }

    pub(crate) fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|invariant| {
            invariant.check(step).map_err(|what| Violation::new(invariant.name(), format!("{what}\n  {step}")))
        })
    }

    pub(crate) fn check_end(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.0
            .iter_mut()
            .try_for_each(|invariant| invariant.check_end(step).map_err(|what| Violation::new(invariant.name(), what)))
    }
}

/// Returns the error `what` if `condition` is false.
fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what()) }
}
