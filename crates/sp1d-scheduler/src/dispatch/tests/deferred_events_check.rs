//! The check of deferred events, and its order with the result.

use super::*;
use crate::AttemptEndReason;

const NOT_CONFIRMED: &str = "no worker of another origin confirmed the deferred events that it claims";
const NAMES_TAKEN: &str = "another attempt already owns the names of the artifacts that it uploaded";
const MARKER_MISSING: &str = "the attempt did not complete its marker";
const CONTRADICTED: &str =
    "its output was rejected: workers of two origins claimed other deferred events for the same shard";

/// Worker 1 proves attempt 1 of task 10, which completes the marker 90. Worker 2 is idle.
fn one_marker() -> Table {
    one_marker_of(new_try(1))
}

/// The same for a try that starts with `started`.
fn one_marker_of(started: DispatchEvent) -> Table {
    let mut table = Table::new();
    table.check([ready(1), ready(2), started, marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table
}

/// The deferred events were reported, and their check has started.
fn checking() -> Table {
    checking_of(new_try(1))
}

/// The same for a try that starts with `started`.
fn checking_of(started: DispatchEvent) -> Table {
    let mut table = one_marker_of(started);
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table
}

#[test]
fn deferred_events_before_the_result_are_checked_first() {
    let mut table = checking();
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn a_result_waits_for_the_check_of_the_deferred_events() {
    let mut table = checking();
    table.check([delivered(1, 1), delivered(1, 1)], []);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn a_slow_check_of_deferred_events_delays_only_a_result_that_waits_for_it() {
    let mut table = checking();
    table.check([check_delayed(1)], []);
    table.check([delivered(1, 1)], assign(2, 2, 1, 10, None));
    let mut table = checking();
    table.check([delivered(1, 1)], []);
    table.check([check_delayed(1)], assign(2, 2, 1, 10, None));
    // A late report after the check has ended is ignored.
    let mut table = checking();
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
    table.check([check_delayed(1)], []);
    table.check([delivered(1, 1)], [check_result(1, 10)]);
}

#[test]
fn a_failure_that_is_reported_while_the_result_waits_for_the_check_is_ignored() {
    let mut table = checking();
    table.check([delivered(1, 1), failed(1, 1)], []);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn a_worker_gets_its_next_task_while_its_result_waits_for_the_check() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), marked(1, 10, 90), task(1, 11)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table.check([delivered(1, 1)], assign(1, 2, 1, 11, None));
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
}

/// Sends `end`, after which session 1 has ended, while the result of attempt 1 waits for the check of its deferred
/// events. Checks that only `expected` follows, and that the task is done if both checks pass.
#[track_caller]
fn check_result_survives(end: impl IntoIterator<Item = DispatchEvent>, expected: &[DispatchCommand]) {
    let mut table = one_marker();
    table.check([started(1, 1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([events_uploaded(1, 1), delivered(1, 1)], [check_deferred_events(1, 10)]);
    table.check(end, expected.iter().cloned());
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
    assert!(table.dispatch.scheduler().task_history(TaskId(10)).is_empty(), "the end of the session is not a loss");
}

#[test]
fn a_result_that_waits_for_the_check_survives_the_end_of_its_session() {
    check_result_survives([lost(1)], &[]);
    check_result_survives([lost(1), lost(1)], &[]);
}

#[test]
fn a_result_that_waits_for_the_check_survives_a_newer_session_of_its_worker() {
    let end_session = DispatchCommand::EndSession { session: SessionId(1) };
    check_result_survives([ready_with(3, 1, &[], &[])], &[end_session]);
    check_result_survives([lost(1), ready_with(3, 1, &[1], &[])], &[cancel(3, 1)]);
}

#[test]
fn a_result_that_waits_for_the_check_survives_the_silence_of_its_worker() {
    let mut table = one_marker();
    table.check([events_uploaded(1, 1), delivered(1, 1)], [check_deferred_events(1, 10)]);
    let mut commands = Vec::new();
    for _ in 0..4 {
        table.now = table.now + Duration::from_secs(1);
        commands.extend(table.send([DispatchEvent::LeaseRenewed { session: SessionId(2) }, DispatchEvent::Tick]));
    }
    assert_eq!(commands, [DispatchCommand::EndSession { session: SessionId(1) }]);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn deferred_events_that_are_rejected_after_the_end_of_the_session_fail_their_attempt() {
    let mut table = checking();
    table.check([delivered(1, 1), lost(1)], []);
    let failed = step_failed(10, 1, 1, "its output was rejected: malformed");
    table.check([events_wrong(1)], all(&[&[failed, discard(1)], &assign(2, 2, 1, 10, None)]));
    let rejected = AttemptEndReason::from(AttemptFailure::Rejected("malformed".to_owned()));
    let history = table.dispatch.scheduler().task_history(TaskId(10));
    assert_eq!(history.iter().map(|past| &past.reason).collect::<Vec<_>>(), [&rejected]);
}

#[test]
fn a_slow_check_after_the_end_of_the_session_delays_its_task() {
    let mut table = checking();
    table.check([delivered(1, 1), lost(1)], []);
    table.check([check_delayed(1)], assign(2, 2, 1, 10, None));
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    let [done, accept] = accept(1, 1, 1, 10);
    let lost_race = step(10, 2, 2, AttemptStep::Dropped);
    table.check([passed(1)], [done, lost_race, accept, cancel(2, 2), discard(2)]);
}

#[test]
fn a_result_that_arrives_late_during_the_check_counts() {
    let mut table = checking();
    table.check([lost(1)], all(&[&[interrupted(10, 1, 1)], &assign(2, 2, 1, 10, None)]));
    table.check([delivered(1, 1)], []);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    let [done, accept] = accept(1, 1, 1, 10);
    let lost_race = step(10, 2, 2, AttemptStep::Dropped);
    table.check([passed(1)], [done, lost_race, accept, cancel(2, 2), discard(2)]);
}

#[test]
fn a_late_result_whose_deferred_events_passed_before_does_not_fail() {
    let mut table = checking();
    table.check([lost(1)], all(&[&[interrupted(10, 1, 1)], &assign(2, 2, 1, 10, None)]));
    // The scheduler ignores this, because it counts the attempt as lost.
    table.check([events_passed(1)], []);
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    table.check([passed(1)], [discard(1)]);
}

/// The wait for the check of deferred events is not proving time.
#[test]
fn the_check_of_deferred_events_does_not_count_as_proving() {
    let config = SchedulerConfig { quarantine: None, ..SchedulerConfig::default() };
    let mut table = Table { dispatch: DispatchState::new(config), ..Table::new() };
    let pass_seconds = |table: &mut Table, seconds: u64| {
        for _ in 0..seconds {
            table.now = table.now + Duration::from_secs(1);
            table.check([DispatchEvent::LeaseRenewed { session: SessionId(1) }], []);
        }
    };
    table.check([ready(1), new_try(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1)], [step(10, 1, 1, AttemptStep::Started)]);
    pass_seconds(&mut table, 2);
    table.check([events_uploaded(1, 1), delivered(1, 1)], [check_deferred_events(1, 10)]);
    pass_seconds(&mut table, 60);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
    let status = table.dispatch.scheduler().worker_status(SessionId(1)).unwrap();
    assert_eq!(status.paces[SHARD.index()], Some(Duration::from_secs(2)));
}

#[test]
fn deferred_events_after_the_result_are_ignored() {
    let mut table = one_marker();
    table.check([delivered(1, 1), events_uploaded(1, 1)], [check_result(1, 10)]);
    // The result of a task without its marker is rejected.
    let failed = step_failed(10, 1, 1, MARKER_MISSING);
    table.check([passed(1)], all(&[&[failed, discard(1)], &assign(2, 2, 1, 10, None)]));
}

#[test]
fn a_lost_attempt_whose_result_arrives_without_its_marker_fails() {
    let mut table = one_marker();
    table.check([lost(1)], all(&[&[interrupted(10, 1, 1)], &assign(2, 2, 1, 10, None)]));
    table.check([delivered(1, 1)], [check_result(1, 10)]);
    table.check([passed(1)], [step_failed(10, 1, 1, MARKER_MISSING), discard(1)]);
}

#[test]
fn deferred_events_count_once_and_only_from_the_session_of_their_attempt() {
    let mut table = one_marker();
    table.check([events_uploaded(2, 1), events_uploaded(1, 99)], []);
    table.check([events_uploaded(1, 1), events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table.check([events_passed(1), events_passed(1)], [complete_marker(1, 90, 10, 1)]);
    table.check([events_uploaded(1, 1), events_passed(1)], []);
}

#[test]
fn deferred_events_are_not_checked_before_their_list_has_arrived() {
    let mut table = one_marker();
    let (session, attempt) = (SessionId(1), AttemptId(1));
    table.check([DispatchEvent::DeferredEventsUploaded { session, attempt, has_list: false }], []);
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
}

#[test]
fn rejected_deferred_events_cancel_their_attempt_before_the_task_is_retried() {
    let mut table = checking();
    let failed = step_failed(10, 1, 1, "its output was rejected: malformed");
    table.check([events_wrong(1)], all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]));
    table.check([delivered(1, 1), events_uploaded(1, 1), events_passed(1)], []);
}

#[test]
fn rejected_deferred_events_cancel_no_attempt_that_has_delivered_its_result() {
    let mut table = checking();
    table.check([delivered(1, 1)], []);
    let failed = step_failed(10, 1, 1, "its output was rejected: malformed");
    table.check([events_wrong(1)], all(&[&[failed, discard(1)], &assign(2, 2, 1, 10, None)]));
    table.check([delivered(1, 1), events_uploaded(1, 1), events_passed(1)], []);
}

#[test]
fn contradicted_claims_are_rejected() {
    let mut table = checking_of(comparing(1, &[(2, 7), (2, 8)]));
    let failed = step_failed(10, 1, 1, CONTRADICTED);
    table.check([events_passed(1)], all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]));
}

#[test]
fn a_shard_with_unconfirmed_claims_goes_to_another_worker() {
    let mut table = checking_of(comparing(1, &[]));
    let failed = step_failed(10, 1, 1, NOT_CONFIRMED);
    table.check([events_passed(1)], all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]));
    table.check([events_uploaded(2, 2)], [check_deferred_events(2, 10)]);
    table.check([events_passed(2)], [complete_marker(1, 90, 10, 2)]);
}

#[test]
fn claims_of_an_earlier_try_confirm_a_claim() {
    let mut table = checking_of(comparing(1, &[(1, 7)]));
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
}

#[test]
fn a_claim_with_a_name_conflict_sends_the_shard_to_another_worker() {
    let mut table = checking();
    let failed = step_failed(10, 1, 1, NAMES_TAKEN);
    let conflicting = claimed(1, DeferredClaim { has_name_conflict: true, ..claim(1) });
    table.check([conflicting], all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]));
}

#[test]
fn a_refuted_claim_quarantines_its_worker() {
    let mut table = Table { dispatch: DispatchState::new(SchedulerConfig::default()), ..Table::new() };
    let started = comparing(1, &[(1, 7), (2, 2)]);
    table.check([ready(1), ready(2), started, marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    let commands = table.send([events_passed(1)]);
    assert_eq!(commands[0], DispatchCommand::LogRefutedClaim { worker: WorkerId(2) });
    let quarantined = |command: &DispatchCommand| matches!(command, DispatchCommand::LogQuarantine { session, .. } if *session == SessionId(2));
    assert!(quarantined(&commands[1]), "{commands:?}");
    assert_eq!(commands[2..], [complete_marker(1, 90, 10, 1)]);
}

#[test]
fn the_claims_of_a_try_are_kept_until_it_ends() {
    let mut table = checking();
    let has_claims = |table: &Table| table.dispatch.claims(TryId(1)).is_some_and(ClaimHistory::has_claims);
    assert!(!has_claims(&table));
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
    assert!(has_claims(&table));
    table.send([ended(1)]);
    assert_eq!(table.dispatch.claims(TryId(1)), None);
}

/// Checks that the claim of worker 1 is accepted without another worker after the events `others`.
fn check_lone_claim(others: impl IntoIterator<Item = DispatchEvent>) {
    let mut table = Table::new();
    table.check([ready(1), comparing(1, &[]), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table.send(others);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
}

#[test]
fn a_lone_claim_is_accepted_if_no_other_worker_may_get_the_task() {
    check_lone_claim([]);
    check_lone_claim([ready(2), draining(2)]);
}

/// The worker that claims is back in a new session, and is not a worker of another origin.
#[test]
fn a_lone_claim_is_accepted_after_the_end_of_its_session() {
    let mut table = Table::new();
    table.check([ready(1), comparing(1, &[]), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1), delivered(1, 1)], [check_deferred_events(1, 10)]);
    table.check([lost(1), ready_with(2, 1, &[], &[])], []);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
}

/// Two names of one origin do not confirm each other.
#[test]
fn workers_of_the_same_origin_are_not_needed_to_accept_a_lone_claim() {
    let mut of_same_origin = ready(2);
    if let DispatchEvent::WorkerReady { ready, .. } = &mut of_same_origin {
        ready.origin = OriginId(1);
    }
    check_lone_claim([of_same_origin]);
}

#[test]
fn a_late_check_of_a_forgotten_attempt_is_ignored() {
    let mut table = checking();
    table.check([ended(1)], all(&[&[cancel(1, 1)], &dropped(10, 1, 1)]));
    table.check([events_passed(1), events_wrong(1), passed(1), wrong(1)], []);
}

#[test]
fn a_check_continues_while_a_new_session_continues_the_attempt() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.send([started(1, 1)]);
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table.check([lost(1), ready_with(2, 1, &[1], &[])], all(&[&[interrupted(10, 1, 1)], &continued(10, 1, 2)]));
    table.check([events_uploaded(2, 1)], []);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
    table.check([delivered(2, 1)], [check_result(1, 10)]);
}

#[test]
fn deferred_events_whose_check_ended_while_the_worker_was_lost_are_checked_again() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.send([started(1, 1)]);
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table.check([lost(1), events_passed(1)], [interrupted(10, 1, 1)]);
    table.check([ready_with(2, 1, &[1], &[])], continued(10, 1, 2));
    table.check([events_uploaded(2, 1)], [check_deferred_events(1, 10)]);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1)]);
}

#[test]
fn the_delay_of_an_earlier_check_delays_no_later_one() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.send([started(1, 1)]);
    table.check([events_uploaded(1, 1), check_delayed(1)], [check_deferred_events(1, 10)]);
    table.check([lost(1), events_passed(1)], [interrupted(10, 1, 1)]);
    table.check([ready_with(2, 1, &[1], &[])], continued(10, 1, 2));
    // Another worker is idle, and gets no second attempt while the later check runs.
    table.check([events_uploaded(2, 1), ready(3), delivered(2, 1)], [check_deferred_events(1, 10)]);
    table.check([events_passed(1)], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
}

#[test]
fn a_task_without_a_marker_has_nothing_to_check() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1)], []);
}
