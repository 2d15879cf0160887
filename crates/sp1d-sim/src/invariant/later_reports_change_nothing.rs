//! Events about an attempt have no effect after its task has completed or after the attempt was discarded.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{AttemptId, Command, Event, TaskId, TaskStatus, TryId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct LaterReportsChangeNothing {
    assigned: BTreeMap<AttemptId, TaskId>,
    done: BTreeMap<TaskId, AttemptId>,
    discarded: BTreeSet<AttemptId>,
    ended: BTreeSet<TryId>,
}

/// Returns the attempt that an event is about.
const fn attempt_of(event: &Event) -> Option<AttemptId> {
    match event {
        Event::AttemptStarted { attempt, .. }
        | Event::DeferredEventsAccepted { attempt, .. }
        | Event::ResultDelivered { attempt, .. }
        | Event::ResultPassed { attempt }
        | Event::ResultRejected { attempt, .. }
        | Event::CheckDelayed { attempt, .. }
        | Event::AssignmentFailed { attempt }
        | Event::AttemptFailed { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

impl LaterReportsChangeNothing {
    /// Checks that an event about the finished attempt `attempt` has no effect. `task` is its task, or `None` if the
    /// attempt was never assigned.
    fn check_over(&self, attempt: AttemptId, task: Option<TaskId>, step: &SimStep<'_>) -> Result<(), String> {
        let done = task.filter(|task| self.done.contains_key(task));
        for command in step.commands {
            let changes = match *command {
                Command::Cancel { attempt: of, .. }
                | Command::CompleteMarker { attempt: of, .. }
                | Command::Continue { attempt: of, .. } => of == attempt,
                Command::AcceptResult { attempt: of, task, .. } => of == attempt || done == Some(task),
                Command::Assign { task, .. } | Command::FailTry { task, .. } => done == Some(task),
                _ => false,
            };
            ensure(!changes, || format!("{attempt} is over, but an event about it leads to {command:?}"))?;
        }
        let Some(task) = done.filter(|task| !self.ended.contains(&step.plan.tasks[task].try_id)) else { return Ok(()) };
        let by = self.done[&task];
        let status = step.scheduler.task_status(task);
        let stands = matches!(status, Some(TaskStatus::Accepted { attempt, .. }) if attempt == by);
        ensure(stands, || format!("{task} was completed by {by}, but is {status:?} after an event about {attempt}"))
    }
}

impl Invariant for LaterReportsChangeNothing {
    fn name(&self) -> &'static str {
        "reports about a finished task change nothing"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        if let Some(attempt) = attempt_of(step.event) {
            let task = self.assigned.get(&attempt).copied();
            let over = self.discarded.contains(&attempt) || task.is_none_or(|task| self.done.contains_key(&task));
            if over {
                self.check_over(attempt, task, step)?;
            }
        }
        if let Event::TryEnded { try_id } = step.event {
            self.ended.insert(*try_id);
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
        example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1), discard(2)]).unwrap();
        (example, invariant)
    }

    #[test]
    fn accepting_a_late_report_is_detected() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &passed(2), &[accept(2, 2, 1, 1)]), "a2 is over");
    }

    #[test]
    fn restarting_a_completed_task_is_detected() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &reported(1, 1), &[assign(2, 3, 1, 1)]), "a1 is over");
    }

    #[test]
    fn a_completed_task_that_is_lost_is_detected() {
        // The example's scheduler knows no tasks.
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &reported(1, 1), &[]), "was completed by a1, but is None");
    }

    #[test]
    fn accepting_an_unknown_attempt_is_detected() {
        let (example, mut invariant) = (Example::new(), LaterReportsChangeNothing::default());
        example.show(&mut invariant, &reported(1, 77), &[discard(77)]).unwrap();
        assert_broken(example.show(&mut invariant, &passed(77), &[accept(1, 77, 1, 1)]), "a77 is over");
    }
}
