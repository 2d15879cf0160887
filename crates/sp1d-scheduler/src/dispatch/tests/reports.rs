//! Which reports of an attempt count, and which of its steps are published.

use super::*;
use crate::ShardSize;

/// Worker 1 proves attempt 1 of task 10, and worker 2 is idle.
fn one_task() -> Table {
    let mut table = Table::new();
    table.check([ready(1), ready(2), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table
}

#[test]
fn a_verified_result_is_accepted() {
    let mut table = one_task();
    table.check([started(1, 1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn only_the_first_report_of_an_attempt_counts() {
    let mut table = one_task();
    table.check([delivered(1, 1), delivered(1, 1)], [check_result(1, 10)]);
    table.check([passed(1), passed(1), delivered(1, 1)], accept(1, 1, 1, 10));
}

#[test]
fn a_report_of_another_session_is_ignored() {
    let mut table = one_task();
    table.check([started(2, 1), delivered(2, 1), failed(2, 1), delivered(1, 99)], []);
    table.check([delivered(1, 1)], [check_result(1, 10)]);
}

#[test]
fn a_report_after_the_loss_of_the_worker_still_counts() {
    let mut table = one_task();
    table.check([lost(1)], all(&[&[interrupted(10, 1, 1)], &assign(2, 2, 1, 10, None)]));
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    let [done, accept] = accept(1, 1, 1, 10);
    let lost_race = step(10, 2, 2, AttemptStep::Dropped);
    table.check([passed(1)], [done, lost_race, accept, cancel(2, 2), discard(2)]);
}

#[test]
fn a_wrong_result_is_retried_by_another_worker() {
    let mut table = one_task();
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    let failed = step_failed(10, 1, 1, "wrong");
    table.check([wrong(1)], all(&[&[failed, discard(1)], &assign(2, 2, 1, 10, None)]));
    table.check([wrong(1)], []);
}

#[test]
fn a_failed_attempt_takes_no_other_step_when_its_task_is_done() {
    let mut table = one_task();
    table.check([failed(1, 1)], all(&[&[step_failed(10, 1, 1, "engine error: broken")], &assign(2, 2, 1, 10, None)]));
    table.check([failed(1, 1), started(1, 1), delivered(2, 2)], [check_result(2, 10)]);
    table.check([passed(2)], all(&[&accept(2, 2, 1, 10), &[discard(1)]]));
}

#[test]
fn a_failed_attempt_takes_no_other_step_when_its_try_ends() {
    let mut table = one_task();
    table.check([failed(1, 1)], all(&[&[step_failed(10, 1, 1, "engine error: broken")], &assign(2, 2, 1, 10, None)]));
    table.check([ended(1)], all(&[&[discard(1), cancel(2, 2)], &dropped(10, 2, 2)]));
}

#[test]
fn a_result_that_is_accepted_after_a_reported_failure_is_published() {
    let mut table = one_task();
    table.check([failed(1, 1)], all(&[&[step_failed(10, 1, 1, "engine error: broken")], &assign(2, 2, 1, 10, None)]));
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    let [done, accept] = accept(1, 1, 1, 10);
    let lost_race = step(10, 2, 2, AttemptStep::Dropped);
    table.check([passed(1)], [done, lost_race, accept, cancel(2, 2), discard(2)]);
}

#[test]
fn the_attempts_of_other_tasks_continue_when_a_task_is_done() {
    let mut table = one_task();
    table.check([task(1, 11)], assign(2, 2, 1, 11, None));
    table.check([delivered(1, 1), passed(1)], all(&[&[check_result(1, 10)], &accept(1, 1, 1, 10)]));
}

#[test]
fn a_session_that_continues_an_attempt_reports_again() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([lost(1), ready_with(2, 1, &[1], &[])], all(&[&[interrupted(10, 1, 1)], &continued(10, 1, 2)]));
    table.check([delivered(1, 1)], []);
    table.check([started(2, 1)], [step(10, 1, 2, AttemptStep::Started)]);
    table.check([delivered(2, 1)], [check_result(1, 10)]);
    table.check([passed(1)], accept(2, 1, 1, 10));
}

#[test]
fn an_interrupted_attempt_takes_no_other_step_when_its_task_is_done() {
    let mut table = one_task();
    table.check([lost(1)], all(&[&[interrupted(10, 1, 1)], &assign(2, 2, 1, 10, None)]));
    table.check([lost(1), delivered(2, 2)], [check_result(2, 10)]);
    table.check([passed(2)], all(&[&accept(2, 2, 1, 10), &[discard(1)]]));
}

#[test]
fn a_worker_that_offers_the_attempt_of_another_one_interrupts_nothing() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([ready_with(2, 2, &[1], &[])], [cancel(2, 1)]);
    table.check([started(1, 1)], [step(10, 1, 1, AttemptStep::Started)]);
}

#[test]
fn an_attempt_with_a_delivered_result_is_not_interrupted() {
    let mut table = one_task();
    table.check([delivered(1, 1), lost(1)], [check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn a_failure_is_published_even_after_the_loss_of_its_worker() {
    let mut table = one_task();
    table.check([lost(1)], all(&[&[interrupted(10, 1, 1)], &assign(2, 2, 1, 10, None)]));
    table.check([failed(1, 1)], [step_failed(10, 1, 1, "engine error: broken")]);
}

#[test]
fn the_observer_sees_each_event_of_the_scheduler() {
    let mut table = one_task();
    let mut seen = Vec::new();
    let event = DispatchEvent::DeferredEventsUploaded { session: SessionId(1), attempt: AttemptId(1), has_list: true };
    let _no_commands = table.dispatch.handle_observed(table.now, event, &mut |_, event, _| seen.push(event.clone()));
    assert_eq!(seen, [], "the task has no marker, so the scheduler does not hear of it");
    let _commands = table.dispatch.handle_observed(table.now, delivered(1, 1), &mut |scheduler, event, commands| {
        assert_eq!((scheduler.counts().live_attempts, commands), (0, &[][..]));
        seen.push(event.clone());
    });
    assert_eq!(seen, [Event::ResultDelivered { session: SessionId(1), attempt: AttemptId(1) }]);
}

#[test]
fn events_that_need_no_filter_are_passed_on_as_they_are() {
    let (try_id, session, attempt, worker) = (TryId(9), SessionId(9), AttemptId(9), WorkerId(9));
    let (marker, size, reason) = (TaskId(9), ShardSize { cells: 1, memory_bytes: 2 }, "wrong".to_owned());
    for (event, expected) in [
        (DispatchEvent::SmallWorkersExcluded { try_id, size }, Event::SmallWorkersExcluded { try_id, size }),
        (DispatchEvent::MarkerSubmitted { try_id, marker }, Event::MarkerSubmitted { try_id, marker }),
        (DispatchEvent::AssignmentFailed { attempt }, Event::AssignmentFailed { attempt }),
        (DispatchEvent::LastProverLost { session }, Event::LastProverLost { session }),
        (DispatchEvent::FirstProverReady { session }, Event::FirstProverReady { session }),
        (DispatchEvent::LeaseRenewed { session }, Event::LeaseRenewed { session }),
        (DispatchEvent::ProvenWrong { worker, reason: reason.clone() }, Event::ProvenWrong { worker, reason }),
        (DispatchEvent::Tick, Event::Tick),
    ] {
        let (mut table, mut seen) = (one_task(), Vec::new());
        let _commands = table.dispatch.handle_observed(table.now, event, &mut |_, event, _| seen.push(event.clone()));
        assert_eq!(seen, [expected]);
    }
}
