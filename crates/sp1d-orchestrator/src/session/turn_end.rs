//! When this orchestrator's turn at a worker ends.

use crate::workers::demand::RequestNumber;
use std::collections::BTreeSet;

/// Decides when the orchestrator releases a worker for which others wait: at once if it has no running proof, and
/// otherwise when the proofs have ended that ran when the others started to wait. So orchestrators take turns by
/// proofs, and an orchestrator whose proofs overlap does not keep a worker forever.
#[derive(Debug, Default)]
pub(super) struct TurnEnd {
    /// The proofs that still belong to this turn; `None` while no other orchestrator waits.
    remaining_proofs: Option<BTreeSet<RequestNumber>>,
}

impl TurnEnd {
    /// Notes how many other orchestrators wait, and which proof requests run. Returns true if the turn is over.
    pub(super) fn observe(&mut self, others: u32, running: &BTreeSet<RequestNumber>) -> bool {
        if others == 0 {
            self.remaining_proofs = None;
            return false;
        }
        let remaining_proofs = self.remaining_proofs.get_or_insert_with(|| running.clone());
        remaining_proofs.retain(|request| running.contains(request));
        remaining_proofs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a sequence of observations: waiting orchestrators, running proofs, and whether the turn is over.
    #[track_caller]
    fn check(steps: &[(u32, &[u64], bool)]) {
        let mut end = TurnEnd::default();
        for (at, (others, running, expected)) in steps.iter().enumerate() {
            let running = running.iter().copied().map(RequestNumber).collect();
            assert_eq!(end.observe(*others, &running), *expected, "step {at}");
        }
    }

    #[test]
    fn an_idle_orchestrator_releases_at_once() {
        check(&[(0, &[], false), (1, &[], true)]);
    }

    #[test]
    fn the_running_proofs_end_first_and_later_ones_do_not_prolong_the_turn() {
        check(&[(0, &[1, 2], false), (1, &[1, 2], false), (2, &[2, 3], false), (1, &[3], true)]);
    }

    #[test]
    fn nothing_is_released_without_a_waiting_orchestrator() {
        check(&[(0, &[1], false), (0, &[], false), (0, &[2], false)]);
    }

    #[test]
    fn the_turn_starts_anew_when_the_others_have_left() {
        check(&[(1, &[1], false), (0, &[1, 2], false), (1, &[1, 2], false), (1, &[2], false), (1, &[3], true)]);
    }
}
