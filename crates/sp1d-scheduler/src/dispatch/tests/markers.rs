//! The check of a marker, and its order with the result.

use super::*;

const NOT_CONFIRMED: &str = "no other worker confirmed the deferred events that it claims";
const NAMES_TAKEN: &str = "another attempt already owns the names of the artifacts that it uploaded";

/// Worker 1 proves attempt 1 of task 10, which completes the marker 90. Worker 2 is idle.
fn one_marker() -> Table {
    let mut table = Table::new();
    table.check([joined(1), joined(2), proof(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table
}

/// The marker was reported, and its check has started.
fn checking() -> Table {
    let mut table = one_marker();
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table
}

/// The check has passed, and the claims are being judged.
fn judging() -> Table {
    let mut table = checking();
    table.check([events_passed(1)], [judge(1, 10, false)]);
    table
}

#[test]
fn a_marker_before_the_result_is_checked_first() {
    let mut table = judging();
    table.check([judged(1, accepted())], [complete_marker(1, 90, 10, 1)]);
    table.check([reported(1, 1)], [check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn a_result_waits_for_the_check_of_its_marker() {
    let mut table = checking();
    table.check([reported(1, 1)], []);
    table.check([events_passed(1)], [judge(1, 10, false)]);
    table.check([reported(1, 1)], []);
    table.check([judged(1, accepted())], [complete_marker(1, 90, 10, 1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn an_attempt_can_fail_while_its_result_waits_for_the_check_of_its_marker() {
    let mut table = checking();
    table.check([reported(1, 1)], []);
    table.check([failed(1, 1)], all(&[&[step_failed(10, 1, 1, "engine error: broken")], &assign(2, 2, 1, 10, None)]));
}

#[test]
fn a_marker_after_the_result_is_ignored() {
    let mut table = one_marker();
    table.check([reported(1, 1), events_uploaded(1, 1)], [check_result(1, 10)]);
    // The result of a task without its marker is rejected.
    table.check([passed(1)], all(&[&dropped(10, 1, 1), &assign(2, 2, 1, 10, None)]));
}

#[test]
fn a_marker_counts_once_and_only_from_the_worker_of_its_attempt() {
    let mut table = one_marker();
    table.check([events_uploaded(2, 1), events_uploaded(1, 99)], []);
    table.check([events_uploaded(1, 1), events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
    table.check([events_passed(1), events_passed(1)], [judge(1, 10, false)]);
    table.check([judged(1, accepted()), judged(1, accepted())], [complete_marker(1, 90, 10, 1)]);
    table.check([events_uploaded(1, 1), events_passed(1)], []);
}

#[test]
fn a_marker_without_all_its_uploads_is_not_complete() {
    let mut table = one_marker();
    let (session, attempt) = (SessionId(1), AttemptId(1));
    table.check([DispatchEvent::DeferredEventsUploaded { session, attempt, has_all_uploads: false }], []);
    table.check([events_uploaded(1, 1)], [check_deferred_events(1, 10)]);
}

#[test]
fn a_rejected_marker_cancels_its_attempt_before_the_task_is_retried() {
    let mut table = checking();
    let failed = step_failed(10, 1, 1, "its output was rejected: malformed");
    table.check([events_wrong(1)], all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]));
    table.check([reported(1, 1), events_uploaded(1, 1), events_passed(1)], []);
}

#[test]
fn a_rejected_marker_of_a_reported_attempt_needs_no_cancellation() {
    let mut table = checking();
    table.check([reported(1, 1)], []);
    let failed = step_failed(10, 1, 1, "its output was rejected: malformed");
    table.check([events_wrong(1)], all(&[&[failed], &assign(2, 2, 1, 10, None)]));
}

#[test]
fn contradicted_claims_are_rejected() {
    let mut table = judging();
    let reason = "its output was rejected: two other workers claimed other deferred events for the same shard";
    let failed = step_failed(10, 1, 1, reason);
    let expected = all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]);
    table.check([judged(1, ClaimsVerdict::Contradicted)], expected);
}

#[test]
fn a_shard_with_unconfirmed_claims_goes_to_another_worker() {
    let verdicts = [(ClaimsVerdict::Unconfirmed, NOT_CONFIRMED), (ClaimsVerdict::NamesTaken, NAMES_TAKEN)];
    for (verdict, reason) in verdicts {
        let mut table = judging();
        let failed = step_failed(10, 1, 1, reason);
        table.check([judged(1, verdict)], all(&[&[cancel(1, 1), failed], &assign(2, 2, 1, 10, None)]));
        table.check([events_uploaded(2, 2), events_passed(2)], [check_deferred_events(2, 10), judge(2, 10, false)]);
        table.check([judged(2, accepted())], [complete_marker(1, 90, 10, 2)]);
    }
}

#[test]
fn a_refuted_claim_is_a_fault_of_its_worker() {
    let config = SchedulerConfig {
        quarantine: Some(crate::QuarantineRules { max_faults: 1, ..crate::QuarantineRules::default() }),
        ..SchedulerConfig::default()
    };
    let mut table = Table { dispatch: DispatchMachine::new(config), ..Table::new() };
    table.check([joined(1), joined(2), proof(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1), events_passed(1)], [check_deferred_events(1, 10), judge(1, 10, false)]);
    let commands = table.send([judged(1, ClaimsVerdict::Accepted { refuted: vec![WorkerId(2)] })]);
    let quarantined = |command: &DispatchCommand| matches!(command, DispatchCommand::LogQuarantine { session, .. } if *session == SessionId(2));
    assert!(quarantined(&commands[0]), "{commands:?}");
    assert_eq!(commands[1..], [complete_marker(1, 90, 10, 1)]);
}

#[test]
fn a_worker_is_alone_if_no_other_worker_may_get_the_task() {
    let mut table = Table::new();
    table.check([joined(1), proof(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1), events_passed(1)], [check_deferred_events(1, 10), judge(1, 10, true)]);
    let mut table = checking();
    table.check([draining(2), events_passed(1)], [end_drain_wait(2), judge(1, 10, true)]);
}

/// Two names of one origin do not confirm each other.
#[test]
fn a_worker_is_alone_beside_workers_of_its_own_origin() {
    let of_same_origin = |session: u64| {
        let mut event = joined(session);
        let DispatchEvent::WorkerJoined { joined, .. } = &mut event else {
            unreachable!("`joined` returns this event")
        };
        joined.origin = OriginId(7);
        event
    };
    let mut table = Table::new();
    table.check([of_same_origin(1), proof(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.send([of_same_origin(2)]);
    table.check([events_uploaded(1, 1), events_passed(1)], [check_deferred_events(1, 10), judge(1, 10, true)]);
}

#[test]
fn a_late_verdict_on_a_forgotten_attempt_is_ignored() {
    let mut table = checking();
    table.check([ended(1)], all(&[&[cancel(1, 1)], &dropped(10, 1, 1)]));
    table.check([events_passed(1), events_wrong(1), judged(1, accepted()), passed(1), wrong(1)], []);
}

#[test]
fn a_check_continues_while_a_new_session_continues_the_attempt() {
    let mut table = Table::new();
    table.check([joined(1), proof(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.send([started(1, 1)]);
    table.check([events_uploaded(1, 1), reported(1, 1)], [check_deferred_events(1, 10)]);
    table.check([lost(1), rejoined(2, 1, &[1], &[])], [continue_attempt(2, 1)]);
    table.check([events_uploaded(2, 1)], []);
    table.check([events_passed(1)], [judge(1, 10, true)]);
    table.check([judged(1, accepted())], [complete_marker(1, 90, 10, 1)]);
    table.check([reported(2, 1)], [check_result(1, 10)]);
}

#[test]
fn a_marker_whose_check_ended_while_its_worker_was_lost_is_checked_again() {
    let mut table = Table::new();
    table.check([joined(1), proof(1), marked(1, 10, 90)], assign(1, 1, 1, 10, None));
    table.send([started(1, 1)]);
    table.check([events_uploaded(1, 1), events_passed(1)], [check_deferred_events(1, 10), judge(1, 10, true)]);
    table.check([lost(1), judged(1, accepted())], []);
    table.check([rejoined(2, 1, &[1], &[])], [continue_attempt(2, 1)]);
    table.check([events_uploaded(2, 1), events_passed(1)], [check_deferred_events(1, 10), judge(1, 10, true)]);
    table.check([judged(1, accepted())], [complete_marker(1, 90, 10, 1)]);
}

#[test]
fn a_task_without_a_marker_has_nothing_to_check() {
    let mut table = Table::new();
    table.check([joined(1), proof(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([events_uploaded(1, 1)], []);
}
