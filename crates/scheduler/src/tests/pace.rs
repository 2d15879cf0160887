//! Stragglers, overdue attempts, and who is fast.

use super::*;
use crate::PaceRules;

const S: u64 = 1000;

/// Workers 1 to `workers` with one slot each, of which those in `known` have done a shard in as many seconds. Tasks 900
/// and up were for that.
fn with_paces(workers: u64, known: &[(u64, u64)], slots: u32) -> Table {
    let mut table = Table::with(Config { quarantine: None, ..Config::default() });
    table.tell([proof(9)]);
    for (worker, seconds) in known {
        let all: Vec<u64> = vec![*worker];
        table.tell([joined(*worker, 1), task(9, 900 + worker, SHARD)]);
        let attempt = table.attempt_on(*worker);
        table.tell([started(*worker, attempt)]);
        table.pass(ms(seconds * S), &all);
        table.tell([reported(*worker, attempt), verified(attempt), lost(*worker)]);
    }
    for worker in 1..=workers {
        // Another session of the same worker.
        table.tell([joined_holding(worker + 10, worker, slots, &[])]);
    }
    table.tell([proof(1)]);
    table
}

impl Table {
    /// The one attempt that `worker` holds.
    #[track_caller]
    fn attempt_on(&self, worker: u64) -> u64 {
        let held = self.scheduler.worker_status(WorkerId(worker)).expect("it is connected").held;
        assert_eq!(held.len(), 1, "worker {worker} holds {held:?}");
        held[0].0
    }

    #[track_caller]
    fn check_holds(&self, worker: u64, expected: usize) {
        let held = self.scheduler.worker_status(WorkerId(worker)).expect("it is connected").held;
        assert_eq!(held.len(), expected, "worker {worker} holds {held:?}");
    }
}

/// Worker 11 straggles with task 1, and 12 has a copy. The table, the attempt and its copy.
fn straggling() -> (Table, u64, u64) {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.tell([task(1, 1, SHARD)]);
    // Nothing is known of worker 12: it comes first.
    let first = table.attempt_on(12);
    table.tell([started(12, first)]);
    assert_eq!(table.pass(ms(19 * S), &[11, 12]), [], "twice the ten seconds are not over");
    let commands = table.pass(ms(2 * S), &[11, 12]);
    let copy = table.attempt_on(11);
    assert_eq!(commands, [assign(11, copy, 1, 1)]);
    (table, first, copy)
}

#[test]
fn a_straggler_gets_a_copy_and_the_first_result_that_verifies_counts() {
    let (mut table, first, copy) = straggling();
    table.check(
        [started(11, copy), reported(11, copy), verified(copy)],
        [accept(11, copy, 1, 1), cancel(12, first), discard(first)],
    );
    table.check([reported(12, first)], [discard(first)]);
}

#[test]
fn a_straggler_that_is_first_after_all_counts_and_its_copy_is_cancelled() {
    let (mut table, first, copy) = straggling();
    table.check([reported(12, first), verified(first)], [accept(12, first, 1, 1), cancel(11, copy), discard(copy)]);
}

#[test]
fn a_straggler_has_one_copy_at_most() {
    let (mut table, _, copy) = straggling();
    table.tell([joined(13, 1), started(11, copy)]);
    assert_eq!(table.pass(ms(60 * S), &[11, 12, 13]), []);
}

#[test]
fn a_wrong_result_of_a_straggler_leaves_its_copy_at_work() {
    let (mut table, first, _) = straggling();
    table.check([reported(12, first), rejected(first)], [discard(first)]);
    table.check_holds(11, 1);
}

#[test]
fn when_a_copy_fails_or_is_lost_its_task_counts_on_the_straggler() {
    let (mut table, first, copy) = straggling();
    table.check([failed(11, copy)], []);
    table.check([reported(12, first), verified(first)], [accept(12, first, 1, 1), discard(copy)]);
    let (mut table, first, copy) = straggling();
    table.check([lost(11)], []);
    table.check([reported(12, first), verified(first)], [accept(12, first, 1, 1), discard(copy)]);
}

#[test]
fn when_a_straggler_is_lost_its_copy_goes_on() {
    let (mut table, first, copy) = straggling();
    table.check([lost(12)], []);
    table.check([reported(11, copy), verified(copy)], [accept(11, copy, 1, 1), discard(first)]);
}

#[test]
fn nothing_is_copied_while_tasks_wait() {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.tell([task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD)]);
    let (slow, quick) = (table.attempt_on(12), table.attempt_on(11));
    table.tell([started(12, slow), started(11, quick)]);
    table.pass(ms(30 * S), &[11, 12]);
    table.tell([reported(11, quick), verified(quick)]);
    let last = table.attempt_on(11);
    table.tell([started(11, last)]);
    let commands = table.tell([reported(11, last)]);
    assert_eq!(commands, [assign(11, last + 1, 1, 1)], "nothing waits any more");
}

#[test]
fn what_began_before_anything_was_known_is_watched_by_what_is_learned() {
    let mut table = Table::with(Config { quarantine: None, ..Config::default() });
    table.tell([proof(1), joined(1, 1), joined(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.tell([started(1, 1), started(2, 2)]);
    table.pass(ms(10 * S), &[1, 2]);
    table.check([reported(2, 2), verified(2)], [accept(2, 2, 1, 2)]);
    assert_eq!(table.pass(ms(9 * S), &[1, 2]), []);
    assert_eq!(table.pass(ms(S), &[1, 2]), [assign(2, 3, 1, 1)]);
}

#[test]
fn an_overdue_attempt_is_retried_elsewhere_and_counts_if_it_comes_first() {
    let pace = PaceRules { overdue_floor: ms(30 * S), overdue_cap: ms(40 * S), ..PaceRules::default() };
    let mut table = Table::with(Config { quarantine: None, pace: Some(pace), ..Config::default() });
    table.tell([proof(1), joined(1, 1), task(1, 1, SHARD), started(1, 1)]);
    assert_eq!(table.pass(ms(39 * S), &[1]), [], "nothing is known, so the cap counts");
    table.tell([joined(2, 1)]);
    assert_eq!(table.pass(ms(2 * S), &[1, 2]), [assign(2, 2, 1, 1)]);
    let history = table.scheduler.task_history(TaskId(1));
    assert_eq!(history.iter().map(|past| &past.failure).collect::<Vec<_>>(), [&Failure::Overdue]);
    // Its slot is not free: who knows what it is at.
    table.check_holds(1, 1);
    table.check([reported(1, 1), verified(1)], [accept(1, 1, 1, 1), cancel(2, 2), discard(2)]);
}

#[test]
fn an_overdue_attempt_costs_its_proof_no_turn() {
    let pace = PaceRules { overdue_floor: ms(30 * S), overdue_cap: ms(40 * S), ..PaceRules::default() };
    let mut table = Table::with(Config { quarantine: None, pace: Some(pace), ..Config::default() });
    table.tell([proof(1), joined(1, 1), task(1, 1, SHARD), started(1, 1)]);
    table.tell([proof(2), joined(2, 1), task(2, 2, SHARD), task(2, 3, SHARD)]);
    table.tell([started(2, 2)]);
    assert_eq!(table.pass(ms(39 * S), &[1, 2]), []);
    table.tell([reported(2, 2), verified(2), started(2, 3)]);
    assert_eq!(table.pass(ms(2 * S), &[1, 2]), [], "task 1 waits: its attempt is overdue");
    table.tell([task(2, 4, SHARD)]);
    // Of both proofs nothing is held that counts, and the first was given something longer ago.
    table.check([reported(2, 3)], [assign(2, 4, 1, 1)]);
}

#[test]
fn a_pause_of_the_orchestrator_makes_nobody_slow() {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.tell([task(1, 1, SHARD)]);
    let first = table.attempt_on(12);
    table.tell([started(12, first)]);
    table.now = table.now + ms(3600 * S);
    assert_eq!(table.tell([Event::Tick]), []);
}

#[test]
fn the_fastest_idle_worker_gets_a_task() {
    let mut table = with_paces(3, &[(1, 30), (2, 10), (3, 20)], 1);
    table.tell([task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.check_holds(12, 1);
    table.check_holds(13, 1);
    table.check_holds(11, 0);
}

#[test]
fn a_slow_worker_does_not_get_the_last_task_but_its_share_of_many() {
    let mut table = with_paces(2, &[(1, 100), (2, 10)], 2);
    table.tell([task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.check_holds(12, 2);
    table.check_holds(11, 0);
    table.tell([task(1, 3, SHARD), task(1, 4, SHARD)]);
    table.check_holds(11, 2);
}

/// A fast worker that hangs is no longer one that would be done earlier.
#[test]
fn what_waits_behind_an_attempt_that_hangs_is_taken_by_a_slower_worker() {
    let mut table = with_paces(2, &[(1, 30), (2, 10)], 2);
    table.tell([task(1, 1, SHARD), task(1, 2, SHARD)]);
    let held = table.scheduler.worker_status(WorkerId(12)).unwrap().held;
    assert_eq!(held.len(), 2, "the fast one is done with both before the slow one is with one");
    table.tell([started(12, held[0].0)]);
    let commands = table.pass(ms(11 * S), &[11, 12]);
    assert_eq!(commands, [cancel(12, held[1].0), assign(11, held[1].0 + 1, 1, 2)]);
}

#[test]
fn what_waits_behind_an_overdue_attempt_goes_to_others() {
    let pace = PaceRules { overdue_cap: ms(40 * S), overdue_floor: ms(30 * S), ..PaceRules::default() };
    let mut table = Table::with(Config { quarantine: None, pace: Some(pace), ..Config::default() });
    table.tell([proof(1), joined(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1)]);
    // It goes back to the same worker, which is the only one, and behind what it is at.
    let commands = table.pass(ms(41 * S), &[1]);
    assert_eq!(commands, [cancel(1, 2), assign(1, 3, 1, 1)]);
    table.check([joined(2, 2)], [assign(2, 4, 1, 2)]);
}

#[test]
fn nothing_is_learned_from_a_wrong_result() {
    let mut table = Table::with(Config { quarantine: None, ..Config::default() });
    table.tell([proof(1), joined(1, 1), joined(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.tell([started(1, 1), started(2, 2)]);
    table.pass(ms(S), &[1, 2]);
    table.tell([reported(1, 1), rejected(1)]);
    // Were a second what shards take, the other would straggle.
    assert_eq!(table.pass(ms(30 * S), &[1, 2]), []);
}
