//! Tries whose tasks go to trusted workers only.

use super::*;
use crate::{QuarantineRules, ShardSize, WaitReason};

const fn private_try(try_id: u64) -> Event {
    Event::TryStarted { try_id: TryId(try_id), group: ShareGroup(0), trusted_only: true }
}

fn trusted(session: u64, slots: u32) -> Event {
    ready_as(session, ReadyWorker { trusted: true, ..plain_worker(session, slots) })
}

/// Checks the reason for which `task` waits.
#[track_caller]
fn check_waits(table: &Table, task: u64, reason: WaitReason) {
    assert_eq!(table.scheduler.wait_reason(TaskId(task)), Some(reason));
}

#[test]
fn a_private_task_goes_to_a_trusted_worker_and_others_go_anywhere() {
    let mut table = Table::new();
    table.check([ready(1, 1), trusted(2, 1), private_try(1), new_try(2)], []);
    // Without trust, the first worker would get the task.
    table.check([task(1, 10, SHARD)], [assign(2, 1, 1, 10)]);
    table.check([task(2, 20, SHARD)], [assign(1, 2, 2, 20)]);
    table.check([task(1, 11, REDUCE)], []);
    check_waits(&table, 11, WaitReason::AllFull { kind: REDUCE, workers: 1, on_probation: 0 });
    table.check([delivered(2, 1)], [assign_kind(2, 3, 1, 11, REDUCE)]);
}

#[test]
fn a_private_task_waits_for_the_first_trusted_worker() {
    let mut table = Table::new();
    table.check([ready(1, 4), ready(2, 4), private_try(1), task(1, 10, SHARD)], []);
    let reason = WaitReason::NoTrustedWorker { kind: SHARD, untrusted: 2 };
    check_waits(&table, 10, reason);
    assert_eq!(
        reason.to_string(),
        "only trusted workers may get the tasks of this proof, and no worker for prove_shard is trusted (2 not trusted)"
    );
    // It waits for longer than a task waits for memory, also if it excludes small workers.
    let size = ShardSize { cells: 1, memory_bytes: 1 };
    table.check([Event::SmallWorkersExcluded { try_id: TryId(1), size }], []);
    let patience = 2 * plain().memory_patience;
    assert_eq!(table.pass(patience, &[1, 2]), []);
    check_waits(&table, 10, reason);
    table.check([trusted(3, 1)], [assign(3, 1, 1, 10)]);
}

#[test]
fn a_private_task_returns_to_the_only_trusted_worker_and_to_no_other() {
    let mut table = Table::new();
    table.check([ready(1, 1), trusted(2, 1), private_try(1), task(1, 10, SHARD)], [assign(2, 1, 1, 10)]);
    table.check([failed(2, 1)], [assign(2, 2, 1, 10)]);
    let commands = table.send([lost(2)]);
    assert!(!commands.iter().any(|command| matches!(command, Command::Assign { .. })), "{commands:?}");
    check_waits(&table, 10, WaitReason::NoTrustedWorker { kind: SHARD, untrusted: 1 });
}

#[test]
fn an_idle_worker_that_is_not_trusted_takes_no_private_task_from_another() {
    let mut table = Table::new();
    table.check(
        [trusted(1, 2), private_try(1), task(1, 10, SHARD), task(1, 11, SHARD)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11)],
    );
    table.check([started(1, 1), ready(2, 1)], []);
    table.check([trusted(3, 1)], [cancel(1, 2), assign(3, 3, 1, 11)]);
}

#[test]
fn a_worker_that_returns_without_trust_does_not_continue_a_private_attempt() {
    for (is_trusted, expected) in
        [(true, Command::Continue { session: SessionId(2), attempt: AttemptId(1) }), (false, cancel(2, 1))]
    {
        let mut table = Table::new();
        table.check([trusted(1, 1), private_try(1), task(1, 10, SHARD), started(1, 1)], [assign(1, 1, 1, 10)]);
        table.send([lost(1)]);
        let holds = vec![AttemptId(1)];
        let returned = ReadyWorker { trusted: is_trusted, holds, ..plain_worker(1, 1) };
        table.check([ready_as(2, returned)], [expected]);
    }
}

#[test]
fn the_quarantine_of_the_only_trusted_worker_ends_early() {
    let quarantine = QuarantineRules { max_faults: 1, ..QuarantineRules::default() };
    let mut table = Table::with(SchedulerConfig { quarantine: Some(quarantine), ..plain() });
    table.check([ready(1, 1), trusted(2, 1), private_try(1), task(1, 10, SHARD)], [assign(2, 1, 1, 10)]);
    let commands = table.send([failed(2, 1)]);
    assert!(commands.iter().any(|command| matches!(command, Command::Quarantine { .. })), "{commands:?}");
    assert_eq!(commands.last(), Some(&assign(2, 2, 1, 10)), "{commands:?}");
}

#[test]
fn only_a_trusted_worker_can_confirm_the_claims_of_a_private_try() {
    let mut table = Table::new();
    // Attempt 1 is of a private try, and attempt 2 is not.
    table.check(
        [trusted(1, 2), private_try(1), new_try(2), task(1, 10, SHARD), task(2, 20, SHARD)],
        [assign(1, 1, 1, 10), assign(1, 2, 2, 20)],
    );
    table.check([started(1, 1), started(1, 2), ready(2, 1)], []);
    let has_other = |table: &Table, attempt| table.scheduler.has_independent_worker_for(AttemptId(attempt));
    assert!(!has_other(&table, 1) && has_other(&table, 2) && !has_other(&table, 7));
    table.check([trusted(3, 1)], []);
    assert!(has_other(&table, 1));
}

#[test]
fn a_worker_in_a_new_session_is_not_independent_of_itself() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1), ready_holding(2, 1, 1, &[])], [end_session(1)]);
    let has_other = |table: &Table| table.scheduler.has_independent_worker_for(AttemptId(1));
    assert!(!has_other(&table));
    table.check([ready(3, 1)], []);
    assert!(has_other(&table));
}
