//! Time.

use super::*;

fn holding() -> Table {
    let mut table = Table::new();
    table.check([joined(1, 1), proof(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table
}

#[test]
fn a_silent_worker_loses_its_attempts() {
    let mut table = holding();
    assert_eq!(table.pass(ms(2_999), &[]), []);
    assert_eq!(table.pass(ms(1), &[]), [expire(1)]);
    assert_eq!(table.scheduler.task_history(TaskId(10))[0].failure, Failure::WorkerLost);
    assert_eq!(table.scheduler.task_history(TaskId(10))[0].duration, ms(3_000));
    // What comes from it later is about what is forgotten.
    table.check([lost(1), renewed(1), failed(1, 1)], []);
    table.check([joined(2, 1)], [assign(2, 2, 1, 10)]);
}

#[test]
fn its_attempts_go_to_others_in_the_same_call() {
    let mut table = holding();
    table.check([joined(2, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[2]), [expire(1), assign(2, 2, 1, 10)]);
}

#[test]
fn a_worker_that_is_heard_from_keeps_them() {
    let mut table = holding();
    assert_eq!(table.pass(ms(60_000), &[1]), []);
}

#[test]
fn an_idle_worker_has_a_lease_too() {
    let mut table = Table::new();
    table.check([joined(1, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[]), [expire(1)]);
    assert_eq!(table.scheduler.next_deadline(), None);
}

#[test]
fn a_worker_heard_from_at_the_last_moment_is_not_silent() {
    let mut table = holding();
    assert_eq!(table.pass(ms(2_000), &[]), []);
    table.now = table.now + ms(1_400);
    table.check([renewed(1), Event::Tick], []);
}

#[test]
fn the_schedulers_own_pause_extends_every_lease() {
    let mut table = holding();
    assert_eq!(table.pass(ms(1_000), &[]), []);
    // Of this hour 1.5 s count, so half a second is left.
    table.now = table.now + ms(3_600_000);
    table.check([Event::Tick], []);
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(500)));
    assert_eq!(table.pass(ms(499), &[]), []);
    assert_eq!(table.pass(ms(1), &[]), [expire(1)]);
}

#[test]
fn a_pause_before_a_lease_does_not_lengthen_it() {
    let mut table = Table::new();
    table.now = table.now + ms(3_600_000);
    table.check([joined(1, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[]), [expire(1)]);
}

#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let mut table = holding();
    table.now = table.now - ms(5_000);
    table.check([Event::Tick, renewed(1), Event::Tick], []);
    assert_eq!(table.pass(ms(7_999), &[]), []);
    assert_eq!(table.pass(ms(1), &[]), [expire(1)]);
}

#[test]
fn the_driver_is_called_before_its_sleep_looks_like_a_pause() {
    let mut table = holding();
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(750)));
    assert_eq!(table.pass(ms(2_500), &[]), []);
    assert_eq!(table.scheduler.next_deadline(), Some(table.now + ms(500)));
}

#[test]
fn a_driver_that_only_obeys_deadlines_notices_every_silence() {
    // A step of nothing counts as one of a millisecond.
    let configs = [(0, 0), (1, 0), (3_000, 0), (0, 1_500), (1, 1_500), (3_000, 1_500), (600_000, 1_500)];
    for (lease_ttl, max_clock_step) in configs.map(|(ttl, step)| (ms(ttl), ms(step))) {
        let mut table = Table::with(Config { lease_ttl, max_clock_step, ..plain() });
        // The time before a scheduler's first event is no pause of any lease.
        let start = table.now;
        let mut commands = table.tell([joined(1, 1)]);
        while let Some(deadline) = table.scheduler.next_deadline() {
            assert!(deadline > table.now, "a deadline that has passed would make the driver spin");
            table.now = deadline;
            commands.extend(table.tell([Event::Tick]));
        }
        assert_eq!(commands, [expire(1)]);
        assert_eq!(table.now, start + lease_ttl);
    }
}

#[test]
fn without_workers_nothing_depends_on_time() {
    let mut table = Table::new();
    assert_eq!(table.scheduler.next_deadline(), None);
    table.check([proof(1), task(1, 10, SHARD)], []);
    assert_eq!(table.scheduler.next_deadline(), None);
    table.check([joined(1, 1), lost(1)], [assign(1, 1, 1, 10)]);
    assert_eq!(table.scheduler.next_deadline(), None);
}

#[test]
fn a_delivered_result_needs_no_lease() {
    let mut table = holding();
    table.check([reported(1, 1)], []);
    assert_eq!(table.pass(ms(3_000), &[]), [expire(1)]);
    table.check([joined(2, 1), verified(1)], [accept(1, 1, 1, 10)]);
}
