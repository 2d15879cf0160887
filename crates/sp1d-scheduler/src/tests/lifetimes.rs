//! What the scheduler remembers, and for how long.

use super::*;
use crate::SchedulerCounts;

#[test]
fn the_end_of_a_try_cancels_its_attempts() {
    let mut table = Table::new();
    table.check(
        [ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)],
        [assign(1, 1, 1, 10), assign(2, 2, 1, 11)],
    );
    table.check([new_try(2), task(2, 20, SHARD), task(2, 21, SHARD)], []);
    table.check(
        [ended(1)],
        [cancel(1, 1), discard(1), cancel(2, 2), discard(2), assign(1, 3, 2, 20), assign(2, 4, 2, 21)],
    );
    table.check([ended(1)], []);
    table.check([delivered(1, 1), passed(1)], [discard(1)]);
}

#[test]
fn lapsed_and_delivered_attempts_end_with_their_try() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD), lost(1)], [assign(1, 1, 1, 10)]);
    table.check([ready(2, 1), delivered(2, 2)], [assign(2, 2, 1, 10)]);
    table.check([ended(1)], [discard(1), discard(2)]);
    table.check([passed(2), rejected(2)], []);
}

#[test]
fn a_failed_try_stays_until_it_ends() {
    let mut table = Table::with(SchedulerConfig { max_failures: 1, ..plain() });
    table.check(
        [ready(1, 2), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11)],
    );
    table.check([failed(1, 1)], [fail_try(1, 10, vec![past(1, 1, broken())])]);
    assert_eq!(table.scheduler.counts().tries, 1);
    table.check([ended(1)], [discard(1), cancel(1, 2), discard(2)]);
    assert_eq!(table.scheduler.counts(), SchedulerCounts { workers: 1, ..SchedulerCounts::default() });
}

#[test]
fn a_failed_assignment_fails_the_try_and_frees_the_slot() {
    let mut table = Table::new();
    table.check(
        [ready(1, 2), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD)],
        [assign(1, 1, 1, 10), assign(1, 2, 1, 11)],
    );
    // The other attempt stays until the try ends. The free slot goes to another try.
    table.check([not_sent(1)], [cancel(1, 1), discard(1)]);
    table.check([not_sent(1), new_try(2), task(2, 20, SHARD)], [assign(1, 3, 2, 20)]);
    assert!(table.scheduler.task_history(TaskId(10)).is_empty(), "the worker is not at fault");
    table.check([task(1, 13, SHARD), ended(1)], [cancel(1, 2), discard(2)]);
}

#[test]
fn a_failed_assignment_to_a_lost_worker_fails_the_try() {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD), lost(1)], [assign(1, 1, 1, 10)]);
    table.check([ready(2, 1)], [assign(2, 2, 1, 10)]);
    // The first attempt has lapsed, and has no slot any more.
    table.check([not_sent(1)], []);
    table.check([not_sent(2)], [cancel(2, 2), discard(2)]);
    table.check([ended(1)], [discard(1)]);
}

#[test]
fn duplicate_events_change_nothing() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(1, 5), new_try(1), new_try(1)], []);
    table.check([task(1, 10, SHARD), task(1, 10, REDUCE), task(1, 11, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([started(1, 1), started(1, 1), lost(2), lost(2)], []);
    table.check([lost(1), lost(1)], []);
    assert_eq!(table.scheduler.task_history(TaskId(10)).len(), 1);
}

#[test]
fn tasks_of_unknown_tries_are_ignored() {
    let mut table = Table::new();
    table.check([ready(1, 1), task(1, 10, SHARD), marker(1, 90), ended(1), new_try(1)], []);
    assert_eq!(table.scheduler.counts(), SchedulerCounts { tries: 1, workers: 1, ..SchedulerCounts::default() });
}

#[test]
fn the_status_of_a_worker_says_whether_a_prover_is_loaded() {
    let mut table = Table::new();
    let session = SessionId(1);
    for (event, is_loaded) in
        [(ready(1, 1), true), (Event::LastProverLost { session }, false), (Event::FirstProverReady { session }, true)]
    {
        table.send([event]);
        let changed = table.scheduler.take_worker_changes().sessions;
        let loaded: Vec<_> =
            changed.into_iter().map(|(id, status)| (id, status.map(|status| status.has_loaded_prover))).collect();
        assert_eq!(loaded, [(session, Some(is_loaded))]);
    }
}

#[test]
fn counts_include_tries_tasks_attempts_and_workers() {
    let mut table = Table::new();
    table.send([ready(1, 2), new_try(1), new_try(2)]);
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), task(1, 12, SHARD), task(2, 20, SHARD)]);
    let counts = SchedulerCounts { tries: 2, open_tasks: 4, queued_tasks: 2, live_attempts: 2, workers: 1 };
    assert_eq!(table.scheduler.counts(), counts);
    table.send([delivered(1, 1), passed(1)]);
    let counts = SchedulerCounts { open_tasks: 3, queued_tasks: 1, ..counts };
    assert_eq!(table.scheduler.counts(), counts);
}

#[test]
fn a_hundred_tries_leave_nothing_behind() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, ..plain() });
    for number in 1..=100 {
        let (first, second, marker_id) = (number * 10, number * 10 + 1, number * 10 + 2);
        // Some tries finish, some fail, and some end while work is running. Workers leave with attempts that never
        // report again.
        let mut commands = table.send([ready(number, 2), new_try(number), marker(number, marker_id)]);
        commands.extend(table.send([marked(number, first, marker_id), task(number, second, REDUCE)]));
        for command in commands {
            let Command::Assign { session, attempt, .. } = command else { continue };
            match number % 3 {
                0 => table.send([Event::ResultDelivered { session, attempt }, Event::ResultPassed { attempt }]),
                1 => table.send([Event::AttemptFailed { session, attempt, failure: broken() }]),
                _ => table.send([]),
            };
        }
        if number % 4 == 0 {
            table.send([lost(number)]);
        }
        table.send([ended(number)]);
    }
    for session in 1..=100 {
        table.send([lost(session)]);
    }
    assert_eq!(table.scheduler.counts(), SchedulerCounts::default());
    assert_eq!(table.scheduler.held_items(), Scheduler::new(plain()).held_items());
}
