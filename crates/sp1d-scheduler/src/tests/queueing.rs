//! Which task comes first, and which worker gets it.

use super::*;
use crate::{Placement, WaitReason};

#[test]
fn a_free_slot_takes_a_task_at_once() {
    let mut table = Table::new();
    table.check([ready(1, 2), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([task(1, 11, SHARD), task(1, 12, SHARD)], [assign(1, 2, 1, 11)]);
    table.check([delivered(1, 1)], [assign(1, 3, 1, 12)]);
}

#[test]
fn a_new_worker_takes_waiting_tasks_up_to_its_slots() {
    let mut table = Table::new();
    table.check([new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)], []);
    table.check([ready(1, 2)], [assign(1, 1, 1, 10), assign(1, 2, 1, 11)]);
}

#[test]
fn zero_slots_count_as_one() {
    let mut table = Table::new();
    table.check([ready(1, 0), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD)], [assign(1, 1, 1, 10)]);
}

#[test]
fn the_earlier_try_comes_first_if_neither_holds_attempts() {
    let mut table = Table::new();
    table.check([new_try(2), new_try(1), task(1, 10, REDUCE), task(2, 20, SHARD)], []);
    table.check([ready(1, 1)], [assign(1, 1, 2, 20)]);
}

#[test]
fn tries_share_the_slots_evenly() {
    let mut table = Table::new();
    table.check([new_try(1), new_try(2)], []);
    table.check((10..16).map(|id| task(1, id, SHARD)).chain([task(2, 20, SHARD), task(2, 21, SHARD)]), []);
    let by_turns = [assign(1, 1, 1, 10), assign(1, 2, 2, 20), assign(1, 3, 1, 11), assign(1, 4, 2, 21)];
    table.check([ready(1, 4)], by_turns);
}

#[test]
fn groups_share_the_slots_evenly_whatever_their_number_of_tries_is() {
    let mut table = Table::new();
    table.check([new_try_of(1, 1), new_try_of(2, 1), new_try_of(3, 2)], []);
    for try_id in 1..=3 {
        table.send((0..4).map(|id| task(try_id, 10 * try_id + id, SHARD)));
    }
    // The tries 1 and 2 share the slots of group 1.
    let by_turns = [assign(1, 1, 1, 10), assign(1, 2, 3, 30), assign(1, 3, 2, 20), assign(1, 4, 3, 31)];
    table.check([ready(1, 4)], by_turns);
    table.check([delivered(1, 2)], [assign(1, 5, 3, 32)]);
    table.check([delivered(1, 1)], [assign(1, 6, 1, 11)]);
    // Without waiting tasks of group 2, its share goes to group 1.
    let freed = [discard(2), cancel(1, 4), discard(4), cancel(1, 5), discard(5)];
    table.check([ended(3)], freed.into_iter().chain([assign(1, 7, 2, 21), assign(1, 8, 1, 12)]));
}

#[test]
fn groups_with_short_tries_do_not_starve_another_group() {
    let mut table = Table::new();
    table.check([new_try_of(1, 3), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)], []);
    table.check([ready(1, 1)], [assign(1, 1, 1, 10)]);
    table.check([new_try_of(2, 1), task(2, 20, SHARD), new_try_of(3, 2), task(3, 30, SHARD)], []);
    let accepted = |attempt| [delivered(1, attempt), passed(attempt)];
    // A short try ends with its only task, and its group starts the next one.
    let next =
        |ended_try, try_id, group| [ended(ended_try), new_try_of(try_id, group), task(try_id, 10 * try_id, SHARD)];
    let check_turn = |table: &mut Table, attempt, expected_try| {
        let assigned = table.send(accepted(attempt)).into_iter().find_map(|command| match command {
            Command::Assign { try_id, .. } => Some(try_id),
            _ => None,
        });
        assert_eq!(assigned, Some(TryId(expected_try)), "after attempt {attempt}");
    };
    check_turn(&mut table, 1, 2);
    check_turn(&mut table, 2, 3);
    table.check(next(2, 4, 1), []);
    // Group 1 has a new entry, which comes after group 3.
    check_turn(&mut table, 3, 1);
    table.check(next(3, 5, 2), []);
    check_turn(&mut table, 4, 4);
    check_turn(&mut table, 5, 5);
    table.check(next(4, 6, 1), []);
    check_turn(&mut table, 6, 1);
}

#[test]
fn a_short_try_gets_slots_of_a_long_one_as_they_become_free() {
    let mut table = Table::new();
    table.check([new_try(1), ready(1, 2)], []);
    table.send((10..16).map(|id| task(1, id, SHARD)));
    table.check([new_try(2), task(2, 20, SHARD), task(2, 21, SHARD)], []);
    // Each try holds one attempt while both have waiting tasks.
    table.check([delivered(1, 1)], [assign(1, 3, 2, 20)]);
    table.check([delivered(1, 2)], [assign(1, 4, 1, 12)]);
    table.check([delivered(1, 3)], [assign(1, 5, 2, 21)]);
    table.check([delivered(1, 5)], [assign(1, 6, 1, 13)]);
}

#[test]
fn tries_take_turns_when_there_are_fewer_slots_than_tries() {
    let mut table = Table::new();
    table.check([new_try(1), new_try(2), new_try(3)], []);
    for try_id in 1..=3 {
        table.send((0..4).map(|id| task(try_id, 10 * try_id + id, SHARD)));
    }
    table.check([ready(1, 1)], [assign(1, 1, 1, 10)]);
    table.check([delivered(1, 1)], [assign(1, 2, 2, 20)]);
    table.check([delivered(1, 2)], [assign(1, 3, 3, 30)]);
    table.check([delivered(1, 3)], [assign(1, 4, 1, 11)]);
    table.check([ready(2, 1)], [assign(2, 5, 2, 21)]);
    table.check([delivered(1, 4)], [assign(1, 6, 3, 31)]);
    table.check([delivered(2, 5)], [assign(2, 7, 1, 12)]);
}

#[test]
fn attempts_lost_with_a_worker_leave_the_fair_share() {
    let mut table = Table::new();
    table.check([new_try(1), new_try(2), ready(1, 2)], []);
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), task(2, 20, SHARD), task(2, 21, SHARD)]);
    table.check([lost(1), ready(2, 2)], [assign(2, 3, 2, 20), assign(2, 4, 1, 10)]);
}

#[test]
fn within_a_try_recursion_and_wraps_come_before_shards() {
    let mut table = Table::new();
    table.check([new_try(1), task(1, 10, SHARD)], []);
    for (task_id, kind) in (11..).zip(TaskKind::ALL.into_iter().filter(|kind| !kind.is_shard())) {
        table.check([task(1, task_id, kind)], []);
    }
    let order = table.send([ready(1, 6)]).into_iter().map(|command| match command {
        Command::Assign { task: TaskId(task), .. } => task,
        other => panic!("{other:?}"),
    });
    assert!(order.eq([11, 12, 13, 14, 15, 10]));
}

#[test]
fn equally_urgent_tasks_go_in_submission_order() {
    let mut table = Table::new();
    table.check([new_try(1), task(1, 12, SHARD), task(1, 11, SHARD), task(1, 10, SHARD)], []);
    table.check([ready(1, 3)], [assign(1, 1, 1, 12), assign(1, 2, 1, 11), assign(1, 3, 1, 10)]);
}

#[test]
fn a_requeued_task_keeps_its_rank() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([lost(1), ready(2, 1)], [assign(2, 2, 1, 10)]);
}

#[test]
fn a_task_without_a_worker_blocks_no_other_task() {
    let mut table = Table::new();
    table.check([new_try(1), task(1, 10, TaskKind::PlonkWrap), task(1, 11, SHARD)], []);
    table.check([ready_for(1, 2, SHARD)], [assign(1, 1, 1, 11)]);
    let reason = WaitReason::KindUnsupported { kind: TaskKind::PlonkWrap, ready: 1 };
    assert_eq!(table.scheduler.wait_reason(TaskId(10)), Some(reason));
    table.check([ready_for(2, 1, TaskKind::PlonkWrap)], [assign_kind(2, 2, 1, 10, TaskKind::PlonkWrap)]);
}

#[test]
fn tasks_are_spread_over_the_workers() {
    let mut table = Table::new();
    table.check([ready(2, 2), ready(1, 2), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([task(1, 11, SHARD)], [assign(2, 2, 1, 11)]);
    table.check([task(1, 12, SHARD)], [assign(1, 3, 1, 12)]);
    table.check([task(1, 13, SHARD)], [assign(2, 4, 1, 13)]);
    table.check([task(1, 14, SHARD)], []);
}

#[test]
fn the_least_busy_worker_that_supports_the_kind_is_chosen() {
    let mut table = Table::new();
    table.check([ready(1, 3), ready_for(2, 3, SHARD), new_try(1)], []);
    table.check([task(1, 10, SHARD), started(1, 1)], [assign(1, 1, 1, 10)]);
    table.check([task(1, 11, REDUCE)], [assign_kind(1, 2, 1, 11, REDUCE)]);
    table.check([task(1, 12, SHARD)], [assign(2, 3, 1, 12)]);
    table.check([task(1, 13, SHARD)], [assign(2, 4, 1, 13)]);
}

#[test]
fn thousands_of_workers_and_tasks_are_handled() {
    for placement in Placement::ALL {
        thousands_of_workers_and_tasks(placement);
    }
}

fn thousands_of_workers_and_tasks(placement: Placement) {
    let (workers, tasks) = (2_000, 10_000);
    let mut scheduler = Scheduler::new(SchedulerConfig { placement, ..plain() });
    let now = Timestamp::default();
    let mut commands = scheduler.handle(now, new_try(1));
    commands.extend((1..=workers).flat_map(|session| scheduler.handle(now, ready(session, 2))));
    commands.extend((1..=tasks).flat_map(|id| scheduler.handle(now, task(1, id, SHARD))));
    let mut accepted = 0;
    while let Some(command) = commands.pop() {
        match command {
            Command::Assign { session, attempt, .. } => {
                commands.extend(scheduler.handle(now, Event::ResultDelivered { session, attempt }));
                commands.extend(scheduler.handle(now, Event::ResultPassed { attempt }));
            }
            Command::AcceptResult { .. } => accepted += 1,
            // The workers still report cancelled attempts, which is too late.
            Command::Cancel { .. } | Command::Discard { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted, tasks);
    scheduler.check_invariants();
}
