//! Attempts from before the orchestrator restarted.

use super::*;

#[test]
fn a_submitted_task_goes_to_the_worker_that_can_resume_it() {
    let mut table = Table::new();
    table.check([ready(1), ready_with(2, 2, &[], &[(7, 100)]), new_try(1)], []);
    table.check([keyed(1, 10, 7)], assign(2, 1, 1, 10, Some(100)));
}

#[test]
fn a_waiting_task_goes_to_the_new_worker_that_can_resume_it() {
    let mut table = Table::new();
    table.check([new_try(1), keyed(1, 10, 6), keyed(1, 11, 7)], []);
    table.check([ready_with(1, 1, &[], &[(7, 100)])], assign(1, 1, 1, 11, Some(100)));
}

#[test]
fn each_attempt_is_resumed_once() {
    let mut table = Table::new();
    table.check([ready_with(1, 1, &[], &[(7, 100)]), new_try(1)], []);
    table.check([keyed(1, 10, 7)], assign(1, 1, 1, 10, Some(100)));
    table.check([delivered(1, 1), keyed(1, 11, 7)], all(&[&[check_result(1, 10)], &assign(1, 2, 1, 11, None)]));
}

#[test]
fn of_two_tasks_with_the_same_key_the_first_is_resumed() {
    let mut table = Table::new();
    table.check([new_try(1), keyed(1, 10, 7), keyed(1, 11, 7)], []);
    table.check([ready_with(1, 1, &[], &[(7, 100)])], assign(1, 1, 1, 10, Some(100)));
}

#[test]
fn the_first_worker_that_reports_an_attempt_resumes_it() {
    let mut table = Table::new();
    table.check([ready_with(1, 1, &[], &[(7, 100)]), ready_with(2, 2, &[], &[(7, 200)]), new_try(1)], []);
    table.check([keyed(1, 10, 7)], assign(1, 1, 1, 10, Some(100)));
}

#[test]
fn another_worker_that_gets_the_task_resumes_nothing() {
    let mut table = Table::new();
    table.check([ready_with(1, 1, &[], &[(7, 100)]), new_try(1), task(1, 9)], assign(1, 1, 1, 9, None));
    table.check([ready(2), keyed(1, 10, 7)], assign(2, 2, 1, 10, None));
}

#[test]
fn a_lost_worker_can_resume_nothing() {
    let mut table = Table::new();
    table.check([ready_with(1, 1, &[], &[(7, 100)]), lost(1), ready(2), new_try(1)], []);
    table.check([keyed(1, 10, 7)], assign(2, 1, 1, 10, None));
}

#[test]
fn a_worker_in_a_new_session_replaces_its_earlier_reports() {
    let mut table = Table::new();
    table.check([ready_with(1, 1, &[], &[(7, 100), (8, 101)])], []);
    let end_session = DispatchCommand::EndSession { session: SessionId(1) };
    table.check([ready_with(2, 1, &[], &[(8, 101)])], [end_session]);
    table.check([new_try(1), keyed(1, 10, 7)], assign(2, 1, 1, 10, None));
    table.check([delivered(2, 1), keyed(1, 11, 8)], all(&[&[check_result(1, 10)], &assign(2, 2, 1, 11, Some(101))]));
}
