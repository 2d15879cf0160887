//! A task has at most one live attempt, or two while one of them takes too long.

use super::{
    live_attempts::LiveAttempts,
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{AttemptId, Command, TaskId};
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(crate) struct AtMostOneLiveAttempt {
    live_attempts: LiveAttempts,
}

impl AtMostOneLiveAttempt {
    /// Checks that `task` may get another attempt: each live attempt has run, or waited for its start, at least as long
    /// as the smallest limit for slow attempts.
    fn check_beside(&self, task: TaskId, step: &SimStep<'_>) -> Result<(), String> {
        self.live_attempts.of_task(task).try_for_each(|other| {
            let Some(rules) = step.config.pace else {
                return Err(format!("{task} was assigned while {other} is live"));
            };
            let earliest = rules.straggler_floor.min(rules.overdue_floor).min(rules.overdue_cap);
            let since = self.live_attempts.started_at(other).or_else(|| self.live_attempts.assigned_at(other));
            let slow_for = since.map(|since| step.now.saturating_since(since));
            ensure(slow_for.is_some_and(|slow_for| slow_for >= earliest), || {
                format!("{task} was assigned while {other} is live, which has run or waited for {slow_for:?}")
            })
        })
    }

    fn check_number(&self, task: TaskId, newest: AttemptId) -> Result<(), String> {
        let live: Vec<AttemptId> = self.live_attempts.of_task(task).collect();
        ensure(live.len() <= 2, || format!("with {newest}, {task} has too many live attempts: {live:?}"))
    }
}

impl Invariant for AtMostOneLiveAttempt {
    fn name(&self) -> &'static str {
        "a task has at most one live attempt, or two while one takes too long"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        self.live_attempts.on_event(step.event, step.now);
        // Tasks with two live attempts, one of which goes to another worker in this step.
        let mut moved = BTreeSet::new();
        for command in step.commands {
            match command {
                Command::Cancel { attempt, .. } => {
                    let task = self.live_attempts.task_of(*attempt);
                    moved.extend(task.filter(|task| self.live_attempts.of_task(*task).count() == 2));
                }
                Command::Assign { task, .. } if !moved.contains(task) => self.check_beside(*task, step)?,
                _ => {}
            }
            self.live_attempts.on_command(command);
            if let Command::Assign { attempt, .. } | Command::Continue { attempt, .. } = command {
                let task =
                    self.live_attempts.task_of(*attempt).ok_or_else(|| format!("{attempt} was never assigned"))?;
                self.check_number(task, *attempt)?;
            }
        }
        let (own, its) = (self.live_attempts.count(), step.scheduler.counts().live_attempts);
        ensure(own == its, || format!("{own} attempts are live, but the scheduler counts {its}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::Event;
    use std::time::Duration;

    #[test]
    fn a_second_attempt_beside_a_new_one_is_detected() {
        let (example, mut invariant) = (Example::new(), AtMostOneLiveAttempt::default());
        let _ = example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1)]);
        let second = example.show(&mut invariant, &Event::Tick, &[assign(2, 2, 1, 1)]);
        assert_broken(second, "has run or waited for Some(0ns)");
    }

    #[test]
    fn a_second_attempt_beside_one_that_has_just_started_is_detected() {
        let (mut example, mut invariant) = (Example::new(), AtMostOneLiveAttempt::default());
        let _ = example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1)]);
        example.now = example.now + Duration::from_secs(3600);
        let _ = example.show(&mut invariant, &started(1, 1), &[]);
        let second = example.show(&mut invariant, &Event::Tick, &[assign(2, 2, 1, 1)]);
        assert_broken(second, "has run or waited for Some(0ns)");
    }

    #[test]
    fn a_new_attempt_after_a_delivered_result_is_allowed() {
        let (example, mut invariant) = (Example::new(), AtMostOneLiveAttempt::default());
        let _ = example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1)]);
        let delivered = example.show(&mut invariant, &reported(1, 1), &[]);
        assert_eq!(delivered, Ok(()));
        let next = example.show(&mut invariant, &Event::CheckDelayed { attempt: AttemptId(1) }, &[assign(2, 2, 1, 1)]);
        // Only the last part of the invariant fails: the scheduler of the example knows no attempt.
        assert_broken(next, "1 attempts are live, but the scheduler counts 0");
    }

    #[test]
    fn three_live_attempts_are_detected_however_long_they_run() {
        let (mut example, mut invariant) = (Example::new(), AtMostOneLiveAttempt::default());
        for attempt in 1..=2 {
            let _ = example.show(&mut invariant, &Event::Tick, &[assign(attempt, attempt, 1, 1)]);
            let _ = example.show(&mut invariant, &started(attempt, attempt), &[]);
            example.now = example.now + Duration::from_secs(3600);
        }
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(3, 3, 1, 1)]), "has too many live attempts");
    }

    #[test]
    fn a_wrong_attempt_count_of_the_scheduler_is_detected() {
        let (example, mut invariant) = (Example::new(), AtMostOneLiveAttempt::default());
        let outcome = example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1)]);
        assert_broken(outcome, "the scheduler counts 0");
    }
}
