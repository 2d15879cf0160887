//! Tasks that idle workers steal from busy ones.

use super::*;
use crate::tasks::{MAX_HISTORY, MAX_LAPSED};

/// Worker 1 proves task 10 (attempt 1). Task 11 (attempt 2) waits behind it.
fn one_waits_behind_another() -> Table {
    let mut table = Table::new();
    table.check(
        [ready(1, 2), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), started(1, 1)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11)],
    );
    table
}

#[test]
fn an_idle_worker_takes_an_attempt_waiting_behind_another() {
    let mut table = one_waits_behind_another();
    table.check([ready(2, 2)], [cancel(1, 2), assign(2, 3, 1, 11)]);
    table.check([ready(3, 2)], []);
}

#[test]
fn a_worker_that_becomes_idle_takes_a_waiting_attempt() {
    let mut table = Table::new();
    table.check(
        [ready(1, 2), ready(2, 1), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)],
        [assign(1, 1, 1, 10), assign(2, 2, 1, 11), assign(1, 3, 1, 12)],
    );
    table.check([started(1, 1), delivered(2, 2)], [cancel(1, 3), assign(2, 4, 1, 12)]);
}

#[test]
fn the_newest_attempt_is_stolen_first() {
    let mut table = Table::new();
    table.check(
        [ready(1, 3), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD), started(1, 1)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11), assign(1, 3, 1, 12)],
    );
    table.check([ready(2, 3)], [cancel(1, 3), assign(2, 4, 1, 12)]);
    table.check([ready(3, 3)], [cancel(1, 2), assign(3, 5, 1, 11)]);
}

#[test]
fn a_started_attempt_is_not_stolen() {
    let mut table = one_waits_behind_another();
    table.check([started(1, 2), ready(2, 2)], []);
}

#[test]
fn the_only_attempt_of_a_worker_is_not_stolen() {
    let mut table = Table::new();
    table.check([ready(1, 2), new_try(1), task(1, 10, SHARD), ready(2, 2)], [assign(1, 1, 1, 10)]);
}

#[test]
fn an_attempt_left_alone_on_its_worker_is_not_stolen() {
    let mut table = one_waits_behind_another();
    table.check([delivered(1, 1), ready(2, 2)], []);
}

#[test]
fn a_worker_steals_only_kinds_it_supports() {
    let mut table = one_waits_behind_another();
    table.check([ready_for(2, 2, REDUCE)], []);
}

#[test]
fn a_task_is_not_stolen_by_a_worker_it_failed_on() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([ready(2, 2), task(1, 11, SHARD), started(2, 2)], [assign(2, 2, 1, 11)]);
    table.check([failed(1, 1)], [assign(2, 3, 1, 10)]);
    table.check([renewed(1)], []);
    table.check([ready(3, 1)], [cancel(2, 3), assign(3, 4, 1, 10)]);
}

#[test]
fn waiting_tasks_come_before_stealing() {
    let mut table = one_waits_behind_another();
    table.check([task(1, 12, SHARD)], []);
    table.check([ready(2, 1)], [assign(2, 3, 1, 12)]);
    table.check([delivered(2, 3)], [cancel(1, 2), assign(2, 4, 1, 11)]);
}

#[test]
fn a_slot_freed_by_stealing_takes_a_waiting_task() {
    let mut table = one_waits_behind_another();
    table.check([task(1, 12, REDUCE)], []);
    table.check([ready_for(2, 1, SHARD)], [cancel(1, 2), assign(2, 3, 1, 11), assign_kind(1, 4, 1, 12, REDUCE)]);
}

#[test]
fn the_result_of_a_stolen_attempt_counts_if_it_is_first() {
    let mut table = one_waits_behind_another();
    table.check([ready(2, 2)], [cancel(1, 2), assign(2, 3, 1, 11)]);
    table.check([delivered(1, 2)], []);
    table.check([passed(2)], [accept(1, 2, 1, 11), cancel(2, 3), discard(3)]);
}

#[test]
fn a_stolen_attempt_is_not_a_failure() {
    let mut table = Table::with(SchedulerConfig { max_failures: 1, max_losses: 1, ..plain() });
    table.check(
        [ready(1, 2), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), started(1, 1)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11)],
    );
    table.check([ready(2, 2)], [cancel(1, 2), assign(2, 3, 1, 11)]);
    // A failure report for the stolen attempt does not count either.
    table.check([failed(1, 2)], []);
    let history = vec![past(2, 1, AttemptEndReason::TakenBack), past(3, 2, broken())];
    table.check([failed(2, 3)], [fail_try(1, 11, history)]);
}

#[test]
fn endless_stealing_keeps_a_bounded_history() {
    let mut table = one_waits_behind_another();
    let mut discarded = 0;
    for idle in 2..=101_u64 {
        // An idle worker takes task 11. Then every slot is filled with shards that start before it.
        let commands = table.send([ready(idle, 2)]);
        assert!(matches!(commands[0], Command::Cancel { .. }), "{commands:?}");
        assert!(
            matches!(commands.last(), Some(Command::Assign { session, task: TaskId(11), .. }) if session.0 == idle),
            "{commands:?}"
        );
        discarded += commands.iter().filter(|command| matches!(command, Command::Discard { .. })).count();
        for filler in table.send([task(1, 1_000 + 2 * idle, SHARD), task(1, 1_001 + 2 * idle, SHARD)]) {
            let Command::Assign { session, attempt, .. } = filler else { panic!("{filler:?}") };
            table.send([Event::AttemptStarted { session, attempt }]);
        }
    }
    assert_eq!(discarded, 100 - MAX_LAPSED);
    assert_eq!(table.scheduler.task_history(TaskId(11)).len(), MAX_HISTORY);
}
