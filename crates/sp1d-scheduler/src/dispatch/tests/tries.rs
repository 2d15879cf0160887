//! The end of a try.

use super::*;
use crate::{PastAttempt, ShardSize, TryFailureCause};

fn failure(task: u64, history: Vec<PastAttempt>, cause: TryFailureCause, suspect: bool) -> DispatchCommand {
    DispatchCommand::FailTry {
        try_id: TryId(1),
        task: TaskId(task),
        kind: SHARD,
        history,
        cause,
        are_claims_suspect: suspect,
    }
}

fn too_large() -> AttemptFailure {
    AttemptFailure::Worker { kind: FailureKind::OutOfMemory, text: "too large".to_owned() }
}

fn broken() -> AttemptFailure {
    AttemptFailure::Worker { kind: FailureKind::Engine, text: "broken".to_owned() }
}

fn out_of_memory(session: u64, attempt: u64) -> DispatchEvent {
    failed_with(session, attempt, FailureKind::OutOfMemory, "too large")
}

fn past(attempt: u64, failure: AttemptFailure) -> PastAttempt {
    let (session, worker, duration) = (SessionId(attempt), WorkerId(attempt), Duration::ZERO);
    PastAttempt { attempt: AttemptId(attempt), session, worker, duration, reason: failure.into() }
}

#[test]
fn the_end_of_a_try_drops_its_attempts_and_tasks() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10), task(1, 11)], assign(1, 1, 1, 10, None));
    table.check([ended(1)], all(&[&[cancel(1, 1)], &dropped(10, 1, 1)]));
    table.check([ended(1), delivered(1, 1), passed(1)], []);
}

#[test]
fn a_failed_assignment_stops_the_try_and_keeps_its_claims() {
    let mut table = Table::new();
    table.send([ready(1), new_try(1), marked(1, 10, 90), events_uploaded(1, 1), events_passed(1)]);
    table.check([delivered(1, 1), passed(1)], all(&[&[check_result(1, 10)], &accept(1, 1, 1, 10)]));
    table.check([task(1, 11), task(1, 12)], assign(1, 2, 1, 11, None));
    table.check([not_sent(2)], all(&[&[cancel(1, 2)], &dropped(11, 2, 1)]));
    // A restart of the proof compares the claims.
    assert!(table.dispatch.claims(TryId(1)).is_some_and(ClaimHistory::has_claims));
    table.check([task(1, 13), not_sent(2), ended(1)], []);
    assert_eq!(table.dispatch.claims(TryId(1)), None);
}

#[test]
fn a_task_of_an_ended_try_is_ignored() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), ended(1), task(1, 10), task(9, 11)], []);
}

#[test]
fn a_task_that_is_submitted_twice_is_proven_once() {
    let mut table = Table::new();
    table.check([ready(1), new_try(1), task(1, 10), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([delivered(1, 1), passed(1)], all(&[&[check_result(1, 10)], &accept(1, 1, 1, 10)]));
    table.check([task(1, 10)], []);
}

#[test]
fn a_task_is_open_until_its_result_is_accepted() {
    let mut table = Table::new();
    let open = |table: &Table, try_id: u64| -> Vec<u64> {
        let open = table.dispatch.open_tasks(TryId(try_id), TaskId(0)).map(|(task, _)| task.0).collect::<Vec<_>>();
        assert_eq!(table.dispatch.count_open_tasks(TryId(try_id)), open.len());
        open
    };
    table.send([ready(1), new_try(1), new_try(2), task(1, 10), task(2, 11), task(1, 12)]);
    assert_eq!((open(&table, 1), open(&table, 2)), (vec![10, 12], vec![11]));
    let after = |task: u64| table.dispatch.open_tasks(TryId(1), TaskId(task)).collect::<Vec<_>>();
    assert_eq!(after(10), [(TaskId(12), SHARD)]);
    assert!(after(12).is_empty());
    table.send([delivered(1, 1)]);
    assert_eq!(open(&table, 1), [10, 12]);
    table.send([passed(1)]);
    assert_eq!(open(&table, 1), [12]);
    table.send([ended(1)]);
    assert_eq!((open(&table, 1), open(&table, 2)), (vec![], vec![11]));
}

/// Checks how the try fails if all three workers fail at the task of `submitted`.
fn check_failure(submitted: DispatchEvent, cause: TryFailureCause, suspect: bool) {
    let mut table = Table::new();
    table.send([ready(1), ready(2), ready(3), new_try(1), submitted]);
    let mut commands = Vec::new();
    for attempt in 1..=3 {
        commands = table.send([failed(attempt, attempt)]);
    }
    let history = (1..=3).map(|attempt| past(attempt, broken())).collect();
    assert_eq!(commands, [step_failed(10, 3, 3, &broken().to_string()), failure(10, history, cause, suspect)]);
}

#[test]
fn a_shard_without_a_marker_casts_doubt_on_the_claims() {
    check_failure(task(1, 10), TryFailureCause::TaskFailed, true);
    check_failure(marked(1, 10, 90), TryFailureCause::TaskFailed, false);
}

#[test]
fn a_shard_that_needs_too_much_memory_is_reported_as_such() {
    let mut table = Table::new();
    table.send([ready(1), new_try(1), marked(1, 10, 90)]);
    let step = step_failed(10, 1, 1, "out of memory: too large");
    let failed = failure(10, vec![past(1, too_large())], TryFailureCause::ShardOutOfMemory, false);
    table.check([out_of_memory(1, 1)], [step, failed]);
}

#[test]
fn another_task_that_needs_too_much_memory_asks_for_no_smaller_cut() {
    let mut table = Table::new();
    let (kind, marker, key) = (TaskKind::RecursionReduce, None, None);
    let submitted = DispatchEvent::TaskSubmitted { try_id: TryId(1), task: TaskId(10), kind, marker, key };
    table.send([ready(1), new_try(1), submitted]);
    let step = step_failed(10, 1, 1, "out of memory: too large");
    let failed = DispatchCommand::FailTry {
        try_id: TryId(1),
        task: TaskId(10),
        kind,
        history: vec![past(1, too_large())],
        cause: TryFailureCause::TaskOutOfMemory,
        are_claims_suspect: false,
    };
    table.check([out_of_memory(1, 1)], [step, failed]);
}

#[test]
fn a_shard_without_a_large_worker_is_reported_as_such() {
    let mut table = Table::new();
    let mut small = ready(1);
    if let DispatchEvent::WorkerReady { ready, .. } = &mut small {
        ready.shard_room = ShardRoom::Memory(7);
    }
    let (try_id, size) = (TryId(1), ShardSize { cells: 0, memory_bytes: 8 });
    let excluded = DispatchEvent::SmallWorkersExcluded { try_id, size };
    table.check([small, new_try(1), excluded, marked(1, 10, 90)], []);
    let mut commands = Vec::new();
    for _ in 0..=SchedulerConfig::default().memory_patience.as_secs() {
        table.now = table.now + Duration::from_secs(1);
        let renewed = DispatchEvent::LeaseRenewed { session: SessionId(1) };
        commands.extend(table.send([renewed, DispatchEvent::Tick]));
    }
    assert_eq!(commands, [failure(10, Vec::new(), TryFailureCause::NoLargeWorkerRemains, false)]);
}

#[test]
fn the_cause_of_a_failure_says_whether_smaller_shards_may_help() {
    let (broken, out_of_memory) = ([past(1, broken())], [past(1, too_large()), past(2, broken())]);
    let fold = TaskKind::RecursionReduce;
    for (kind, history, lacks_large_worker, expected) in [
        (SHARD, &broken[..], false, TryFailureCause::TaskFailed),
        (SHARD, &broken[..], true, TryFailureCause::NoLargeWorkerRemains),
        (SHARD, &out_of_memory[..], false, TryFailureCause::ShardOutOfMemory),
        (SHARD, &out_of_memory[..], true, TryFailureCause::ShardOutOfMemory),
        (fold, &out_of_memory[..], true, TryFailureCause::TaskOutOfMemory),
        (fold, &out_of_memory[..], false, TryFailureCause::TaskFailed),
    ] {
        let cause = TryFailureCause::from_history(kind, history, lacks_large_worker);
        assert_eq!(cause, expected, "{kind} {history:?} {lacks_large_worker}");
    }
}

#[test]
fn events_and_commands_are_readable() {
    let mut table = Table::new();
    let event = ready_with(1, 1, &[], &[(7, 100)]);
    assert_eq!(event.to_string(), "s1 of w1 is ready: it holds 0 attempts and can resume 1");
    table.check([event, new_try(1)], []);
    let commands = table.send([keyed(1, 10, 7)]).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        commands,
        ["assign a1 of try-1 t10 to s1, which resumes a100", "publish that a1 (t10) on s1 is assigned"]
    );
    assert_eq!(events_passed(1).to_string(), "the deferred events of a1 passed their check");
    assert_eq!(ResultKey([0xab; 32]).to_string(), "ab".repeat(32));
}
