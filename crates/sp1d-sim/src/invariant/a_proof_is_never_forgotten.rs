//! The scheduler knows an accepted proof, with all its tasks, until the proof ends.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{Command, Event, TaskId, TryId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct AProofIsNeverForgotten {
    open: BTreeMap<TryId, BTreeSet<TaskId>>,
    failed: BTreeSet<TryId>,
    open_tasks: usize,
    /// Steps since the last check of all tasks.
    steps: usize,
}

impl AProofIsNeverForgotten {
    fn check_tasks(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        // The check looks up every open task, so it runs once in as many steps. The cost per step stays constant.
        self.steps += 1;
        if self.steps < self.open_tasks {
            return Ok(());
        }
        self.steps = 0;
        self.open.values().flatten().try_for_each(|task| {
            ensure(step.scheduler.task_status(*task).is_some(), || {
                format!("{task} was submitted, but the scheduler does not know it")
            })
        })
    }
}

impl Invariant for AProofIsNeverForgotten {
    fn name(&self) -> &'static str {
        "an accepted proof is never forgotten"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        match step.event {
            Event::TryStarted { try_id, .. } => {
                self.open.entry(*try_id).or_default();
            }
            Event::TaskSubmitted { try_id, task, .. } if !self.failed.contains(try_id) => {
                if let Some(tasks) = self.open.get_mut(try_id) {
                    self.open_tasks += usize::from(tasks.insert(*task));
                }
            }
            Event::TryEnded { try_id } => {
                self.open_tasks -= self.open.remove(try_id).unwrap_or_default().len();
            }
            _ => {}
        }
        for command in step.commands {
            if let Command::FailTry { try_id, .. } = command {
                self.failed.insert(*try_id);
            }
        }
        let (own, its) = (self.open.len(), step.scheduler.counts().tries);
        ensure(own == its, || format!("{own} proofs are open, but the scheduler knows {its}"))?;
        if step.is_quiet() { Ok(()) } else { self.check_tasks(step) }
    }

    fn check_end(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        let lost: Vec<_> = step.plan.tries.keys().filter(|try_id| !step.outcomes.contains_key(try_id)).collect();
        ensure(lost.is_empty(), || format!("these proofs never ended: {lost:?}"))?;
        let counts = step.scheduler.counts();
        let left = counts.tries + counts.open_tasks + counts.queued_tasks + counts.live_attempts;
        ensure(left == 0, || format!("every proof has ended, but the scheduler still holds {counts:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::{SimOutcome, example::*};

    #[test]
    fn a_forgotten_proof_is_detected() {
        let (example, mut invariant) = (Example::new(), AProofIsNeverForgotten::default());
        assert_broken(example.show(&mut invariant, &new_try(1), &[]), "the scheduler knows 0");
    }

    #[test]
    fn a_forgotten_task_is_detected() {
        let (mut example, mut invariant) = (Example::new(), AProofIsNeverForgotten::default());
        example.send_to_scheduler(new_try(1));
        example.show(&mut invariant, &new_try(1), &[]).unwrap();
        assert_broken(
            example.show(&mut invariant, &submitted(1, 1), &[]),
            "t1 was submitted, but the scheduler does not know it",
        );
    }

    #[test]
    fn a_proof_that_never_ends_is_detected() {
        let (mut example, mut invariant) = (Example::new(), AProofIsNeverForgotten::default());
        example.outcomes.insert(TryId(1), SimOutcome::Complete);
        assert_broken(example.show_end(&mut invariant), "never ended");
        example.outcomes.insert(TryId(2), SimOutcome::Complete);
        example.show_end(&mut invariant).unwrap();
        example.send_to_scheduler(new_try(1));
        assert_broken(example.show_end(&mut invariant), "every proof has ended");
    }
}
