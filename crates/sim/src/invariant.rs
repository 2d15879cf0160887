//! What must be true after every step, one file each.
//!
//! An invariant is judged by what the scheduler was told and what it asked for, as far as that goes, and not by what it
//! says of itself.

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

/// One event, what the scheduler asked for, and what is known beside.
pub(crate) struct Step<'a> {
    pub(crate) now: Timestamp,
    pub(crate) event: &'a Event,
    pub(crate) commands: &'a [Command],
    /// After the event.
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) config: &'a Config,
    pub(crate) plan: &'a Plan,
    /// What attempts have delivered; nothing when they said that they had and hadn't. None of the commands is carried
    /// out yet.
    pub(crate) delivered: &'a BTreeMap<AttemptId, Option<Value>>,
    /// How proofs ended that are over, or about to be.
    pub(crate) outcomes: &'a BTreeMap<ProofId, Outcome>,
}

impl Step<'_> {
    /// Nothing but time has passed.
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

/// Something that must always be true.
pub(crate) trait Invariant {
    /// It, as a sentence.
    fn name(&self) -> &'static str;

    /// Takes note of a step and says what is wrong with it.
    fn check(&mut self, step: &Step<'_>) -> Result<(), String>;

    /// Says what is wrong when every proof should have ended. `step` is about nothing.
    fn check_end(&mut self, _step: &Step<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Something that should have been true, and what was.
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

/// All of them.
pub(crate) struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    /// `deadline` is when every proof must have ended.
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

/// `what` when `condition` does not hold.
fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what()) }
}
