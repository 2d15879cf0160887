//! What is said of an attempt after its task is done, or after it was discarded, changes nothing.

use super::{Invariant, Step, ensure};
use scheduler::{AttemptId, Command, Event, ProofId, TaskId, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct LaterReportsChangeNothing {
    assigned: BTreeMap<AttemptId, TaskId>,
    done: BTreeMap<TaskId, AttemptId>,
    discarded: BTreeSet<AttemptId>,
    ended: BTreeSet<ProofId>,
}

/// The attempt that an event is about.
const fn attempt_of(event: &Event) -> Option<AttemptId> {
    match event {
        Event::AttemptStarted { attempt, .. }
        | Event::MarkerReported { attempt, .. }
        | Event::AttemptReported { attempt, .. }
        | Event::ResultVerified { attempt }
        | Event::ResultRejected { attempt, .. }
        | Event::AttemptFailed { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

impl LaterReportsChangeNothing {
    /// `attempt` is over for good, of which `task` is the task if it ever was any.
    fn check_over(&self, attempt: AttemptId, task: Option<TaskId>, step: &Step<'_>) -> Result<(), String> {
        let done = task.filter(|task| self.done.contains_key(task));
        for command in step.commands {
            let changes = match *command {
                Command::Cancel { attempt: of, .. }
                | Command::CompleteMarker { attempt: of, .. }
                | Command::Adopt { attempt: of, .. } => of == attempt,
                Command::AcceptResult { attempt: of, task, .. } => of == attempt || done == Some(task),
                Command::Assign { task, .. } | Command::FailProof { task, .. } => done == Some(task),
                _ => false,
            };
            ensure(!changes, || format!("{attempt} is over, and what is said of it leads to {command:?}"))?;
        }
        let Some(task) = done.filter(|task| !self.ended.contains(&step.plan.tasks[task].proof)) else { return Ok(()) };
        let by = self.done[&task];
        let status = step.scheduler.task_status(task);
        let stands = matches!(status, Some(TaskStatus::Accepted { attempt, .. }) if attempt == by);
        ensure(stands, || format!("{task} was done by {by}, and is {status:?} after a word on {attempt}"))
    }
}

impl Invariant for LaterReportsChangeNothing {
    fn name(&self) -> &'static str {
        "later reports change nothing"
    }

    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        if let Some(attempt) = attempt_of(step.event) {
            let task = self.assigned.get(&attempt).copied();
            let over = self.discarded.contains(&attempt) || task.is_none_or(|task| self.done.contains_key(&task));
            if over {
                self.check_over(attempt, task, step)?;
            }
        }
        if let Event::ProofEnded { proof } = step.event {
            self.ended.insert(*proof);
        }
        for command in step.commands {
            match *command {
                Command::Assign { attempt, task, .. } => {
                    self.assigned.insert(attempt, task);
                }
                Command::AcceptResult { attempt, task, .. } => {
                    self.done.insert(task, attempt);
                }
                Command::Discard { attempt } => {
                    self.discarded.insert(attempt);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;

    fn done() -> (Example, LaterReportsChangeNothing) {
        let (example, mut invariant) = (Example::new(), LaterReportsChangeNothing::default());
        example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1), assign(2, 2, 1, 1)]).unwrap();
        example.show(&mut invariant, &verified(1), &[accept(1, 1, 1, 1), discard(2)]).unwrap();
        (example, invariant)
    }

    #[test]
    fn a_late_report_that_is_accepted_is_noticed() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &verified(2), &[accept(2, 2, 1, 1)]), "a2 is over");
    }

    #[test]
    fn a_late_failure_that_starts_the_task_again_is_noticed() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &reported(1, 1), &[assign(2, 3, 1, 1)]), "a1 is over");
    }

    #[test]
    fn a_task_that_is_not_done_any_more_is_noticed() {
        // The example's scheduler knows of nothing.
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &reported(1, 1), &[]), "was done by a1, and is None");
    }

    #[test]
    fn what_becomes_of_a_stranger_is_noticed() {
        let (example, mut invariant) = (Example::new(), LaterReportsChangeNothing::default());
        example.show(&mut invariant, &reported(1, 77), &[discard(77)]).unwrap();
        assert_broken(example.show(&mut invariant, &verified(77), &[accept(1, 77, 1, 1)]), "a77 is over");
    }
}
