//! Failures and losses: retries on other workers, requeued tasks, and the limits.

use super::*;
use crate::{TaskStatus, WaitReason};

#[test]
fn a_failed_task_goes_to_another_worker() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 10)]);
}

#[test]
fn a_task_with_a_rejected_result_goes_to_another_worker() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1)], []);
    table.check([rejected(1)], [discard(1), assign(2, 2, 1, 10)]);
    table.check([rejected(1), passed(1)], []);
    table.check([delivered(1, 1)], [discard(1)]);
}

#[test]
fn a_task_that_failed_everywhere_may_go_to_any_worker() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], [assign(1, 2, 1, 10)]);
}

#[test]
fn a_retry_does_not_wait_for_workers_without_the_kind() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready_for(2, 1, REDUCE), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], [assign(1, 2, 1, 10)]);
}

/// Task 10 has failed on worker 1, which is free. Worker 2 proves task 11.
fn parked() -> Table {
    let mut table = Table::new();
    table.check(
        [ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), started(2, 2)],
        [assign(1, 1, 1, 10), assign(2, 2, 1, 11)],
    );
    table.check([failed(1, 1)], []);
    let reason = WaitReason::AllFreeExcluded { kind: SHARD, failed_before: 1, too_small: 0, full: 1 };
    let waiting = TaskStatus::Waiting { since: table.now, reason };
    assert_eq!(table.scheduler.task_status(TaskId(10)), Some(waiting));
    table
}

#[test]
fn a_task_waits_while_untried_workers_are_full() {
    let mut table = parked();
    // Later tasks use the worker that task 10 failed on.
    table.check([task(1, 12, SHARD), task(1, 13, SHARD)], [assign(1, 3, 1, 12)]);
    // Task 10 gets the free slot of the other worker, before the tasks that came later.
    table.check([delivered(2, 2)], [assign(2, 4, 1, 10)]);
}

#[test]
fn a_new_worker_takes_a_parked_task() {
    parked().check([ready(3, 1)], [assign(3, 3, 1, 10)]);
}

#[test]
fn a_parked_task_goes_to_any_worker_once_others_leave() {
    // Task 11 is requeued, and worker 1 may take either task. Task 10 was submitted first.
    parked().check([lost(2)], [assign(1, 3, 1, 10)]);
}

#[test]
fn a_task_is_parked_after_failures_on_several_workers() {
    let mut table = Table::with(SchedulerConfig { max_failures: 9, ..plain() });
    table.check([ready(1, 1), ready(2, 1), ready(3, 1), new_try(1)], []);
    table.check([task(1, 10, SHARD), task(1, 11, SHARD)], [assign(1, 1, 1, 10), assign(2, 2, 1, 11)]);
    table.check([failed(1, 1)], [assign(3, 3, 1, 10)]);
    table.check([failed(3, 3)], []);
    table.check([delivered(2, 2)], [assign(2, 4, 1, 10)]);
    table.check([failed(2, 4)], [assign(1, 5, 1, 10)]);
}

#[test]
fn too_many_failures_fail_the_try_with_their_history() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, ..plain() });
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 10)]);
    table.now = table.now + ms(700);
    let mut second = past(2, 2, AttemptFailure::Rejected("wrong".to_owned()));
    second.duration = ms(700);
    table.check([delivered(2, 2), rejected(2)], [discard(2), fail_try(1, 10, vec![past(1, 1, broken()), second])]);
}

#[test]
fn a_failed_try_fails_once_and_gets_no_more_assignments() {
    let mut table = Table::with(SchedulerConfig { max_failures: 1, ..plain() });
    table.check(
        [ready(1, 2), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11)],
    );
    table.check([failed(1, 1)], [fail_try(1, 10, vec![past(1, 1, broken())])]);
    table.check([failed(1, 2)], []);
    table.check([task(1, 13, SHARD), marker(1, 14)], []);
    table.check([ready(2, 2), lost(1)], []);
    assert_eq!(table.scheduler.task_status(TaskId(12)), Some(TaskStatus::TryFailed));
    assert_eq!(table.scheduler.task_status(TaskId(13)), None);
    // Other tries continue.
    table.check([new_try(2), task(2, 20, SHARD)], [assign(2, 3, 2, 20)]);
}

#[test]
fn attempts_of_a_failed_try_are_not_stolen() {
    let mut table = Table::with(SchedulerConfig { max_failures: 1, ..plain() });
    table.check(
        [ready(1, 3), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11), assign(1, 3, 1, 12)],
    );
    table.check([failed(1, 1)], [fail_try(1, 10, vec![past(1, 1, broken())])]);
    table.check([ready(2, 2)], []);
}

#[test]
fn a_lost_worker_is_not_a_failure() {
    let mut table = Table::with(SchedulerConfig { max_failures: 1, max_losses: 3, ..plain() });
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([lost(1)], [assign(2, 2, 1, 10)]);
    table.check([ready(3, 1), lost(2)], [assign(3, 3, 1, 10)]);
    let history = vec![
        past(1, 1, AttemptEndReason::WorkerLost),
        past(2, 2, AttemptEndReason::WorkerLost),
        past(3, 3, AttemptEndReason::WorkerLost),
    ];
    table.check([ready(4, 1), lost(3)], [fail_try(1, 10, history)]);
}

#[test]
fn failures_and_losses_are_counted_separately() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, max_losses: 2, ..plain() });
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([ready(2, 1), failed(1, 1)], [assign(2, 2, 1, 10)]);
    table.check([ready(3, 1), lost(2)], [assign(3, 3, 1, 10)]);
    let history = vec![past(1, 1, broken()), past(2, 2, AttemptEndReason::WorkerLost), past(3, 3, broken())];
    table.check([failed(3, 3)], [fail_try(1, 10, history)]);
}

#[test]
fn only_the_holder_can_fail_a_live_attempt() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(2, 1), failed(9, 1), failed(1, 9)], []);
    table.check([delivered(1, 1), failed(1, 1)], []);
    table.check([passed(1)], [accept(1, 1, 1, 10)]);
    table.check([failed(1, 1)], []);
}

#[test]
fn a_second_report_of_a_failure_changes_nothing() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, ..plain() });
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], [assign(1, 2, 1, 10)]);
    table.check([failed(1, 1), failed(1, 1)], []);
}
