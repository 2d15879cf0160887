//! Stragglers, overdue attempts and fast workers.

use super::*;
use crate::PaceRules;

const S: u64 = 1000;

/// Connects workers 1 to `workers` as sessions 11 and up, with `slots` slots each. Each `(worker, seconds)` in `known`
/// has already proved one shard in that many seconds. Tasks 900 and up are those shards.
fn with_paces(workers: u64, known: &[(u64, u64)], slots: u32) -> Table {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(9)]);
    for (session, seconds) in known {
        let all: Vec<u64> = vec![*session];
        table.send([ready(*session, 1), task(9, 900 + session, SHARD)]);
        let attempt = table.attempt_on(*session);
        table.send([started(*session, attempt)]);
        table.pass(ms(seconds * S), &all);
        table.send([delivered(*session, attempt), passed(attempt), lost(*session)]);
    }
    for worker in 1..=workers {
        // A new session of the same worker.
        table.send([ready_holding(worker + 10, worker, slots, &[])]);
    }
    table.send([new_try(1)]);
    table
}

impl Table {
    /// Returns the only attempt that `session` holds.
    #[track_caller]
    fn attempt_on(&self, session: u64) -> u64 {
        let held = self.scheduler.held_attempts(SessionId(session)).expect("the worker is ready");
        assert_eq!(held.len(), 1, "session {session} holds {held:?}");
        held[0].0
    }

    #[track_caller]
    fn check_holds(&self, session: u64, expected: usize) {
        let held = self.scheduler.held_attempts(SessionId(session)).expect("the worker is ready");
        assert_eq!(held.len(), expected, "session {session} holds {held:?}");
    }
}

/// Session 12 holds a straggler of task 1, and session 11 holds the speculative attempt. Returns the table, the
/// straggler and the speculative attempt.
fn straggling() -> (Table, u64, u64) {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.send([task(1, 1, SHARD)]);
    // The speed of session 12 is unknown, so it comes first.
    let first = table.attempt_on(12);
    table.send([started(12, first)]);
    assert_eq!(table.pass(ms(19 * S), &[11, 12]), [], "an attempt straggles after twice the expected 10 s, not before");
    let commands = table.pass(ms(2 * S), &[11, 12]);
    let copy = table.attempt_on(11);
    assert_eq!(commands, [assign(11, copy, 1, 1)]);
    (table, first, copy)
}

#[test]
fn a_speculative_attempt_that_finishes_first_counts() {
    let (mut table, first, copy) = straggling();
    table.check(
        [started(11, copy), delivered(11, copy), passed(copy)],
        [accept(11, copy, 1, 1), cancel(12, first), discard(first)],
    );
    table.check([delivered(12, first)], [discard(first)]);
}

#[test]
fn a_straggler_that_finishes_first_cancels_its_speculative_attempt() {
    let (mut table, first, copy) = straggling();
    table.check([delivered(12, first), passed(first)], [accept(12, first, 1, 1), cancel(11, copy), discard(copy)]);
}

#[test]
fn a_straggler_gets_at_most_one_speculative_attempt() {
    let (mut table, _, copy) = straggling();
    table.send([ready(13, 1), started(11, copy)]);
    assert_eq!(table.pass(ms(60 * S), &[11, 12, 13]), []);
}

#[test]
fn a_rejected_straggler_leaves_its_speculative_attempt_running() {
    let (mut table, first, _) = straggling();
    table.check([delivered(12, first), rejected(first)], [discard(first)]);
    table.check_holds(11, 1);
}

#[test]
fn a_straggler_continues_if_its_speculative_attempt_ends() {
    let (mut table, first, copy) = straggling();
    table.check([failed(11, copy)], []);
    table.check([delivered(12, first), passed(first)], [accept(12, first, 1, 1), discard(copy)]);
    let (mut table, first, copy) = straggling();
    table.check([lost(11)], []);
    table.check([delivered(12, first), passed(first)], [accept(12, first, 1, 1), discard(copy)]);
}

#[test]
fn a_speculative_attempt_continues_if_its_straggler_is_lost() {
    let (mut table, first, copy) = straggling();
    table.check([lost(12)], []);
    table.check([delivered(11, copy), passed(copy)], [accept(11, copy, 1, 1), discard(first)]);
}

#[test]
fn no_speculative_attempt_starts_while_tasks_wait() {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD)]);
    let (slow, quick) = (table.attempt_on(12), table.attempt_on(11));
    table.send([started(12, slow), started(11, quick)]);
    table.pass(ms(30 * S), &[11, 12]);
    table.send([delivered(11, quick), passed(quick)]);
    let last = table.attempt_on(11);
    table.send([started(11, last)]);
    let commands = table.send([delivered(11, last)]);
    assert_eq!(commands, [assign(11, last + 1, 1, 1)], "no task waits any more");
}

#[test]
fn running_attempts_are_judged_by_durations_learned_later() {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), ready(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.send([started(1, 1), started(2, 2)]);
    table.pass(ms(10 * S), &[1, 2]);
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 2)]);
    assert_eq!(table.pass(ms(9 * S), &[1, 2]), []);
    assert_eq!(table.pass(ms(S), &[1, 2]), [assign(2, 3, 1, 1)]);
}

#[test]
fn an_overdue_attempt_is_retried_but_counts_if_first() {
    let pace = PaceRules { overdue_floor: ms(30 * S), overdue_cap: ms(40 * S), ..PaceRules::default() };
    let mut table = Table::with(SchedulerConfig { quarantine: None, pace: Some(pace), ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), task(1, 1, SHARD), started(1, 1)]);
    assert_eq!(table.pass(ms(39 * S), &[1]), [], "no duration is known, so only the cap applies");
    table.send([ready(2, 1)]);
    assert_eq!(table.pass(ms(2 * S), &[1, 2]), [assign(2, 2, 1, 1)]);
    let history = table.scheduler.task_history(TaskId(1));
    assert_eq!(history.iter().map(|past| &past.reason).collect::<Vec<_>>(), [&AttemptEndReason::Overdue]);
    // The slot of the overdue attempt is not free: its worker may still be proving it.
    table.check_holds(1, 1);
    table.check([delivered(1, 1), passed(1)], [accept(1, 1, 1, 1), cancel(2, 2), discard(2)]);
}

/// Attempts of unknown durations are overdue after 40 s, and are cancelled after 80 s.
fn quickly_overdue(max_losses: u32) -> Table {
    let pace = PaceRules { overdue_floor: ms(30 * S), overdue_cap: ms(40 * S), ..PaceRules::default() };
    let config = SchedulerConfig { quarantine: None, pace: Some(pace), max_losses, ..SchedulerConfig::default() };
    let mut table = Table::with(config);
    table.send([new_try(1)]);
    table
}

/// Otherwise the task would wait forever for the slot of its own attempt.
#[test]
fn an_attempt_that_hangs_on_the_only_worker_is_cancelled_and_retried() {
    let mut table = quickly_overdue(2);
    table.send([ready(1, 1), task(1, 1, SHARD), started(1, 1)]);
    assert_eq!(table.pass(ms(79 * S), &[1]), [], "the attempt is overdue, but may only be slow");
    assert_eq!(table.pass(ms(2 * S), &[1]), [cancel(1, 1), assign(1, 2, 1, 1)]);
    // The second loss reaches the limit.
    table.send([started(1, 2)]);
    let commands = table.pass(ms(41 * S), &[1]);
    let [Command::FailTry { history, .. }] = &commands[..] else { panic!("no failed try: {commands:?}") };
    let reasons: Vec<_> = history.iter().map(|past| &past.reason).collect();
    assert_eq!(reasons, [&AttemptEndReason::Overdue, &AttemptEndReason::Overdue]);
}

#[test]
fn a_task_behind_its_own_overdue_attempt_is_assigned_anew_when_that_is_cancelled() {
    let mut table = quickly_overdue(5);
    table.send([ready(1, 2), task(1, 1, SHARD), started(1, 1)]);
    assert_eq!(table.pass(ms(79 * S), &[1]), [assign(1, 2, 1, 1)]);
    assert_eq!(table.pass(ms(2 * S), &[1]), [cancel(1, 2), cancel(1, 1), assign(1, 3, 1, 1)]);
    // If the worker still starts nothing, the new attempt has a deadline.
    assert_eq!(table.pass(ms(601 * S), &[1]), [cancel(1, 3), assign(1, 4, 1, 1)]);
}

#[test]
fn two_workers_that_hang_do_not_wait_for_each_other() {
    let mut table = quickly_overdue(5);
    table.send([ready(1, 1), ready(2, 1), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1), started(2, 2)]);
    assert_eq!(table.pass(ms(79 * S), &[1, 2]), []);
    let commands = table.pass(ms(2 * S), &[1, 2]);
    assert_eq!(commands, [cancel(1, 1), cancel(2, 2), assign(2, 3, 1, 1), assign(1, 4, 1, 2)]);
}

#[test]
fn the_result_of_a_cancelled_overdue_attempt_counts_if_it_is_the_first() {
    let mut table = quickly_overdue(5);
    table.send([ready(1, 1), task(1, 1, SHARD), started(1, 1)]);
    table.pass(ms(81 * S), &[1]);
    table.check([delivered(1, 1), passed(1)], [accept(1, 1, 1, 1), cancel(1, 2), discard(2)]);
}

#[test]
fn a_drain_ends_although_an_attempt_hangs() {
    let mut table = quickly_overdue(5);
    table.send([ready(1, 1), task(1, 1, SHARD), started(1, 1), Event::DrainRequested { session: SessionId(1) }]);
    assert_eq!(table.pass(ms(79 * S), &[1]), []);
    let drained = Command::WorkerDrained { session: SessionId(1) };
    assert_eq!(table.pass(ms(2 * S), &[1]), [cancel(1, 1), drained]);
}

/// With the default rules, an attempt of 10 s is overdue after 2 minutes. Until it has run for 10 minutes, it may only
/// be slow.
#[test]
fn an_overdue_attempt_on_the_only_worker_has_time_to_finish() {
    let mut table = with_paces(1, &[(1, 10)], 1);
    table.send([task(1, 1, SHARD)]);
    let first = table.attempt_on(11);
    table.send([started(11, first)]);
    assert_eq!(table.pass(ms(599 * S), &[11]), []);
    assert_eq!(table.pass(ms(2 * S), &[11]), [cancel(11, first), assign(11, first + 1, 1, 1)]);
}

/// `session` is the only worker left, and no duration of it is known. It needs 11 minutes for `attempt` of task 1. A
/// worker that has left needed 2 s. Checks that the attempt is not cancelled, and that its result counts.
#[track_caller]
fn check_slow_worker_finishes(mut table: Table, session: u64, attempt: u64) {
    assert_eq!(table.pass(ms(660 * S), &[session]), []);
    let commands = table.send([delivered(session, attempt), passed(attempt)]);
    assert!(commands.contains(&accept(session, attempt, 1, 1)), "{commands:?}");
}

#[test]
fn the_durations_of_other_workers_cancel_no_attempt() {
    let mut table = with_paces(2, &[(1, 2)], 1);
    table.send([task(1, 1, SHARD), lost(11)]);
    let first = table.attempt_on(12);
    table.send([started(12, first)]);
    check_slow_worker_finishes(table, 12, first);
    // The other worker's duration is learned while the attempt runs.
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), ready(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.send([started(1, 1), started(2, 2)]);
    table.pass(ms(2 * S), &[1, 2]);
    table.check([delivered(2, 2), passed(2), lost(2)], [accept(2, 2, 1, 2)]);
    check_slow_worker_finishes(table, 1, 1);
}

#[test]
fn an_overdue_attempt_does_not_count_in_fair_share() {
    let pace = PaceRules { overdue_floor: ms(30 * S), overdue_cap: ms(40 * S), ..PaceRules::default() };
    let mut table = Table::with(SchedulerConfig { quarantine: None, pace: Some(pace), ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), task(1, 1, SHARD), started(1, 1)]);
    table.send([new_try(2), ready(2, 1), task(2, 2, SHARD), task(2, 3, SHARD)]);
    table.send([started(2, 2)]);
    assert_eq!(table.pass(ms(39 * S), &[1, 2]), []);
    table.send([delivered(2, 2), passed(2), started(2, 3)]);
    assert_eq!(table.pass(ms(2 * S), &[1, 2]), [], "task 1 waits: its attempt is overdue");
    table.send([task(2, 4, SHARD)]);
    // No held attempt counts for either try, and the latest attempt of try 1 was assigned earlier.
    table.check([delivered(2, 3)], [assign(2, 4, 1, 1)]);
}

#[test]
fn a_pause_of_the_orchestrator_makes_no_attempt_slow() {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.send([task(1, 1, SHARD)]);
    let first = table.attempt_on(12);
    table.send([started(12, first)]);
    table.now = table.now + ms(3600 * S);
    assert_eq!(table.send([Event::Tick]), []);
}

#[test]
fn the_fastest_idle_worker_gets_a_task() {
    let mut table = with_paces(3, &[(1, 30), (2, 10), (3, 20)], 1);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.check_holds(12, 1);
    table.check_holds(13, 1);
    table.check_holds(11, 0);
}

/// Worker 1 needs 60 s and worker 2 needs 4 s, as on a GPU.
#[test]
fn a_fast_worker_overtakes_a_slow_one_when_no_task_waits() {
    let mut table = with_paces(2, &[(1, 60), (2, 4)], 1);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD)]);
    let (slow, quick) = (table.attempt_on(11), table.attempt_on(12));
    table.send([started(11, slow), started(12, quick)]);
    assert_eq!(table.pass(ms(4 * S), &[11, 12]), []);
    table.check([delivered(12, quick), passed(quick)], [accept(12, quick, 1, 1)]);
    let commands = table.pass(ms(S), &[11, 12]);
    let copy = table.attempt_on(12);
    assert_eq!(commands, [assign(12, copy, 1, 2)], "after 5 s, the slow worker still needs 55 s");
    table.check(
        [started(12, copy), delivered(12, copy), passed(copy)],
        [accept(12, copy, 1, 2), cancel(11, slow), discard(slow)],
    );
}

#[test]
fn a_worker_that_saves_little_overtakes_no_other() {
    let mut table = with_paces(2, &[(1, 20), (2, 12)], 1);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD)]);
    let (slow, quick) = (table.attempt_on(11), table.attempt_on(12));
    table.send([started(11, slow), started(12, quick)]);
    table.pass(ms(6 * S), &[11, 12]);
    table.check([delivered(12, quick), passed(quick)], [accept(12, quick, 1, 1)]);
    // Worker 2 now needs 10.5 s, and the other attempt 14 s.
    assert_eq!(table.pass(ms(13 * S), &[11, 12]), []);
}

#[test]
fn an_attempt_on_a_slow_worker_is_not_overtaken_while_tasks_wait() {
    let mut table = with_paces(2, &[(1, 60), (2, 4)], 1);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD)]);
    let (slow, quick) = (table.attempt_on(11), table.attempt_on(12));
    table.send([started(11, slow), started(12, quick)]);
    table.pass(ms(6 * S), &[11, 12]);
    let commands = table.send([delivered(12, quick)]);
    let next = table.attempt_on(12);
    assert_eq!(commands, [assign(12, next, 1, 3)]);
}

/// Worker 1 is fast at shards, as on a GPU, and worker 2 at reductions.
#[test]
fn each_kind_goes_to_the_worker_that_is_fastest_at_it() {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(9)]);
    // The worker, the kind, and the seconds that the worker needs.
    let known = [(1, SHARD, 4), (1, REDUCE, 30), (2, SHARD, 60), (2, REDUCE, 10)];
    for (session, (worker, kind, seconds)) in (101..).zip(known) {
        table.send([ready_holding(session, worker, 1, &[]), task(9, 900 + session, kind)]);
        let attempt = table.attempt_on(session);
        table.send([started(session, attempt)]);
        table.pass(ms(seconds * S), &[session]);
        table.send([delivered(session, attempt), passed(attempt), lost(session)]);
    }
    table.send([ready_holding(11, 1, 2, &[]), ready_holding(12, 2, 2, &[]), new_try(1)]);
    table.send([task(1, 1, REDUCE)]);
    table.check_holds(12, 1);
    // Worker 2 finishes both reductions before the idle worker 1 would finish one.
    table.send([task(1, 2, REDUCE)]);
    table.check_holds(12, 2);
    table.send([task(1, 3, SHARD)]);
    table.check_holds(11, 1);
}

#[test]
fn a_slow_worker_gets_its_share_but_not_the_last_task() {
    let mut table = with_paces(2, &[(1, 100), (2, 10)], 2);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.check_holds(12, 2);
    table.check_holds(11, 0);
    table.send([task(1, 3, SHARD), task(1, 4, SHARD)]);
    table.check_holds(11, 2);
}

/// A fast worker that hangs is no longer expected to finish earlier.
#[test]
fn a_slower_worker_takes_an_attempt_behind_a_hanging_one() {
    let mut table = with_paces(2, &[(1, 30), (2, 10)], 2);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD)]);
    let held = table.scheduler.held_attempts(SessionId(12)).unwrap();
    assert_eq!(held.len(), 2, "the fast worker finishes both tasks before the slow one finishes one");
    table.send([started(12, held[0].0)]);
    let commands = table.pass(ms(11 * S), &[11, 12]);
    assert_eq!(commands, [cancel(12, held[1].0), assign(11, held[1].0 + 1, 1, 2)]);
}

#[test]
fn attempts_waiting_behind_an_overdue_one_go_to_others() {
    let pace = PaceRules { overdue_cap: ms(40 * S), overdue_floor: ms(30 * S), ..PaceRules::default() };
    let mut table = Table::with(SchedulerConfig { quarantine: None, pace: Some(pace), ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1)]);
    // Task 1 goes to worker 1 again, the only worker, behind its overdue attempt.
    let commands = table.pass(ms(41 * S), &[1]);
    assert_eq!(commands, [cancel(1, 2), assign(1, 3, 1, 1)]);
    table.check([ready(2, 2)], [assign(2, 4, 1, 2)]);
}

#[test]
fn rejected_results_do_not_teach_durations() {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), ready(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.send([started(1, 1), started(2, 2)]);
    table.pass(ms(S), &[1, 2]);
    table.send([delivered(1, 1), rejected(1)]);
    // If a shard were known to take 1 s, the other attempt would be a straggler.
    assert_eq!(table.pass(ms(30 * S), &[1, 2]), []);
}

#[test]
fn a_worker_that_starts_nothing_gets_a_speculative_attempt_beside_it() {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.send([task(1, 1, SHARD)]);
    let first = table.attempt_on(12);
    assert_eq!(table.pass(ms(19 * S), &[11, 12]), [], "the worker may start within twice the expected 10 s");
    let commands = table.pass(ms(2 * S), &[11, 12]);
    let copy = table.attempt_on(11);
    assert_eq!(commands, [assign(11, copy, 1, 1)]);
    // The first of the two results counts.
    table.check(
        [started(11, copy), delivered(11, copy), passed(copy)],
        [accept(11, copy, 1, 1), cancel(12, first), discard(first)],
    );
}

#[test]
fn a_task_relies_again_on_an_attempt_that_starts_late_if_the_speculative_attempt_is_lost() {
    let mut table = with_paces(2, &[(1, 10)], 1);
    table.send([task(1, 1, SHARD)]);
    let first = table.attempt_on(12);
    table.pass(ms(21 * S), &[11, 12]);
    let copy = table.attempt_on(11);
    table.check([started(11, copy), lost(11)], []);
    table.check([started(12, first), delivered(12, first), passed(first)], [accept(12, first, 1, 1), discard(copy)]);
}
