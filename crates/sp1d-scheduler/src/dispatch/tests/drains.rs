//! Who waits for the drain of a worker, and when the wait ends.

use super::*;

#[test]
fn a_drain_is_over_when_the_worker_holds_nothing() {
    let mut table = Table::new();
    table.check([joined(1), proof(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1), draining(1)], [step(10, 1, 1, AttemptStep::Started)]);
    table.check([reported(1, 1)], [end_drain_wait(1), check_result(1, 10)]);
    table.check([passed(1)], accept(1, 1, 1, 10));
}

#[test]
fn the_drain_of_an_idle_worker_is_over_at_once() {
    let mut table = Table::new();
    table.check([joined(1), draining(1)], [end_drain_wait(1)]);
    table.check([draining(1)], [end_drain_wait(1)]);
}

#[test]
fn the_drain_of_an_unknown_worker_is_over_at_once() {
    let mut table = Table::new();
    table.check([draining(1)], [end_drain_wait(1)]);
}

#[test]
fn resuming_or_losing_the_worker_ends_the_wait() {
    for end in [resumed(1), lost(1)] {
        let mut table = Table::new();
        table.check([joined(1), proof(1), task(1, 10)], assign(1, 1, 1, 10, None));
        table.check([started(1, 1), draining(1)], [step(10, 1, 1, AttemptStep::Started)]);
        table.check([end], [end_drain_wait(1)]);
    }
}

#[test]
fn a_silent_worker_ends_the_wait() {
    let mut table = Table::new();
    table.check([joined(1), proof(1), task(1, 10)], assign(1, 1, 1, 10, None));
    table.check([started(1, 1), draining(1)], [step(10, 1, 1, AttemptStep::Started)]);
    let end = DispatchCommand::EndSession { session: SessionId(1) };
    let mut commands = Vec::new();
    for _ in 0..4 {
        table.now = table.now + Duration::from_secs(1);
        commands.extend(table.send([DispatchEvent::Tick]));
    }
    assert_eq!(commands, [end_drain_wait(1), end]);
}

#[test]
fn no_caller_waits_after_the_wait_has_ended() {
    let mut table = Table::new();
    table.check([joined(1), draining(1)], [end_drain_wait(1)]);
    table.check([resumed(1), lost(1)], []);
}

#[test]
fn a_worker_that_is_drained_before_it_is_ready_keeps_no_task() {
    let mut table = Table::new();
    table.check([draining(1)], [end_drain_wait(1)]);
    table.send([joined(1)]);
    table.check([proof(1), task(1, 10)], []);
}
