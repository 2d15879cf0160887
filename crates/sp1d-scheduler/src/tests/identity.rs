//! Failures and losses are counted for each worker across its sessions. Also covers attempts that never start, workers
//! with too little memory, and provers that restart.

use super::*;
use crate::{QuarantineRules, ShardSize, WaitReason};

/// A table with quarantine rules but without pace rules.
fn table() -> Table {
    let mut table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    table.send([new_try(1)]);
    table
}

/// `worker` is ready in the new `session` and holds no attempts.
fn back(session: u64, worker: u64) -> Event {
    ready_holding(session, worker, 1, &[])
}

fn ready_with(session: u64, slots: u32, comparable_bytes: u64) -> Event {
    ready_as(session, ReadyWorker { comparable_bytes, ..plain_worker(session, slots) })
}

fn out_of_memory(session: u64, attempt: u64) -> Event {
    Event::AttemptFailed { session: SessionId(session), attempt: AttemptId(attempt), failure: too_small() }
}

fn too_small() -> AttemptFailure {
    AttemptFailure::Worker { kind: FailureKind::OutOfMemory, text: "killed".to_owned() }
}

fn quarantines(commands: &[Command], session: u64) -> bool {
    commands
        .iter()
        .any(|command| matches!(command, Command::Quarantine { session: id, .. } if *id == SessionId(session)))
}

/// Worker 1 is restarted again and again and crashes with each shard. Worker 2 proves shard 2 for a long time.
#[test]
fn a_worker_in_a_crash_loop_does_not_fail_the_try() {
    let mut table = table();
    table.check([ready(2, 1), task(1, 2, SHARD), started(2, 1)], [assign(2, 1, 1, 2)]);
    table.check([ready(1, 1), task(1, 10, SHARD)], [assign(1, 2, 1, 10)]);
    table.check([started(1, 2), lost(1)], []);
    for session in 100..120 {
        table.check([back(session, 1), lost(session)], []);
    }
    table.check([delivered(2, 1)], [assign(2, 3, 1, 10)]);
}

#[test]
fn losses_of_the_only_worker_fail_the_try_at_the_limit() {
    let mut table = Table::with(SchedulerConfig { max_losses: 3, ..plain() });
    table.send([new_try(1), ready(1, 1), task(1, 10, SHARD)]);
    for (session, attempt) in [(1, 1), (101, 2)] {
        table.check([started(session, attempt), lost(session)], []);
        table.check(
            [back(session + 100 - session % 100 + 1, 1)],
            [assign(session + 100 - session % 100 + 1, attempt + 1, 1, 10)],
        );
    }
    let commands = table.send([started(201, 3), lost(201)]);
    assert!(matches!(commands[..], [Command::FailTry { .. }]), "{commands:?}");
}

/// While worker 1 is alone, it gets the task again after each loss.
#[test]
fn losses_of_one_worker_are_not_final_beside_another() {
    let mut table = Table::with(SchedulerConfig { max_losses: 3, ..plain() });
    table.send([new_try(1), ready(1, 1), task(1, 10, SHARD), started(1, 1), lost(1)]);
    table.send([back(101, 1), started(101, 2), lost(101), back(102, 1), started(102, 3)]);
    table.check([ready(2, 1), lost(102)], [assign(2, 4, 1, 10)]);
}

#[test]
fn a_loss_counts_only_for_started_attempts() {
    let mut table = Table::with(SchedulerConfig { max_losses: 1, ..plain() });
    table.send([new_try(1), new_try(2), ready(1, 2), task(1, 10, SHARD), task(2, 20, SHARD), started(1, 1)]);
    let commands = table.send([lost(1)]);
    assert!(matches!(commands[..], [Command::FailTry { try_id: TryId(1), .. }]), "{commands:?}");
    table.check([back(2, 1)], [assign(2, 3, 2, 20)]);
}

#[test]
fn a_worker_lost_repeatedly_is_quarantined_across_sessions() {
    let mut table = table();
    table.send([ready(2, 1)]);
    for id in 1..=3 {
        let session = 100 + id;
        // Worker 2 holds another task, so worker 1 gets the next one.
        table.send([task(1, 10 * id, SHARD), started(2, 3 * id - 2)]);
        table.check([back(session, 1), task(1, 10 * id + 1, SHARD)], [assign(session, 3 * id - 1, 1, 10 * id + 1)]);
        table.send([started(session, 3 * id - 1), lost(session)]);
        table.send([delivered(2, 3 * id - 2), passed(3 * id - 2)]);
        table.send([delivered(2, 3 * id), passed(3 * id)]);
    }
    let commands = table.send([back(200, 1)]);
    assert!(quarantines(&commands, 200), "a new session of a quarantined worker starts in quarantine: {commands:?}");
    table.send([task(1, 50, SHARD), task(1, 51, SHARD)]);
    assert_eq!(table.scheduler.held_attempts(SessionId(200)).unwrap(), []);
}

#[test]
fn returning_with_its_attempts_removes_the_fault() {
    let rules = QuarantineRules { max_faults: 2, ..QuarantineRules::default() };
    let mut table = Table::with(SchedulerConfig { pace: None, quarantine: Some(rules), ..SchedulerConfig::default() });
    table.send([new_try(1), ready(2, 1), ready(1, 1), task(1, 9, SHARD), task(1, 10, SHARD)]);
    table.send([started(1, 1), started(2, 2)]);
    for session in 1..10 {
        let now = if session == 1 { 1 } else { 100 + session };
        let commands = table.send([lost(now), ready_holding(101 + session, 1, 1, &[1])]);
        assert!(!quarantines(&commands, 101 + session), "{commands:?}");
    }
    table.check([delivered(110, 1), passed(1)], [accept(110, 1, 1, 9)]);
}

#[test]
fn a_task_that_is_never_started_goes_to_another_worker() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 1), ready(2, 1), task(1, 10, SHARD)]);
    assert_eq!(table.pass(ms(599_000), &[1, 2]), []);
    assert_eq!(table.pass(ms(2_000), &[1, 2]), [cancel(1, 1), assign(2, 2, 1, 10)]);
    let history = table.scheduler.task_history(TaskId(10));
    assert!(matches!(history, [PastAttempt { reason: AttemptEndReason::NeverStarted, .. }]), "{history:?}");
}

#[test]
fn attempts_waiting_behind_a_started_one_have_no_start_deadline() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2), task(1, 10, SHARD), task(1, 11, SHARD), started(1, 1)]);
    assert_eq!(table.pass(ms(1_000_000), &[1]), []);
    // The worker proves nothing from this point.
    table.send([delivered(1, 1), passed(1)]);
    assert_eq!(table.pass(ms(601_000), &[1]), [cancel(1, 2), assign(1, 3, 1, 11)]);
}

#[test]
fn a_try_fails_if_its_only_worker_starts_nothing() {
    let mut table = Table::with(SchedulerConfig { max_losses: 2, ..plain() });
    table.send([new_try(1), ready(1, 2), task(1, 10, SHARD)]);
    let commands = table.pass(ms(1_300_000), &[1]);
    assert!(matches!(commands[..], [.., Command::FailTry { .. }]), "{commands:?}");
}

#[test]
fn an_out_of_memory_task_goes_only_to_a_larger_worker() {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 160), ready_with(2, 1, 170), ready_with(3, 1, 171)]);
    table.send([task(1, 9, SHARD), task(1, 10, SHARD), task(1, 11, SHARD)]);
    table.send([started(1, 1), started(2, 2), started(3, 3), delivered(2, 2), passed(2)]);
    // Worker 2 is free, but has only slightly more memory.
    table.check([out_of_memory(1, 1)], []);
    let reason = WaitReason::AllFreeExcluded { kind: SHARD, failed_before: 0, too_small: 2, full: 1 };
    assert_eq!(table.scheduler.wait_reason(TaskId(9)), Some(reason));
    table.check([delivered(3, 3)], [assign(3, 4, 1, 9)]);
}

/// A worker with one slot into which some shards do not fit. Its memory is unknown.
fn ready_with_room(session: u64, shard_room: ShardRoom) -> Event {
    ready_as(session, ReadyWorker { shard_room, ..plain_worker(session, 1) })
}

/// Try 1 has shards of 100 cells, which take 8 bytes on processors.
fn small_workers_excluded() -> Event {
    Event::SmallWorkersExcluded { try_id: TryId(1), size: ShardSize { cells: 100, memory_bytes: 8 } }
}

#[test]
fn a_try_excludes_small_workers_from_its_shards() {
    let mut table = Table::new();
    table.send([new_try(1), new_try(2), ready_with_room(1, ShardRoom::Memory(7)), small_workers_excluded()]);
    // Other tasks of the try, and other tries, may use the worker.
    table.check([task(1, 10, SHARD)], []);
    let reduce = TaskKind::RecursionReduce;
    table.check([task(1, 11, reduce)], [assign_kind(1, 1, 1, 11, reduce)]);
    // Workers that connect later are excluded too.
    table.check([ready_with_room(2, ShardRoom::Cells(99))], []);
    let reason = WaitReason::TooLittleMemory { kind: SHARD, workers: 2 };
    assert_eq!(table.scheduler.wait_reason(TaskId(10)), Some(reason));
    table.check([ready_with_room(3, ShardRoom::Cells(100))], [assign(3, 2, 1, 10)]);
    table.check([task(2, 20, SHARD)], [assign(2, 3, 2, 20)]);
    table.check([task(1, 12, SHARD)], []);
    table.check([ready_with_room(4, ShardRoom::Memory(8))], [assign(4, 4, 1, 12)]);
}

#[test]
fn waiting_shards_exclude_a_small_worker_that_connects_later() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 1), task(1, 10, SHARD), task(1, 11, SHARD), small_workers_excluded()]);
    table.check([ready_with_room(2, ShardRoom::Cells(99))], []);
    // Only the first size counts.
    let size = ShardSize { cells: 1, memory_bytes: 0 };
    table.check([Event::SmallWorkersExcluded { try_id: TryId(1), size }], []);
    table.check([started(1, 1), delivered(1, 1)], [assign(1, 2, 1, 11)]);
}

#[test]
fn a_short_absence_of_the_large_worker_does_not_fail_the_try() {
    let large = |session| ready_as(session, ReadyWorker { shard_room: ShardRoom::Cells(100), ..plain_worker(2, 1) });
    let mut table = Table::new();
    table.send([new_try(1), ready_with_room(1, ShardRoom::Memory(7)), large(2), small_workers_excluded()]);
    table.check([task(1, 10, SHARD)], [assign(2, 1, 1, 10)]);
    table.check([lost(2), task(1, 11, SHARD)], []);
    assert_eq!(table.pass(ms(30_000), &[1]), []);
    let commands = table.send([large(3)]);
    assert!(matches!(commands[..], [Command::Assign { session: SessionId(3), .. }]), "{commands:?}");
}

#[test]
fn shards_whose_larger_workers_have_left_fail_the_try_after_the_patience() {
    let mut table = Table::new();
    table.send([new_try(1), ready_with_room(1, ShardRoom::Memory(7)), small_workers_excluded()]);
    table.check([task(1, 10, SHARD)], []);
    assert_eq!(table.pass(ms(59_000), &[1]), []);
    let commands = table.pass(ms(2_000), &[1]);
    assert!(matches!(commands[..], [Command::FailTry { lacks_large_worker: true, .. }]), "{commands:?}");
}

#[test]
fn an_out_of_memory_task_fails_without_a_larger_worker_if_another_origin_confirms_it() {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 160), ready_with(2, 1, 170), task(1, 10, SHARD)]);
    table.check([out_of_memory(1, 1)], [assign(2, 2, 1, 10)]);
    let history = vec![past(1, 1, too_small()), past(2, 2, too_small())];
    table.check([out_of_memory(2, 2)], [fail_for_memory(1, 10, history)]);
}

#[test]
fn workers_of_one_origin_do_not_confirm_each_other() {
    let mut table = Table::new();
    let sibling = |session| {
        let plain = plain_worker(session, 1);
        ready_as(session, ReadyWorker { comparable_bytes: 160, origin: OriginId(1), ..plain })
    };
    table.send([new_try(1), sibling(1), sibling(2), ready_with(3, 1, 8), task(1, 10, SHARD), started(1, 1)]);
    table.check([out_of_memory(1, 1)], [assign(3, 2, 1, 10)]);
    table.send([ended(1), new_try(2), lost(3), task(2, 20, SHARD)]);
    let commands = table.send([out_of_memory(1, 3)]);
    assert!(matches!(commands[..], [Command::FailTry { lacks_large_worker: true, .. }]), "{commands:?}");
}

/// Worker 1 says that it has unlimited memory, and that no task fits into it.
#[test]
fn a_worker_cannot_fail_a_proof_by_saying_that_memory_ran_out() {
    let mut table = table();
    table.send([ready_with(1, 1, u64::MAX), ready_with(2, 1, 8)]);
    let mut commands = Vec::new();
    for id in 0..3 {
        let (wrong, right, task_id) = (2 * id + 1, 2 * id + 2, 10 + id);
        table.check([task(1, task_id, SHARD)], [assign(1, wrong, 1, task_id)]);
        table.check([out_of_memory(1, wrong)], [assign(2, right, 1, task_id)]);
        commands = table.send([started(2, right), delivered(2, right), passed(right)]);
        assert!(commands.contains(&accept(2, right, 1, task_id)), "{commands:?}");
    }
    assert!(quarantines(&commands, 1), "{commands:?}");
}

/// Worker 1 has failed at the task before, and still counts as another worker.
#[test]
fn a_worker_that_failed_once_is_asked_before_memory_counts_as_too_little() {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 8), task(1, 10, SHARD), started(1, 1), ready_with(2, 1, u64::MAX)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 10)]);
    table.check([out_of_memory(2, 2)], [assign(1, 3, 1, 10)]);
    table.check([delivered(1, 3), passed(3)], [accept(1, 3, 1, 10), discard(1), discard(2)]);
}

/// Worker 1 has reported too little memory, and returns from another address while worker 2 proves the task.
#[test]
fn a_worker_that_ran_out_of_memory_does_not_get_the_task_under_another_origin() {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 8), task(1, 10, SHARD), started(1, 1), ready_with(2, 1, 16)]);
    table.check([out_of_memory(1, 1)], [assign(2, 2, 1, 10)]);
    let moved = ReadyWorker { comparable_bytes: 8, origin: OriginId(77), ..plain_worker(1, 1) };
    table.check([lost(1), ready_as(3, moved), started(2, 2), lost(2)], []);
    let commands = table.pass(ms(61_000), &[3]);
    assert!(matches!(commands[..], [Command::FailTry { lacks_large_worker: true, .. }]), "{commands:?}");
}

/// A worker with slightly less memory proves the task of worker 1.
#[test]
fn a_difference_within_the_tolerance_is_not_a_fault() {
    let mut table = table();
    table.send([ready_with(1, 1, 1600), ready_with(2, 1, 1599)]);
    for id in 0..5 {
        let (wrong, right, task_id) = (2 * id + 1, 2 * id + 2, 10 + id);
        table.check([task(1, task_id, SHARD)], [assign(1, wrong, 1, task_id)]);
        table.check([out_of_memory(1, wrong)], [assign(2, right, 1, task_id)]);
        let commands = table.send([started(2, right), delivered(2, right), passed(right)]);
        assert!(!quarantines(&commands, 1), "{commands:?}");
    }
}

/// The only larger worker has left, and what worker 1 says may be wrong.
#[test]
fn a_smaller_worker_gets_an_out_of_memory_task_after_the_patience() {
    let mut table = waiting_for_a_larger_worker();
    table.check([lost(2)], [assign(1, 3, 1, 11)]);
    table.check([ready_with(3, 1, 4)], []);
    assert_eq!(table.pass(ms(59_500), &[1, 3]), []);
    assert_eq!(table.pass(ms(500), &[1, 3]), [assign(3, 4, 1, 10)]);
}

/// Each of `attempts` is the memory of a worker and its failure. The next worker is ready before the failure and gets
/// the task. Checks whether the last failure fails the try for lack of memory.
#[track_caller]
fn check_cause(attempts: &[(u64, AttemptFailure)], expected: bool) {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, attempts[0].0), task(1, 10, SHARD)]);
    let (mut commands, mut workers) = (Vec::new(), (1..).zip(attempts).peekable());
    while let Some((id, (_, failure))) = workers.next() {
        table.send([started(id, id)]);
        if let Some((next, (comparable_bytes, _))) = workers.peek() {
            table.send([ready_with(*next, 1, *comparable_bytes)]);
        }
        let (session, attempt, failure) = (SessionId(id), AttemptId(id), failure.clone());
        commands = table.send([Event::AttemptFailed { session, attempt, failure }]);
    }
    let [Command::FailTry { lacks_large_worker, .. }] = commands[..] else { panic!("no failed try: {commands:?}") };
    assert_eq!(lacks_large_worker, expected, "{attempts:?}");
}

#[test]
fn a_task_lacks_memory_only_if_it_reached_no_limit() {
    let refused = || AttemptFailure::Worker { kind: FailureKind::Unsupported, text: "no".to_owned() };
    check_cause(&[(8, too_small())], true);
    check_cause(&[(8, too_small()), (16, too_small())], true);
    check_cause(&[(8, broken()), (8, broken()), (8, broken())], false);
    check_cause(&[(8, too_small()), (16, broken()), (16, broken()), (16, broken())], false);
    check_cause(&[(8, broken()), (8, too_small()), (16, broken()), (16, broken())], false);
    check_cause(&[(8, too_small()), (16, refused()), (16, refused()), (16, refused())], false);
}

#[test]
fn an_out_of_memory_task_waits_for_a_returning_worker() {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 8), task(1, 10, SHARD), ready_with(2, 1, 16)]);
    table.check([out_of_memory(1, 1)], [assign(2, 2, 1, 10)]);
    table.send([started(2, 2), lost(2)]);
    assert_eq!(table.pass(ms(59_000), &[1]), []);
    let commands = table.pass(ms(2_000), &[1]);
    assert!(matches!(commands[..], [Command::FailTry { .. }]), "{commands:?}");
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 8), task(1, 10, SHARD), ready_with(2, 1, 16)]);
    table.send([out_of_memory(1, 1), started(2, 2), lost(2)]);
    table.pass(ms(30_000), &[1]);
    table.check([ready_with(3, 1, 12)], [assign(3, 3, 1, 10)]);
}

/// Task 10 ran out of memory on worker 1. It waits for worker 2, which is larger and proves task 11.
fn waiting_for_a_larger_worker() -> Table {
    let mut table = Table::new();
    table.send([new_try(1), ready_with(1, 1, 8), task(1, 10, SHARD), ready_with(2, 1, 16), task(1, 11, SHARD)]);
    table.send([started(1, 1), started(2, 2)]);
    table.check([out_of_memory(1, 1)], []);
    table
}

#[test]
fn the_patience_counts_from_the_departure_of_the_last_larger_worker() {
    let mut table = waiting_for_a_larger_worker();
    assert_eq!(table.pass(ms(90_000), &[1, 2]), []);
    table.check([lost(2)], [assign(1, 3, 1, 11)]);
    assert_eq!(table.pass(ms(59_500), &[1]), []);
    assert_eq!(table.pass(ms(500), &[1]), [fail_for_memory(1, 10, vec![past(1, 1, too_small())])]);
}

#[test]
fn each_departure_of_a_larger_worker_starts_the_patience_again() {
    let mut table = waiting_for_a_larger_worker();
    table.check([lost(2)], [assign(1, 3, 1, 11)]);
    assert_eq!(table.pass(ms(59_000), &[1]), []);
    table.check([ready_with(3, 1, 16)], [assign(3, 4, 1, 10)]);
    table.check([lost(3)], []);
    assert_eq!(table.pass(ms(59_000), &[1]), []);
    let commands = table.pass(ms(1_000), &[1]);
    assert!(matches!(commands[..], [Command::FailTry { .. }]), "{commands:?}");
}

#[test]
fn a_draining_larger_worker_counts_as_one_that_has_left() {
    let mut table = waiting_for_a_larger_worker();
    table.check([Event::DrainRequested { session: SessionId(2) }], []);
    assert_eq!(table.pass(ms(59_500), &[1, 2]), []);
    assert_eq!(table.pass(ms(500), &[1, 2]), [fail_for_memory(1, 10, vec![past(1, 1, too_small())])]);
}

#[test]
fn time_without_workers_does_not_use_up_the_patience() {
    let mut table = waiting_for_a_larger_worker();
    table.send([lost(2)]);
    assert_eq!(table.pass(ms(30_000), &[1]), []);
    table.check([lost(1)], []);
    assert_eq!(table.scheduler.next_deadline(), None);
    assert_eq!(table.pass(ms(120_000), &[]), []);
    let returned = ready_as(3, ReadyWorker { comparable_bytes: 8, ..plain_worker(1, 1) });
    table.check([returned], [assign(3, 4, 1, 11)]);
    assert_eq!(table.pass(ms(29_500), &[3]), []);
    assert_eq!(table.pass(ms(500), &[3]), [fail_for_memory(1, 10, vec![past(1, 1, too_small())])]);
}

#[test]
fn the_deadline_includes_the_end_of_the_patience() {
    let mut table = waiting_for_a_larger_worker();
    table.send([lost(2)]);
    assert_eq!(table.pass(ms(59_800), &[1]), []);
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(200)));
}

#[test]
fn only_events_that_may_change_it_look_for_the_tasks_that_wait_for_memory() {
    let mut table = waiting_for_a_larger_worker();
    table.send([lost(2)]);
    for (event, expected) in [(renewed(1), false), (Event::Tick, false), (started(1, 3), false), (ready(4, 1), true)] {
        let text = event.to_string();
        assert_eq!(table.scheduler.finds_memory_waits_again(table.now, event), expected, "{text}");
        table.scheduler.check_invariants();
    }
}

#[test]
fn a_worker_gets_nothing_while_its_prover_restarts() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2), task(1, 10, SHARD), task(1, 11, SHARD), started(1, 1)]);
    let unready = Event::LastProverLost { session: SessionId(1) };
    table.check([failed(1, 1), unready], [assign(1, 3, 1, 10), cancel(1, 2), cancel(1, 3)]);
    table.check([task(1, 12, SHARD)], []);
    let first_ready = Event::FirstProverReady { session: SessionId(1) };
    table.check([first_ready], [assign(1, 4, 1, 10), assign(1, 5, 1, 11)]);
}

/// Otherwise worker 1 would fail at the task again and again, and at once each time.
#[test]
fn a_failed_task_waits_for_a_restarting_prover() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 1), ready(2, 1), Event::LastProverLost { session: SessionId(2) }]);
    table.check([task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([failed(1, 1)], []);
    table.check([Event::FirstProverReady { session: SessionId(2) }], [assign(2, 2, 1, 10)]);
}

#[test]
fn a_quarantine_ends_early_if_the_worker_is_the_last_resort() {
    let mut table = table();
    // Worker 2 always holds a task, so worker 1 gets the other tasks.
    table.send([ready(2, 1), task(1, 1, SHARD), started(2, 1), ready(1, 1)]);
    table.send([task(1, 2, SHARD), delivered(1, 2), rejected(2), task(1, 3, SHARD), failed(1, 3)]);
    assert!(
        !table.scheduler.worker_status(SessionId(1)).unwrap().available_kinds.contains(SHARD),
        "worker 1 is quarantined"
    );
    table.check([task(1, 4, SHARD), delivered(2, 1)], [assign(2, 4, 1, 2)]);
    table.send([passed(1), delivered(2, 4), passed(4), delivered(2, 5), passed(5)]);
    let commands = table.send([failed(2, 6)]);
    assert_eq!(
        commands,
        [Command::Probation { session: SessionId(1), kinds: KindSet::only(SHARD) }, assign(1, 7, 1, 4)]
    );
}

#[test]
fn a_slow_attempt_that_runs_out_of_memory_keeps_its_task_from_small_workers() {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready_with(1, 1, 100), task(1, 1, SHARD), started(1, 1)]);
    table.pass(ms(1000), &[1]);
    table.send([delivered(1, 1), passed(1), task(1, 2, SHARD), started(1, 2), ready_with(2, 1, 200)]);
    assert_eq!(table.pass(ms(6000), &[1, 2]), [assign(2, 3, 1, 2)], "the slow attempt gets another one beside it");
    table.check([out_of_memory(1, 2)], []);
    // Worker 2 failed at the task, but worker 1 has too little memory.
    table.check([failed(2, 3)], [assign(2, 4, 1, 2)]);
}
