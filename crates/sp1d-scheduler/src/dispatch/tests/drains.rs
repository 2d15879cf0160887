//! Who waits for the drain of a worker, and when the wait ends.

use super::*;

#[test]
fn a_drain_is_over_when_the_worker_holds_nothing() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1), draining(1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([delivered(1, 1)], [end_drain_wait(1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn a_start_that_a_draining_worker_reports_again_is_published_once() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([started(1, 1), draining(1)], []);
}

#[test]
fn an_attempt_that_is_taken_back_takes_no_other_step() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    // The worker holds nothing then, so the drain is over.
    table.check([draining(1)], all(&[&take_back(10, 1, 1), &[end_drain_wait(1)]]));
    table.check([started(1, 1), lost(1)], []);
    table.check([ready(2)], assign(2, 2, 1, 10, None));
    table.check([delivered(2, 2), passed(2)], all(&[&[check_result(2, 10)], &accept(2, 2, 1, 10), &[discard(1)]]));
}

#[test]
fn a_lost_prover_takes_back_the_attempts_that_have_not_started() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([DispatchEvent::LastProverLost { session: SessionId(1) }], take_back(10, 1, 1));
}

#[test]
fn the_drain_of_an_idle_worker_is_over_at_once() {
    let mut table = Table::new();
    table.check([ready(1), draining(1)], [end_drain_wait(1)]);
    table.check([draining(1)], [end_drain_wait(1)]);
}

#[test]
fn the_drain_of_an_unknown_worker_is_over_at_once() {
    let mut table = Table::new();
    table.check([draining(1)], [end_drain_wait(1)]);
}

#[test]
fn resuming_or_losing_the_worker_ends_the_wait() {
    for (end, expected) in
        [(drain_cancelled(1), vec![end_drain_wait(1)]), (lost(1), vec![end_drain_wait(1), interrupted(10, 1, 1)])]
    {
        let mut table = Table::new();
        table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
        table.check([started(1, 1), draining(1)], [step(10, 1, 1, AttemptStep::Started)]);
        table.check([end], expected);
    }
}

#[test]
fn a_silent_worker_ends_the_wait() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1), draining(1)], [step(10, 1, 1, AttemptStep::Started)]);
    let end = DispatchCommand::EndSession { session: SessionId(1) };
    let mut commands = Vec::new();
    for _ in 0..4 {
        table.now = table.now + Duration::from_secs(1);
        commands.extend(table.send([DispatchEvent::Tick]));
    }
    assert_eq!(commands, [end_drain_wait(1), interrupted(10, 1, 1), end]);
}

#[test]
fn no_caller_waits_after_the_wait_has_ended() {
    let mut table = Table::new();
    table.check([ready(1), draining(1)], [end_drain_wait(1)]);
    table.check([drain_cancelled(1), lost(1)], []);
}

#[test]
fn a_worker_that_is_drained_before_it_is_ready_gets_no_task() {
    let mut table = Table::new();
    table.check([draining(1), new_try(1), task(1, 10)], [end_drain_wait(1)]);
    let changed = table.dispatch.take_worker_changes().sessions;
    let loaded: Vec<_> =
        changed.into_iter().map(|(id, status)| (id, status.map(|status| status.has_loaded_prover))).collect();
    assert_eq!(loaded, [(SessionId(1), Some(false))]);
    table.check([ready(1), task(1, 11)], []);
    table.check([drain_cancelled(1)], assign(1, 1, 1, 10, None));
}

#[test]
fn a_worker_that_is_drained_before_it_is_ready_resumes_nothing() {
    let mut table = Table::new();
    table.check([draining(1), new_try(1), keyed(1, 10, 7)], [end_drain_wait(1)]);
    table.check([ready_with(1, 1, &[], &[(7, 100)])], []);
}

/// Checks whether the changes after `event` say that session 1 is draining. `None` if they say that it has ended or is
/// not ready.
#[track_caller]
fn check_status(table: &mut Table, event: DispatchEvent, is_draining: Option<bool>) {
    table.send([event]);
    let changed = table.dispatch.take_worker_changes().sessions;
    let draining: Vec<_> = changed.into_iter().map(|(id, status)| (id, status.map(|status| status.draining))).collect();
    assert_eq!(draining, [(SessionId(1), is_draining)]);
}

#[test]
fn a_drain_is_visible_before_the_worker_is_ready() {
    let mut table = Table::new();
    check_status(&mut table, draining(1), Some(true));
    check_status(&mut table, ready(1), Some(true));
    check_status(&mut table, drain_cancelled(1), Some(false));
    check_status(&mut table, lost(1), None);
}

#[test]
fn an_early_drain_is_forgotten_with_its_cancellation_or_its_session() {
    for end in [drain_cancelled(1), lost(1)] {
        let mut table = Table::new();
        check_status(&mut table, draining(1), Some(true));
        check_status(&mut table, end, None);
        table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    }
}

#[test]
fn the_drain_of_an_ended_session_is_not_remembered() {
    let mut table = Table::new();
    check_status(&mut table, ready(1), Some(false));
    check_status(&mut table, lost(1), None);
    table.check([draining_after_its_end(1)], [end_drain_wait(1)]);
    assert!(table.dispatch.take_worker_changes().is_empty());
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
}

#[test]
fn the_wait_for_the_drain_of_a_session_that_is_ending_ends_with_it() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1), draining_after_its_end(1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([lost(1)], [end_drain_wait(1), interrupted(10, 1, 1)]);
}
