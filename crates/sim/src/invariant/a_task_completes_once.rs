//! A task completes once: by an attempt of it that delivered, was verified, and has completed the task's marker.

use super::{Invariant, Step, ensure};
use scheduler::{AttemptId, Command, Event, TaskId};
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
        ensure(done.is_none(), || format!("{task} goes on, and is done by {done:?}"))
    }

    fn accept(&mut self, task: TaskId, attempt: AttemptId, step: &Step<'_>) -> Result<(), String> {
        let verified = matches!(step.event, Event::ResultVerified { attempt: of } if *of == attempt);
        ensure(verified, || format!("{attempt} is accepted and was not verified"))?;
        ensure(self.reported.contains(&attempt), || format!("{attempt} is accepted and has not reported"))?;
        let of = self.assigned.get(&attempt);
        ensure(of == Some(&task), || format!("{attempt} is accepted for {task} and was for {of:?}"))?;
        let marker = step.plan.tasks.get(&task).and_then(|task| task.marker);
        ensure(marker.is_none_or(|marker| self.completed_markers.contains(&marker)), || {
            format!("{task} is accepted without its marker {marker:?}")
        })?;
        let before = self.accepted.insert(task, attempt);
        ensure(before.is_none(), || format!("{task} is done by {attempt}, and was done by {before:?}"))
    }
}

impl Invariant for ATaskCompletesOnce {
    fn name(&self) -> &'static str {
        "a task completes once"
    }

    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        if let Event::AttemptReported { attempt, .. } = step.event {
            self.reported.insert(*attempt);
        }
        for command in step.commands {
            match command {
                Command::Assign { task, attempt, .. } => {
                    self.check_open(*task)?;
                    let before = self.assigned.insert(*attempt, *task);
                    ensure(before.is_none(), || format!("{attempt} is two attempts"))?;
                }
                Command::Adopt { attempt, .. } => {
                    let task = *self.assigned.get(attempt).ok_or_else(|| format!("{attempt} was never assigned"))?;
                    self.check_open(task)?;
                }
                Command::CompleteMarker { marker, attempt, .. } => {
                    let task = self.assigned.get(attempt).and_then(|task| step.plan.tasks.get(task));
                    ensure(task.and_then(|task| task.marker) == Some(*marker), || {
                        format!("{attempt} completes {marker}, which is not its task's")
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
    use scheduler::ProofId;

    /// Two attempts of task 1 have reported, and one of them is accepted.
    fn done() -> (Example, ATaskCompletesOnce) {
        let (example, mut invariant) = (Example::new(), ATaskCompletesOnce::default());
        for attempt in [1, 2] {
            example.show(&mut invariant, &Event::Tick, &[assign(1, attempt, 1, 1)]).unwrap();
            example.show(&mut invariant, &reported(1, attempt), &[]).unwrap();
        }
        example.show(&mut invariant, &verified(1), &[accept(1, 1, 1, 1)]).unwrap();
        (example, invariant)
    }

    #[test]
    fn a_second_completion_is_noticed() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &verified(2), &[accept(1, 2, 1, 1)]), "and was done by");
    }

    #[test]
    fn work_on_what_is_done_is_noticed() {
        let (example, mut invariant) = done();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(1, 3, 1, 1)]), "t1 goes on");
    }

    #[test]
    fn what_nobody_verified_or_delivered_is_noticed() {
        let (example, mut invariant) = (Example::new(), ATaskCompletesOnce::default());
        example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1)]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[accept(1, 1, 1, 1)]), "was not verified");
        assert_broken(example.show(&mut invariant, &verified(1), &[accept(1, 1, 1, 1)]), "has not reported");
    }

    #[test]
    fn anothers_result_and_a_missing_marker_are_noticed() {
        let (example, mut invariant) = (Example::new(), ATaskCompletesOnce::default());
        example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 2, 3)]).unwrap();
        example.show(&mut invariant, &reported(1, 1), &[]).unwrap();
        assert_broken(example.show(&mut invariant, &verified(1), &[accept(1, 1, 1, 1)]), "was for");
        assert_broken(example.show(&mut invariant, &verified(1), &[accept(1, 1, 2, 3)]), "without its marker");
        let marker = Command::CompleteMarker { proof: ProofId(2), marker: TaskId(30), attempt: AttemptId(1) };
        example.show(&mut invariant, &Event::Tick, std::slice::from_ref(&marker)).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[marker]), "completes twice");
        example.show(&mut invariant, &verified(1), &[accept(1, 1, 2, 3)]).unwrap();
    }
}
