//! A task completes once, by one of its attempts. That attempt has reported, its result passed its check, and the
//! task's marker is complete.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{AttemptId, Command, Event, TaskId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct ATaskCompletesOnce {
    /// The task of every attempt.
    assigned: BTreeMap<AttemptId, TaskId>,
    reported: BTreeSet<AttemptId>,
    accepted: BTreeMap<TaskId, AttemptId>,
    completed_markers: BTreeSet<TaskId>,
}

impl ATaskCompletesOnce {
    fn check_open(&self, task: TaskId) -> Result<(), String> {
        let done = self.accepted.get(&task);
        ensure(done.is_none(), || format!("{task} continues, but {done:?} has already completed it"))
    }

    fn accept(&mut self, task: TaskId, attempt: AttemptId, step: &SimStep<'_>) -> Result<(), String> {
        let passed = matches!(step.event, Event::ResultPassed { attempt: of } if *of == attempt);
        ensure(passed, || format!("{attempt} was accepted, but its result did not pass its check"))?;
        ensure(self.reported.contains(&attempt), || format!("{attempt} was accepted, but it has not reported"))?;
        let of = self.assigned.get(&attempt);
        ensure(of == Some(&task), || format!("{attempt} was accepted for {task}, but it was assigned for {of:?}"))?;
        let marker = step.plan.tasks.get(&task).and_then(|task| task.marker);
        ensure(marker.is_none_or(|marker| self.completed_markers.contains(&marker)), || {
            format!("{task} was accepted without its marker {marker:?}")
        })?;
        let before = self.accepted.insert(task, attempt);
        ensure(before.is_none(), || {
            format!("{task} is completed by {attempt}, but was already completed by {before:?}")
        })
    }
}

impl Invariant for ATaskCompletesOnce {
    fn name(&self) -> &'static str {
        "a task completes once"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        if let Event::ResultDelivered { attempt, .. } = step.event {
            self.reported.insert(*attempt);
        }
        for command in step.commands {
            match command {
                Command::Assign { task, attempt, .. } => {
                    self.check_open(*task)?;
                    let before = self.assigned.insert(*attempt, *task);
                    ensure(before.is_none(), || format!("{attempt} was assigned twice"))?;
                }
                Command::Continue { attempt, .. } => {
                    let task = *self.assigned.get(attempt).ok_or_else(|| format!("{attempt} was never assigned"))?;
                    self.check_open(task)?;
                }
                Command::CompleteMarker { marker, attempt, .. } => {
                    let task = self.assigned.get(attempt).and_then(|task| step.plan.tasks.get(task));
                    ensure(task.and_then(|task| task.marker) == Some(*marker), || {
                        format!("{attempt} completes {marker}, which is not the marker of its task")
                    })?;
                    ensure(self.completed_markers.insert(*marker), || format!("{marker} completes twice"))?;
                }
                Command::AcceptResult { task, attempt, .. } => self.accept(*task, *attempt, step)?,
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
    use sp1d_scheduler::TryId;

    /// Two attempts of task 1 have reported, and the result of attempt 1 is accepted.
    fn done() -> (Example, ATaskCompletesOnce) {
        let (example, mut invariant) = (Example::new(), ATaskCompletesOnce::default());
        for attempt in [1, 2] {
            example.show(&mut invariant, &Event::Tick, &[assign(1, attempt, 1, 1)]).unwrap();
            example.show(&mut invariant, &reported(1, attempt), &[]).unwrap();
        }
        example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]).unwrap();
        (example, invariant)
    }

    #[test]
    fn a_second_completion_is_detected() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &passed(2), &[accept(1, 2, 1, 1)]), "but was already completed by");
    }

    #[test]
    fn an_attempt_of_a_completed_task_is_detected() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(1, 3, 1, 1)]), "t1 continues");
    }

    #[test]
    fn accepting_an_unchecked_or_unreported_result_is_detected() {
        let (example, mut invariant) = (Example::new(), ATaskCompletesOnce::default());
        example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1)]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[accept(1, 1, 1, 1)]), "did not pass its check");
        assert_broken(example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]), "has not reported");
    }

    #[test]
    fn a_result_of_another_task_and_a_missing_marker_are_detected() {
        let (example, mut invariant) = (Example::new(), ATaskCompletesOnce::default());
        example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 2, 3)]).unwrap();
        example.show(&mut invariant, &reported(1, 1), &[]).unwrap();
        assert_broken(example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]), "was assigned for");
        assert_broken(example.show(&mut invariant, &passed(1), &[accept(1, 1, 2, 3)]), "without its marker");
        let marker = Command::CompleteMarker { try_id: TryId(2), marker: TaskId(30), attempt: AttemptId(1) };
        example.show(&mut invariant, &Event::Tick, std::slice::from_ref(&marker)).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[marker]), "completes twice");
        example.show(&mut invariant, &passed(1), &[accept(1, 1, 2, 3)]).unwrap();
    }
}
