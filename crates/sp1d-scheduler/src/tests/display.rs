//! The texts of events and commands, one line each for the log.

use super::*;

#[track_caller]
fn check_lines(actual: impl IntoIterator<Item = impl ToString>, expected: &[&str]) {
    let lines: Vec<String> = actual.into_iter().map(|item| item.to_string()).collect();
    assert_eq!(lines, expected);
}

#[test]
fn an_event_is_shown_in_one_line() {
    let session = SessionId(1);
    let resumable = Event::TaskSubmitted {
        try_id: TryId(1),
        task: TaskId(2),
        kind: SHARD,
        marker: Some(TaskId(3)),
        resumable_on: Some(session),
    };
    check_lines(
        [
            new_try(1),
            task(1, 2, SHARD),
            resumable,
            marker(1, 3),
            ready_holding(1, 7, 2, &[4, 5]),
            Event::DrainRequested { session },
            Event::DrainCancelled { session },
            Event::LastProverLost { session },
            Event::FirstProverReady { session },
            lost(1),
            renewed(1),
            not_sent(4),
            started(1, 4),
            events_accepted(1, 4),
            delivered(1, 4),
            passed(4),
            rejected(4),
            check_delayed(4),
            failed(1, 4),
            Event::ProvenWrong { worker: WorkerId(7), reason: "wrong".to_owned() },
            ended(1),
            Event::Tick,
        ],
        &[
            "try-1 started",
            "prove_shard t2 of try-1 submitted",
            "prove_shard t2 of try-1 submitted, with marker t3, resumable on s1",
            "marker t3 of try-1 submitted",
            "s1 of w7 is ready, from o7: 2 slots, 0 bytes, 7 kinds, 2 held attempts, 0 resumable tasks",
            "drain requested for s1",
            "drain cancelled for s1",
            "s1 lost its last prover",
            "s1 has its first prover ready",
            "s1 ended",
            "s1 renewed its lease",
            "a4 could not be given to its worker",
            "s1 started a4",
            "deferred events of a4 on s1 accepted",
            "s1 delivered the result of a4",
            "result of a4 passed its check",
            "result of a4 rejected: wrong",
            "check of a4 is delayed",
            "a4 failed on s1: engine error: broken",
            "w7 proven wrong: wrong",
            "try-1 ended",
            "tick",
        ],
    );
}

#[test]
fn a_command_is_shown_in_one_line() {
    let (session, kinds) = (SessionId(1), KindSet::only(SHARD));
    check_lines(
        [
            assign(1, 4, 1, 2),
            cancel(1, 4),
            complete_marker(1, 3, 4),
            accept(1, 4, 1, 2),
            discard(4),
            fail_try(1, 2, vec![past(4, 1, broken()), past(5, 1, AttemptEndReason::WorkerLost)]),
            Command::Continue { session, attempt: AttemptId(4) },
            Command::Quarantine { session, kinds, duration: ms(60_000), reason: "broken".to_owned() },
            Command::Probation { session, kinds },
            Command::WorkerDrained { session },
            end_session(1),
        ],
        &[
            "assign prove_shard t2 of try-1 to s1 as a4",
            "cancel a4 on s1",
            "complete marker t3 of try-1 with a4",
            "accept a4 of s1 for t2 of try-1",
            "discard a4",
            "fail try-1 because of prove_shard t2 after 2 past attempts",
            "continue a4 on s1",
            "quarantine s1 for 60s (prove_shard): broken",
            "put s1 on probation (prove_shard)",
            "report s1 as drained",
            "end the session s1",
        ],
    );
}
