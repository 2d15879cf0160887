//! The scheduler's own invariants, as often as their cost allows.

use super::{Invariant, Step};

/// A step pays for so many of the items that a look goes through.
const ITEMS_PER_STEP: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct TheIndicesAgree {
    /// What the steps since the last look have paid.
    paid: usize,
    /// How often all was looked at.
    looks: u64,
}

impl Invariant for TheIndicesAgree {
    fn name(&self) -> &'static str {
        "the scheduler's indices agree"
    }

    /// # Panics
    /// When the scheduler's own look finds something.
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        if step.is_quiet() {
            return Ok(());
        }
        self.paid += ITEMS_PER_STEP;
        let counts = step.scheduler.counts();
        // Each waiting task is compared with each worker, and everything is looked at several times.
        let items = 4 * (counts.open_tasks + counts.workers) + counts.queued_tasks * counts.workers;
        if self.paid >= items {
            self.paid = 0;
            self.looks += 1;
            step.scheduler.check_invariants();
        }
        Ok(())
    }

    fn check_end(&mut self, step: &Step<'_>) -> Result<(), String> {
        step.scheduler.check_invariants();
        if self.looks == 0 { Err("nobody has looked".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use scheduler::Event;

    #[test]
    fn a_look_is_taken_when_it_is_paid_for() {
        let (mut example, mut invariant) = (Example::new(), TheIndicesAgree::default());
        assert_broken(example.show_end(&mut invariant), "nobody has looked");
        example.really_tell(proof(1));
        (1..=100).for_each(|task| example.really_tell(submitted(1, task)));
        for step in 1..=12 {
            example.show(&mut invariant, &submitted(1, 1), &[]).unwrap();
            assert_eq!(invariant.looks, step / 4);
            example.show(&mut invariant, &Event::Tick, &[]).unwrap();
        }
        example.show_end(&mut invariant).unwrap();
    }
}
