//! Markers are completed by an attempt before its result, and only once.

use super::*;

fn marked_task() -> Table {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), marker(1, 90), marked(1, 10, 90)], [assign(1, 1, 1, 10)]);
    table
}

#[test]
fn a_marker_is_completed_once() {
    let mut table = marked_task();
    table.check([events_accepted(1, 1)], [complete_marker(1, 90, 1)]);
    table.check([events_accepted(1, 1)], []);
    table.check([delivered(1, 1), passed(1)], [accept(1, 1, 1, 10)]);
}

#[test]
fn neither_another_worker_nor_a_lost_attempt_completes_a_marker() {
    let mut table = marked_task();
    table.check([events_accepted(2, 1), events_accepted(1, 9)], []);
    table.check([lost(1)], [assign(2, 2, 1, 10)]);
    table.check([events_accepted(1, 1)], []);
    table.check([events_accepted(2, 2)], [complete_marker(1, 90, 2)]);
}

#[test]
fn a_result_without_its_marker_is_rejected() {
    let mut table = marked_task();
    table.check([delivered(1, 1)], []);
    table.check([passed(1)], [discard(1), assign(2, 2, 1, 10)]);
    let missing = AttemptFailure::Rejected("the attempt did not complete its marker".to_owned());
    assert_eq!(table.scheduler.task_history(TaskId(10)), [past(1, 1, missing)]);
}

#[test]
fn deferred_events_that_are_accepted_after_the_result_complete_the_marker() {
    let mut table = marked_task();
    table.check([delivered(1, 1), events_accepted(2, 1)], []);
    table.check([events_accepted(1, 1)], [complete_marker(1, 90, 1)]);
    table.check([events_accepted(1, 1)], []);
    table.check([passed(1)], [accept(1, 1, 1, 10)]);
}

#[test]
fn the_end_of_the_session_ends_no_check_of_a_delivered_result() {
    let mut table = marked_task();
    table.check([started(1, 1), delivered(1, 1), lost(1)], []);
    table.check([events_accepted(1, 1)], [complete_marker(1, 90, 1)]);
    table.check([passed(1)], [accept(1, 1, 1, 10)]);
    assert!(table.scheduler.task_history(TaskId(10)).is_empty());
}

#[test]
fn only_a_rejection_fails_an_attempt_that_has_delivered_its_result() {
    let (session, attempt) = (SessionId(1), AttemptId(1));
    for failure in
        [AttemptFailure::Rejected("wrong".to_owned()), AttemptFailure::Unconfirmed, AttemptFailure::NameConflict]
    {
        let mut table = marked_task();
        table.check([delivered(1, 1), failed(1, 1), lost(1)], []);
        let rejected = Event::AttemptFailed { session, attempt, failure: failure.clone() };
        table.check([rejected.clone()], [discard(1), assign(2, 2, 1, 10)]);
        assert_eq!(table.scheduler.task_history(TaskId(10)), [past(1, 1, failure)]);
        table.check([rejected, events_accepted(1, 1), passed(1)], []);
    }
}

#[test]
fn a_late_result_without_its_marker_is_discarded() {
    let mut table = marked_task();
    table.check([lost(1)], [assign(2, 2, 1, 10)]);
    table.check([delivered(1, 1), passed(1)], [discard(1)]);
}

#[test]
fn a_marker_completed_by_an_earlier_attempt_stays_complete() {
    let mut table = marked_task();
    table.check([events_accepted(1, 1), failed(1, 1)], [complete_marker(1, 90, 1), assign(2, 2, 1, 10)]);
    table.check([events_accepted(2, 2)], []);
    table.check([delivered(2, 2), passed(2)], [accept(2, 2, 1, 10), discard(1)]);
}

#[test]
fn a_marker_is_never_assigned() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), marker(1, 90), marker(1, 90), task(1, 90, SHARD)], []);
    assert_eq!(table.scheduler.task_status(TaskId(90)), None);
}

#[test]
fn a_marker_submitted_after_its_task_is_still_required() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), marked(1, 10, 90), marker(1, 90)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1), passed(1)], [discard(1), assign(1, 2, 1, 10)]);
    table.check([events_accepted(1, 2)], [complete_marker(1, 90, 2)]);
}

#[test]
fn a_task_with_a_marker_of_another_try_is_ignored() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), new_try(2), marker(2, 90), marked(1, 10, 90)], []);
    table.check([task(1, 11, SHARD), marked(1, 12, 11), marked(1, 13, 13)], [assign(1, 1, 1, 11)]);
}

#[test]
fn accepted_deferred_events_of_a_task_without_a_marker_are_ignored() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), marker(1, 90), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([events_accepted(1, 1)], []);
}
