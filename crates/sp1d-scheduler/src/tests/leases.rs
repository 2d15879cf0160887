//! Leases, clock pauses and deadlines.

use super::*;

fn holding() -> Table {
    let mut table = Table::new();
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table
}

#[test]
fn a_silent_worker_loses_its_attempts() {
    let mut table = holding();
    assert_eq!(table.pass(ms(2_999), &[]), []);
    assert_eq!(table.pass(ms(1), &[]), [end_session(1)]);
    assert_eq!(table.scheduler.task_history(TaskId(10))[0].reason, AttemptEndReason::WorkerLost);
    assert_eq!(table.scheduler.task_history(TaskId(10))[0].duration, ms(3_000));
    // Later events of the expired worker are about forgotten items.
    table.check([lost(1), renewed(1), failed(1, 1)], []);
    table.check([ready(2, 1)], [assign(2, 2, 1, 10)]);
}

#[test]
fn attempts_of_an_expired_worker_are_reassigned_in_the_same_call() {
    let mut table = holding();
    table.check([ready(2, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[2]), [end_session(1), assign(2, 2, 1, 10)]);
}

#[test]
fn a_worker_that_renews_its_lease_keeps_its_attempts() {
    let mut table = holding();
    assert_eq!(table.pass(ms(60_000), &[1]), []);
}

#[test]
fn an_idle_worker_has_a_lease_too() {
    let mut table = Table::new();
    table.check([ready(1, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[]), [end_session(1)]);
    assert_eq!(table.scheduler.next_deadline(), None);
}

#[test]
fn a_renewal_at_the_last_moment_keeps_the_lease() {
    let mut table = holding();
    assert_eq!(table.pass(ms(2_000), &[]), []);
    table.now = table.now + ms(1_400);
    table.check([renewed(1), Event::Tick], []);
}

#[test]
fn a_pause_of_the_scheduler_extends_every_lease() {
    let mut table = holding();
    assert_eq!(table.pass(ms(1_000), &[]), []);
    // Only 1.5 s of this hour count, so half a second is left.
    table.now = table.now + ms(3_600_000);
    table.check([Event::Tick], []);
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(500)));
    assert_eq!(table.pass(ms(499), &[]), []);
    assert_eq!(table.pass(ms(1), &[]), [end_session(1)]);
}

#[test]
fn a_pause_before_a_lease_does_not_lengthen_it() {
    let mut table = Table::new();
    table.now = table.now + ms(3_600_000);
    table.check([ready(1, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[]), [end_session(1)]);
}

#[test]
fn time_stands_still_while_the_clock_runs_backwards() {
    let mut table = holding();
    table.now = table.now - ms(5_000);
    table.check([Event::Tick, renewed(1), Event::Tick], []);
    assert_eq!(table.pass(ms(7_999), &[]), []);
    assert_eq!(table.pass(ms(1), &[]), [end_session(1)]);
}

#[test]
fn the_deadline_comes_before_a_sleep_looks_like_a_pause() {
    let mut table = holding();
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(750)));
    assert_eq!(table.pass(ms(2_500), &[]), []);
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(500)));
}

#[test]
fn a_driver_that_only_follows_deadlines_expires_silent_workers() {
    // A maximum step of 0 counts as 1 ms.
    let configs = [(0, 0), (1, 0), (3_000, 0), (0, 1_500), (1, 1_500), (3_000, 1_500), (600_000, 1_500)];
    for (lease_ttl, max_clock_step) in configs.map(|(ttl, step)| (ms(ttl), ms(step))) {
        let mut table = Table::with(SchedulerConfig { lease_ttl, max_clock_step, ..plain() });
        // The time before the first event is not a pause during a lease.
        let start = table.now;
        let mut commands = table.send([ready(1, 1)]);
        while let Some(deadline) = table.scheduler.next_deadline() {
            assert!(deadline > table.now, "the deadline has passed, so the driver would call without a pause");
            table.now = deadline;
            commands.extend(table.send([Event::Tick]));
        }
        assert_eq!(commands, [end_session(1)]);
        assert_eq!(table.now, start + lease_ttl);
    }
}

#[test]
fn there_is_no_deadline_without_workers() {
    let mut table = Table::new();
    assert_eq!(table.scheduler.next_deadline(), None);
    table.check([new_try(1), task(1, 10, SHARD)], []);
    assert_eq!(table.scheduler.next_deadline(), None);
    table.check([ready(1, 1), lost(1)], [assign(1, 1, 1, 10)]);
    assert_eq!(table.scheduler.next_deadline(), None);
}

#[test]
fn a_delivered_result_needs_no_lease() {
    let mut table = holding();
    table.check([delivered(1, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[]), [end_session(1)]);
    table.check([ready(2, 1), passed(1)], [accept(1, 1, 1, 10)]);
}
