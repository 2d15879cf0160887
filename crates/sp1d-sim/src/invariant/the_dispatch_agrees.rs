//! Runs the dispatch state machine's own `check_invariants`, as often as its cost allows.

use sp1d_scheduler::DispatchState;

/// Each event adds this many items to the budget of the next check.
const ITEMS_PER_EVENT: usize = 20;

/// Checks that the dispatch state machine and its scheduler agree.
#[derive(Debug, Default)]
pub(crate) struct TheDispatchAgrees {
    /// Budget since the last check, in items.
    paid: usize,
}

impl TheDispatchAgrees {
    /// # Panics
    /// If the dispatch state machine's own check fails.
    pub(crate) fn check(&mut self, dispatch: &DispatchState) {
        self.paid += ITEMS_PER_EVENT;
        let counts = dispatch.scheduler().counts();
        if self.paid >= counts.open_tasks + counts.live_attempts {
            self.paid = 0;
            dispatch.check_invariants();
        }
    }

    /// Checks a last time.
    ///
    /// # Panics
    /// If the dispatch state machine's own check fails.
    pub(crate) fn check_end(&self, dispatch: &DispatchState) {
        dispatch.check_invariants();
    }
}
