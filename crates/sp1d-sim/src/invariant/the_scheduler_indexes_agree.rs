//! Runs the scheduler's own `check_invariants`, as often as its cost allows.

use super::{property::Invariant, step::SimStep};

/// Each step adds this many items to the budget of the next check.
const ITEMS_PER_STEP: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct TheSchedulerIndexesAgree {
    /// Budget since the last check, in items.
    paid: usize,
    /// Number of checks so far.
    looks: u64,
}

impl Invariant for TheSchedulerIndexesAgree {
    fn name(&self) -> &'static str {
        "the scheduler's indices agree"
    }

    /// # Panics
    /// If the scheduler's own check fails.
    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        if step.is_quiet() {
            return Ok(());
        }
        self.paid += ITEMS_PER_STEP;
        let counts = step.scheduler.counts();
        // The check compares each waiting task with each worker, and visits everything several times.
        let items = 4 * (counts.open_tasks + counts.workers) + counts.queued_tasks * counts.workers;
        if self.paid >= items {
            self.paid = 0;
            self.looks += 1;
            step.scheduler.check_invariants();
        }
        Ok(())
    }

    fn check_end(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        step.scheduler.check_invariants();
        if self.looks == 0 { Err("no check has run".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::Event;

    #[test]
    fn a_check_runs_when_enough_steps_have_passed() {
        let (mut example, mut invariant) = (Example::new(), TheSchedulerIndexesAgree::default());
        assert_broken(example.show_end(&mut invariant), "no check has run");
        example.send_to_scheduler(new_try(1));
        (1..=100).for_each(|task| example.send_to_scheduler(submitted(1, task)));
        for step in 1..=12 {
            example.show(&mut invariant, &submitted(1, 1), &[]).unwrap();
            assert_eq!(invariant.looks, step / 4);
            example.show(&mut invariant, &Event::Tick, &[]).unwrap();
        }
        example.show_end(&mut invariant).unwrap();
    }
}
