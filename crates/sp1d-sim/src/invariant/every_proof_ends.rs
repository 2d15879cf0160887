//! In the liveness phase, every proof ends before the deadline.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{TaskId, Timestamp};
use std::fmt::Write;

#[derive(Debug)]
pub(crate) struct EveryProofEnds {
    deadline: Timestamp,
}

/// How many tasks of a proof are shown.
const SHOWN: usize = 8;

impl EveryProofEnds {
    pub(crate) const fn new(deadline: Timestamp) -> Self {
        Self { deadline }
    }
}

impl Invariant for EveryProofEnds {
    fn name(&self) -> &'static str {
        "every proof ends once no more faults strike"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        ensure(step.now <= self.deadline, || describe(step))
    }

    fn check_end(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        let all = step.plan.tries.keys().all(|try_id| step.outcomes.contains_key(try_id));
        ensure(all, || describe(step))
    }
}

/// Describes unfinished tasks and what they wait for.
fn describe(step: &SimStep<'_>) -> String {
    let open = step.plan.tries.iter().filter(|(try_id, _)| !step.outcomes.contains_key(try_id));
    let mut text = format!("the scheduler holds {:?}; unfinished tasks:", step.scheduler.counts());
    for (try_id, entry) in open {
        let statuses = |task: &TaskId| Some((*task, step.scheduler.task_status(*task)?));
        let unfinished = entry.tasks.iter().filter_map(statuses);
        let unfinished =
            unfinished.filter(|(_, status)| !matches!(status, sp1d_scheduler::TaskStatus::Accepted { .. }));
        for (task, status) in unfinished.take(SHOWN) {
            let history = step.scheduler.task_history(task).len();
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {try_id} {task}: {status:?}, after {history} attempts");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::{SimOutcome, example::*};
    use sp1d_scheduler::{Event, TryId};
    use std::time::Duration;

    #[test]
    fn running_past_the_deadline_is_detected() {
        let (mut example, mut invariant) = (Example::new(), EveryProofEnds::new(Timestamp::default()));
        example.send_to_scheduler(new_try(1));
        example.send_to_scheduler(submitted(1, 1));
        assert_broken(example.show(&mut invariant, &Event::Tick, &[]), "try-1 t1: Waiting");
        let mut invariant = EveryProofEnds::new(example.now + Duration::from_secs(1));
        example.show(&mut invariant, &Event::Tick, &[]).unwrap();
    }

    #[test]
    fn a_world_that_ends_before_its_proofs_is_detected() {
        let (mut example, mut invariant) = (Example::new(), EveryProofEnds::new(Timestamp::default()));
        example.outcomes.insert(TryId(1), SimOutcome::Complete);
        assert_broken(example.show_end(&mut invariant), "unfinished");
        example.outcomes.insert(TryId(2), SimOutcome::Cancelled);
        example.show_end(&mut invariant).unwrap();
    }
}
