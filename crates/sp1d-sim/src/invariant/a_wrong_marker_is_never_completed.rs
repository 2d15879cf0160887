//! A marker is completed only by an attempt whose claims are correct. One exception: well-formed wrong claims are
//! believed if no worker of another origin is available. In production, the finished proof does not verify then.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use crate::scenario::Claims;
use sp1d_scheduler::Command;

#[derive(Debug)]
pub(crate) struct AWrongMarkerIsNeverCompleted;

impl Invariant for AWrongMarkerIsNeverCompleted {
    fn name(&self) -> &'static str {
        "a wrong marker is never completed"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        step.commands.iter().try_for_each(|command| {
            let Command::CompleteMarker { marker, attempt, .. } = command else { return Ok(()) };
            let claims = step.claims.get(attempt);
            let task = step.plan.tasks.iter().find(|(_, task)| task.marker == Some(*marker)).map(|(task, _)| *task);
            let is_right = claims.is_some() && claims.copied() == task.map(Claims::of);
            let is_believed = claims.is_some_and(|claims| !claims.is_malformed()) && !step.has_independent_worker;
            ensure(is_right || is_believed, || {
                format!("{attempt} completed {marker} of {task:?} with the wrong claims {claims:?}")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::{AttemptId, Event, OriginId, TaskId, TryId};

    #[test]
    fn wrong_and_missing_claims_are_detected() {
        let (mut example, mut invariant) = (Example::new(), AWrongMarkerIsNeverCompleted);
        let complete = [Command::CompleteMarker { try_id: TryId(2), marker: TaskId(30), attempt: AttemptId(1) }];
        assert_broken(example.show(&mut invariant, &Event::Tick, &complete), "wrong claims None");
        for malformed in [false, true] {
            example.claims.insert(AttemptId(1), Claims::wrong(TaskId(3), OriginId(1), malformed));
            assert_broken(example.show(&mut invariant, &Event::Tick, &complete), "a1 completed t30");
        }
        example.has_independent_worker = false;
        assert_broken(example.show(&mut invariant, &Event::Tick, &complete), "a1 completed t30");
        example.claims.insert(AttemptId(1), Claims::wrong(TaskId(3), OriginId(1), false));
        assert_eq!(example.show(&mut invariant, &Event::Tick, &complete), Ok(()));
        example.has_independent_worker = true;
        example.claims.insert(AttemptId(1), Claims::of(TaskId(3)));
        assert_eq!(example.show(&mut invariant, &Event::Tick, &complete), Ok(()));
    }
}
