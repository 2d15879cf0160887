//! Which result counts.

use super::*;
use crate::TaskStatus;

#[test]
fn a_verified_result_is_accepted() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    let (session, attempt, assigned) = (SessionId(1), AttemptId(1), table.now);
    let held = |started| Some(TaskStatus::Held { session, attempt, assigned, started });
    assert_eq!(table.scheduler.task_status(TaskId(10)), held(None));
    table.now = table.now + ms(100);
    table.check([started(1, 1)], []);
    assert_eq!(table.scheduler.task_status(TaskId(10)), held(Some(table.now)));
    table.check([delivered(1, 1)], []);
    assert_eq!(table.scheduler.task_status(TaskId(10)), Some(TaskStatus::Verifying { session, attempt }));
    table.check([passed(1)], [accept(1, 1, 1, 10)]);
    assert_eq!(table.scheduler.task_status(TaskId(10)), Some(TaskStatus::Accepted { session, attempt }));
}

#[test]
fn a_slot_is_free_while_its_result_is_verified() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1)], [assign(1, 2, 1, 11)]);
    table.check([passed(1)], [accept(1, 1, 1, 10)]);
}

#[test]
fn second_completion_of_a_task_changes_nothing() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1), passed(1)], [accept(1, 1, 1, 10)]);
    table.check([delivered(1, 1), passed(1), rejected(1), failed(1, 1), started(1, 1)], []);
    table.check([task(1, 10, SHARD)], []);
}

#[test]
fn a_result_that_was_not_delivered_is_not_accepted() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([passed(1), rejected(1), passed(7), rejected(7)], []);
    table.check([delivered(2, 1), passed(1)], []);
}

#[test]
fn a_report_of_an_unknown_attempt_is_discarded() {
    let mut table = Table::new();
    table.check([ready(1, 1), delivered(1, 7), delivered(9, 8)], [discard(7), discard(8)]);
}

/// Task 10 was on worker 1 (attempt 1), which was lost. It is now on worker 2 (attempt 2).
fn reassigned() -> Table {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([lost(1)], [assign(2, 2, 1, 10)]);
    table
}

#[test]
fn a_lapsed_attempts_result_counts_from_any_session() {
    let mut table = reassigned();
    table.check([ready(3, 1), delivered(3, 1)], []);
    table.check([passed(1)], [accept(1, 1, 1, 10), cancel(2, 2), discard(2)]);
    table.check([delivered(2, 2)], [discard(2)]);
}

#[test]
fn a_lapsed_attempts_result_counts_while_its_task_waits() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD), lost(1)], [assign(1, 1, 1, 10)]);
    table.check([delivered(2, 1), passed(1)], [accept(1, 1, 1, 10)]);
    table.check([ready(3, 1)], []);
}

#[test]
fn a_lapsed_attempts_rejection_does_not_affect_its_task() {
    let mut table = reassigned();
    table.check([delivered(1, 1), rejected(1)], [discard(1)]);
    assert_eq!(table.scheduler.task_history(TaskId(10)).len(), 1);
    table.check([delivered(1, 1)], [discard(1)]);
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 10)]);
}

#[test]
fn a_lapsed_attempt_is_discarded_when_another_is_accepted() {
    let mut table = reassigned();
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 10), discard(1)]);
    table.check([delivered(1, 1)], [discard(1)]);
}

#[test]
fn the_first_of_two_results_that_verifies_is_final() {
    let mut table = reassigned();
    table.check([delivered(1, 1), delivered(2, 2)], []);
    table.check([passed(1)], [accept(1, 1, 1, 10), discard(2)]);
    table.check([passed(2), rejected(2)], []);
}

#[test]
fn a_late_result_of_a_failed_attempt_counts() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 10)]);
    table.check([delivered(1, 1), passed(1)], [accept(1, 1, 1, 10), cancel(2, 2), discard(2)]);
}

#[test]
fn a_slot_freed_by_another_result_takes_a_task() {
    let mut table = reassigned();
    table.check([task(1, 11, SHARD)], []);
    table.check([delivered(3, 1)], []);
    table.check([passed(1)], [accept(1, 1, 1, 10), cancel(2, 2), discard(2), assign(2, 3, 1, 11)]);
}

/// Task 10 was delivered by worker 1 (attempt 1), and its check is slow. It is now on worker 2 (attempt 2).
fn checked_slowly() -> Table {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1), check_delayed(1)], [assign(2, 2, 1, 10)]);
    let history = table.scheduler.task_history(TaskId(10));
    assert_eq!(history.iter().map(|past| &past.reason).collect::<Vec<_>>(), [&AttemptEndReason::CheckDelayed]);
    table
}

#[test]
fn another_worker_need_not_wait_for_a_slow_check() {
    let mut table = checked_slowly();
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 10), discard(1)]);
    table.check([rejected(1), check_delayed(1), check_delayed(2)], []);
}

#[test]
fn a_result_whose_check_was_slow_counts_if_it_passes_first() {
    let mut table = checked_slowly();
    table.check([passed(1)], [accept(1, 1, 1, 10), cancel(2, 2), discard(2)]);
}

#[test]
fn a_rejection_after_a_slow_check_leaves_the_other_attempt_running() {
    let mut table = checked_slowly();
    table.check([rejected(1)], [discard(1)]);
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 10)]);
}

#[test]
fn the_only_worker_does_not_prove_a_task_again_because_of_a_slow_check() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1), check_delayed(1)], []);
    let (session, attempt) = (SessionId(1), AttemptId(1));
    assert_eq!(table.scheduler.task_status(TaskId(10)), Some(TaskStatus::Verifying { session, attempt }));
    table.check([passed(1)], [accept(1, 1, 1, 10)]);
}

/// Task 10 with marker 20 was delivered by worker 1 (attempt 1), and the check of its deferred events is slow. It is
/// now on worker 2 (attempt 2).
fn events_checked_slowly() -> Table {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), marked(1, 10, 20)], [assign(1, 1, 1, 10)]);
    // Nothing waits for the check before the result is delivered.
    table.check([started(1, 1), check_delayed(1)], []);
    table.check([delivered(1, 1), check_delayed(1)], [assign(2, 2, 1, 10)]);
    table
}

#[test]
fn a_result_whose_deferred_events_wait_for_a_slow_check_counts_if_it_passes_first() {
    let mut table = events_checked_slowly();
    table.check([events_accepted(1, 1)], [complete_marker(1, 20, 1)]);
    table.check([passed(1)], [accept(1, 1, 1, 10), cancel(2, 2), discard(2)]);
}

#[test]
fn a_result_whose_deferred_events_wait_for_a_slow_check_is_discarded_if_another_is_accepted() {
    let mut table = events_checked_slowly();
    table.check([events_accepted(2, 2)], [complete_marker(1, 20, 2)]);
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 10), discard(1)]);
}
