//! The watchers of a proof see the end or the interruption of every attempt that they saw start, and no other step of
//! the attempt afterwards. Only `Done` may follow a failure that the worker reported. An interrupted attempt may
//! continue, and its result or failure may arrive nevertheless.

use super::property::{Violation, ensure};
use sp1d_scheduler::{AttemptId, AttemptStep, DispatchCommand};
use std::collections::BTreeMap;

/// Checks the steps that the dispatch state machine publishes.
#[derive(Debug, Default)]
pub(crate) struct WatchersSeeEveryEnd {
    /// The last published step of each attempt that was neither accepted nor discarded.
    last: BTreeMap<AttemptId, AttemptStep>,
}

impl WatchersSeeEveryEnd {
    /// Checks the commands that the dispatch state machine returned for one event.
    pub(crate) fn check(&mut self, commands: &[DispatchCommand]) -> Result<(), Violation> {
        let checked = commands.iter().try_for_each(|command| match command {
            DispatchCommand::PublishStep { attempt, step, .. } => self.on_step(*attempt, step),
            DispatchCommand::AcceptResult { attempt, .. } | DispatchCommand::Discard { attempt } => {
                self.on_end(*attempt)
            }
            _ => Ok(()),
        });
        checked.map_err(|what| Violation::new("the watchers see every end", what))
    }

    fn on_step(&mut self, attempt: AttemptId, step: &AttemptStep) -> Result<(), String> {
        match self.last.insert(attempt, step.clone()) {
            None => ensure(*step == AttemptStep::Assigned, || format!("{attempt} is {step}, but was never assigned")),
            Some(AttemptStep::Failed(_)) if *step == AttemptStep::Done => Ok(()),
            Some(last) => ensure(may_follow(&last, step), || format!("{attempt} is {step} after it was {last}")),
        }
    }

    fn on_end(&mut self, attempt: AttemptId) -> Result<(), String> {
        let last = self.last.remove(&attempt);
        ensure(last.as_ref().is_some_and(|last| last.is_outcome() || last.interrupts_attempt()), || {
            format!("{attempt} has ended, but its last published step is {last:?}")
        })
    }
}

/// Returns true if the watchers of an attempt may see `step` after `last`.
fn may_follow(last: &AttemptStep, step: &AttemptStep) -> bool {
    if last.interrupts_attempt() {
        return matches!(step, AttemptStep::Continued | AttemptStep::Done | AttemptStep::Failed(_));
    }
    // A worker reports its start again after a reconnect, but the watchers see it once.
    let is_repeated = *last == AttemptStep::Started && *step == AttemptStep::Started;
    !last.is_outcome() && !is_repeated && !matches!(step, AttemptStep::Assigned | AttemptStep::Continued)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_scheduler::{SessionId, TaskId};

    const ATTEMPT: AttemptId = AttemptId(1);
    const DISCARD: DispatchCommand = DispatchCommand::Discard { attempt: ATTEMPT };

    fn step(step: AttemptStep) -> DispatchCommand {
        DispatchCommand::PublishStep { task: TaskId(2), attempt: ATTEMPT, session: SessionId(3), step }
    }

    fn check(commands: &[DispatchCommand]) -> bool {
        WatchersSeeEveryEnd::default().check(commands).is_ok()
    }

    #[test]
    fn an_attempt_takes_its_steps_in_order() {
        let (assigned, started) = (step(AttemptStep::Assigned), step(AttemptStep::Started));
        let (failed, dropped) = (step(AttemptStep::Failed("broken".to_owned())), step(AttemptStep::Dropped));
        assert!(check(&[assigned.clone(), started.clone(), dropped.clone(), DISCARD]));
        assert!(check(&[assigned.clone(), failed.clone(), step(AttemptStep::Done)]));
        assert!(!check(std::slice::from_ref(&started)), "it was never assigned");
        assert!(!check(&[assigned.clone(), started.clone(), DISCARD]), "its end was not published");
        assert!(!check(&[assigned.clone(), started.clone(), started]), "it started twice");
        assert!(!check(&[assigned, failed, dropped]), "it ended twice");
    }

    #[test]
    fn an_interrupted_attempt_may_continue_and_is_not_dropped() {
        let (assigned, started) = (step(AttemptStep::Assigned), step(AttemptStep::Started));
        for interruption in [AttemptStep::Interrupted, AttemptStep::TakenBack] {
            let (interrupted, continued) = (step(interruption), step(AttemptStep::Continued));
            let before = [assigned.clone(), started.clone(), interrupted.clone()];
            assert!(check(&[&before[..], &[DISCARD]].concat()));
            assert!(check(&[&before[..], &[step(AttemptStep::Done)]].concat()));
            assert!(check(&[&before[..], &[continued, started.clone(), interrupted]].concat()));
            assert!(!check(&[&before[..], std::slice::from_ref(&started)].concat()), "it did not continue");
            assert!(!check(&[&before[..], &[step(AttemptStep::Dropped)]].concat()), "it was already interrupted");
        }
    }
}
