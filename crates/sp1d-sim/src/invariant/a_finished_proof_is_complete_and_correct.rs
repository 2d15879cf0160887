//! When a proof completes, exactly one result of every task was accepted, and each accepted result is correct.

use super::{
    property::{Invariant, ensure},
    step::{SimOutcome, SimStep},
};
use crate::scenario::Value;
use sp1d_scheduler::{Command, Event, TaskId, TryId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct AFinishedProofIsCompleteAndCorrect {
    accepted: BTreeMap<TryId, BTreeSet<TaskId>>,
    ended: BTreeSet<TryId>,
}

impl Invariant for AFinishedProofIsCompleteAndCorrect {
    fn name(&self) -> &'static str {
        "a finished proof has exactly one correct result of every task"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        if let Event::TryEnded { try_id } = step.event
            && self.ended.insert(*try_id)
            && step.outcomes.get(try_id) == Some(&SimOutcome::Complete)
        {
            let accepted = self.accepted.remove(try_id).unwrap_or_default();
            let planned = step.plan.tries.get(try_id).map(|entry| &entry.tasks);
            ensure(planned == Some(&accepted), || {
                format!("{try_id} finished with the tasks {accepted:?} instead of {planned:?}")
            })?;
        }
        for command in step.commands {
            if let Command::AcceptResult { try_id, task, attempt, .. } = command {
                let delivered = step.delivered.get(attempt).copied().flatten();
                ensure(delivered == Some(Value::of(*task)), || {
                    format!("{attempt} was accepted for {task}, but it delivered {delivered:?}")
                })?;
                let of = step.plan.tasks.get(task).map(|task| task.try_id);
                ensure(of == Some(*try_id), || format!("{task} belongs to {of:?}, but was accepted for {try_id}"))?;
                let first = self.accepted.entry(*try_id).or_default().insert(*task);
                ensure(first, || format!("{task} was accepted twice for {try_id}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::AttemptId;

    #[test]
    fn a_wrong_result_is_detected() {
        let (mut example, mut invariant) = (Example::new(), AFinishedProofIsCompleteAndCorrect::default());
        for wrong in [None, Some(None), Some(Some(Value::of(TaskId(2))))] {
            example.delivered = wrong.map(|value| (AttemptId(1), value)).into_iter().collect();
            assert_broken(example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]), "but it delivered");
        }
    }

    #[test]
    fn a_missing_task_is_detected() {
        let (mut example, mut invariant) = (Example::new(), AFinishedProofIsCompleteAndCorrect::default());
        example.delivered.insert(AttemptId(1), Some(Value::of(TaskId(1))));
        example.outcomes.insert(TryId(1), SimOutcome::Complete);
        example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]).unwrap();
        assert_broken(example.show(&mut invariant, &ended(1), &[]), "finished with the tasks");
    }

    #[test]
    fn a_task_accepted_twice_is_detected() {
        let (mut example, mut invariant) = (Example::new(), AFinishedProofIsCompleteAndCorrect::default());
        example.delivered.insert(AttemptId(1), Some(Value::of(TaskId(1))));
        example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]).unwrap();
        assert_broken(example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]), "twice");
    }
}
