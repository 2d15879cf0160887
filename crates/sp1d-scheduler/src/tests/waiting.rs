//! Why a task waits, and how that is shown.

use super::*;
use crate::{Placement, WaitReason};
use std::collections::BTreeMap;

const GIB: u64 = 1 << 30;

/// A worker with one slot and `comparable_bytes` for one attempt.
fn ready_with_memory(session: u64, comparable_bytes: u64) -> Event {
    ready_as(session, ReadyWorker { comparable_bytes, ..plain_worker(session, 1) })
}

fn out_of_memory(session: u64, attempt: u64) -> Event {
    let failure = AttemptFailure::Worker { kind: FailureKind::OutOfMemory, text: "too large".to_owned() };
    Event::AttemptFailed { session: SessionId(session), attempt: AttemptId(attempt), failure }
}

/// Checks the reason for which task 10 of try 1 waits after `events`, and its text.
#[track_caller]
fn check_in(mut table: Table, events: impl IntoIterator<Item = Event>, reason: WaitReason, text: &str) {
    table.send(events);
    assert_eq!(table.scheduler.wait_reason(TaskId(10)), Some(reason));
    assert_eq!(reason.to_string(), text);
    assert_eq!(table.scheduler.waiting_of(TryId(1)), BTreeMap::from([(reason, 1)]));
}

#[track_caller]
fn check(events: impl IntoIterator<Item = Event>, reason: WaitReason, text: &str) {
    check_in(Table::new(), events, reason, text);
}

#[test]
fn a_task_waits_for_the_first_worker() {
    check([new_try(1), task(1, 10, SHARD)], WaitReason::NoWorkerReady, "no worker is ready");
}

#[test]
fn a_task_waits_for_a_worker_that_supports_its_kind() {
    check(
        [ready_for(1, 1, REDUCE), ready_for(2, 1, REDUCE), new_try(1), task(1, 10, SHARD)],
        WaitReason::KindUnsupported { kind: SHARD, ready: 2 },
        "no ready worker supports prove_shard (2 ready; others may still load their provers)",
    );
}

#[test]
fn a_task_waits_for_unavailable_workers() {
    let unavailable = [
        Event::DrainRequested { session: SessionId(1) },
        Event::LastProverLost { session: SessionId(1) },
        Event::LastProverLost { session: SessionId(2) },
    ];
    check(
        [ready(1, 1), ready(2, 1), new_try(1)].into_iter().chain(unavailable).chain([task(1, 10, SHARD)]),
        WaitReason::AllUnavailable { kind: SHARD, draining: 1, quarantined: 0, starting: 1 },
        "no worker is available for prove_shard: 1 draining, 1 starting",
    );
}

#[test]
fn a_task_waits_for_a_worker_with_more_memory() {
    // Task 10 waits for the large worker 2, which proves task 9. Then worker 2 is lost, and worker 1 proves task 9.
    let first = [ready_with_memory(2, 64 * GIB), new_try(1), task(1, 9, SHARD), ready_with_memory(1, 8 * GIB)];
    check(
        first.into_iter().chain([task(1, 10, SHARD), out_of_memory(1, 2), lost(2)]),
        WaitReason::TooLittleMemory { kind: SHARD, workers: 1 },
        "no worker for prove_shard has enough memory (too small: 1); draining workers do not count",
    );
}

#[test]
fn a_task_waits_for_a_starting_worker_that_it_has_not_failed_on() {
    check(
        [ready(1, 1), ready(2, 1), Event::LastProverLost { session: SessionId(2) }, new_try(1), task(1, 10, SHARD)]
            .into_iter()
            .chain([failed(1, 1)]),
        WaitReason::AllAvailableExcluded { kind: SHARD, failed_before: 1, too_small: 0, unavailable: 1 },
        "every available worker for prove_shard is excluded (1 tried before); quarantined or starting: 1",
    );
}

#[test]
fn a_task_waits_for_a_full_worker_although_others_are_free() {
    // Worker 3 proves task 9. Task 10 fails on worker 1, then runs out of memory on worker 2.
    let (large, small) = (64 * GIB, 8 * GIB);
    check(
        [ready_with_memory(3, large), new_try(1), task(1, 9, SHARD), started(3, 1)].into_iter().chain([
            ready_with_memory(1, large),
            ready_with_memory(2, small),
            task(1, 10, SHARD),
            failed(1, 2),
            out_of_memory(2, 3),
        ]),
        WaitReason::AllFreeExcluded { kind: SHARD, failed_before: 1, too_small: 1, full: 1 },
        "every free worker for prove_shard is excluded (1 tried before, 1 with too little memory); full: 1",
    );
}

#[test]
fn a_task_waits_while_every_available_worker_is_full() {
    check(
        [ready(1, 1), ready(2, 1), new_try(1), task(1, 8, SHARD), task(1, 9, SHARD), task(1, 10, SHARD)],
        WaitReason::AllFull { kind: SHARD, workers: 2, on_probation: 0 },
        "every available worker for prove_shard is full (2 available)",
    );
}

#[test]
fn a_task_waits_for_a_worker_on_probation() {
    let table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    // Three faults quarantine worker 1. Worker 2 leaves, so worker 1 is needed and is put on probation.
    let fault = |id| [task(1, id, SHARD), failed(1, 2 * id - 1), delivered(2, 2 * id), passed(2 * id)];
    check_in(
        table,
        [ready(1, 1), ready(2, 1), new_try(1)].into_iter().chain((1..=3).flat_map(fault)).chain([
            lost(2),
            task(1, 9, SHARD),
            task(1, 10, SHARD),
        ]),
        WaitReason::AllFull { kind: SHARD, workers: 1, on_probation: 1 },
        "every available worker for prove_shard is full (1 available, 1 on probation)",
    );
}

#[test]
fn a_task_waits_because_of_the_pack_plan() {
    let mut table = Table::with(SchedulerConfig { placement: Placement::Pack, ..plain() });
    let tasks = [new_try(1), task(1, 7, SHARD), task(1, 8, SHARD), task(1, 9, SHARD), task(1, 10, SHARD)];
    table.send(tasks.into_iter().chain([ready(1, 1), ready(2, 1), ready(3, 1)]));
    // Four tasks need two rounds, for which two workers are enough.
    let reason = WaitReason::OutsidePackPlan { kind: SHARD, plan_size: 2, free: 1 };
    assert_eq!(table.scheduler.wait_reason(TaskId(10)), Some(reason));
    assert_eq!(table.scheduler.waiting_of(TryId(1)), BTreeMap::from([(reason, 2)]));
    let text = "the pack plan uses 2 workers for prove_shard and leaves others free (1 free)";
    assert_eq!(reason.to_string(), text);
}

#[test]
fn the_reasons_of_a_try_are_counted() {
    let mut table = Table::new();
    table.send([ready_for(1, 1, SHARD), new_try(1), new_try(2), task(2, 1, SHARD)]);
    table.send((10..15).map(|id| task(1, id, SHARD)).chain([task(1, 20, REDUCE), task(1, 21, REDUCE)]));
    let full = WaitReason::AllFull { kind: SHARD, workers: 1, on_probation: 0 };
    let unsupported = WaitReason::KindUnsupported { kind: REDUCE, ready: 1 };
    assert_eq!(table.scheduler.waiting_of(TryId(1)), BTreeMap::from([(full, 5), (unsupported, 2)]));
    assert_eq!(table.scheduler.waiting_of(TryId(2)), BTreeMap::new());
    assert_eq!(table.scheduler.waiting_of(TryId(3)), BTreeMap::new());
}

#[test]
fn only_a_waiting_task_has_a_reason() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    assert_eq!(table.scheduler.wait_reason(TaskId(10)), None);
    table.check([delivered(1, 1)], []);
    assert_eq!(table.scheduler.wait_reason(TaskId(10)), None);
    assert_eq!(table.scheduler.wait_reason(TaskId(99)), None);
}

#[test]
fn many_tasks_have_the_same_statuses_as_each_of_them() {
    let mut table = Table::new();
    table.send([ready_for(1, 1, SHARD), new_try(1), task(1, 9, SHARD), started(1, 1)]);
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, REDUCE)]);
    let statuses = table.scheduler.task_statuses((1..20).map(TaskId));
    assert_eq!(statuses.keys().map(|task| task.0).collect::<Vec<_>>(), [9, 10, 11, 12]);
    for (task, status) in statuses {
        assert_eq!(table.scheduler.task_status(task), Some(status), "{task}");
    }
}
