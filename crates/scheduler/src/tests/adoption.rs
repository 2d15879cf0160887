//! A worker that was lost comes back and offers what it still has.

use super::*;

const fn adopt(worker: u64, attempt: u64) -> Command {
    Command::Adopt { worker: WorkerId(worker), attempt: AttemptId(attempt) }
}

/// Worker 1 proves task 1 and is lost.
fn lost_at_work() -> Table {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 2), task(1, 1, SHARD), started(1, 1)]);
    table.check([lost(1)], []);
    table
}

#[test]
fn a_worker_that_comes_back_goes_on() {
    let mut table = lost_at_work();
    table.check([joined_holding(2, 1, 2, &[1])], [adopt(2, 1)]);
    assert_eq!(table.scheduler.task_history(TaskId(1)), [], "nothing was lost");
    table.check([reported(2, 1), verified(1)], [accept(2, 1, 1, 1)]);
}

#[test]
fn being_lost_and_found_is_no_loss() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 1), task(1, 1, SHARD), started(1, 1)]);
    for session in 1..20 {
        table.check([lost(session), joined_holding(session + 1, 1, 1, &[1])], [adopt(session + 1, 1)]);
    }
}

#[test]
fn who_took_over_and_has_not_begun_gives_way() {
    let mut table = lost_at_work();
    table.check([joined(3, 1)], [assign(3, 2, 1, 1)]);
    table.check([joined_holding(2, 1, 2, &[1])], [cancel(3, 2), adopt(2, 1)]);
}

#[test]
fn who_took_over_and_began_later_gives_way() {
    let mut table = lost_at_work();
    table.tell([joined(3, 1), started(3, 2)]);
    table.check([joined_holding(2, 1, 2, &[1])], [cancel(3, 2), adopt(2, 1)]);
}

#[test]
fn who_took_over_and_is_much_faster_goes_on_beside_it() {
    let mut table = Table::with(Config { quarantine: None, ..Config::default() });
    table.tell([proof(1), joined(1, 1), joined(3, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.tell([started(1, 1), started(3, 2)]);
    table.pass(ms(10_000), &[1, 3]);
    table.tell([reported(3, 2), verified(2)]);
    table.pass(ms(9_000), &[1, 3]);
    table.tell([reported(1, 1), verified(1), task(1, 3, SHARD), task(1, 4, SHARD)]);
    table.tell([started(3, 3), started(1, 4)]);
    table.pass(ms(1_000), &[1, 3]);
    table.tell([reported(3, 3), verified(3)]);
    table.check([lost(1)], [assign(3, 5, 1, 4)]);
    table.tell([started(3, 5)]);
    table.check([joined_holding(2, 1, 1, &[4])], [adopt(2, 4)]);
    table.check([reported(3, 5), verified(5)], [accept(3, 5, 1, 4), cancel(2, 4), discard(4)]);
}

#[test]
fn what_is_not_wanted_any_more_is_cancelled() {
    let mut table = lost_at_work();
    table.tell([joined(3, 1), started(3, 2), reported(3, 2), verified(2)]);
    table.check([joined_holding(2, 1, 2, &[1, 77])], [cancel(2, 1), cancel(2, 77)]);
}

#[test]
fn nobody_gets_what_was_anothers() {
    let mut table = lost_at_work();
    table.check([joined_holding(2, 7, 2, &[1])], [cancel(2, 1), assign(2, 2, 1, 1)]);
}

#[test]
fn a_session_ends_when_its_worker_has_a_new_one() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 1), task(1, 1, SHARD), started(1, 1)]);
    table.check([joined_holding(2, 1, 1, &[1])], [expire(1), adopt(2, 1)]);
    table.check([lost(1)], []);
    table.check([reported(1, 1)], []);
    table.check([reported(2, 1), verified(1)], [accept(2, 1, 1, 1)]);
}

#[test]
fn a_worker_keeps_no_more_than_it_has_slots() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1), started(1, 2), lost(1)]);
    table.check([joined_holding(2, 1, 1, &[1, 2])], [adopt(2, 1), cancel(2, 2)]);
}

#[test]
fn what_failed_is_not_taken_up_again() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 1), joined(2, 1), task(1, 1, SHARD), started(1, 1)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 1)]);
    // That it was heard of was lost with the connection.
    table.check([lost(1), joined_holding(3, 1, 1, &[1])], [cancel(3, 1)]);
}

#[test]
fn what_is_named_twice_is_adopted_once() {
    let mut table = lost_at_work();
    table.check([joined_holding(2, 1, 2, &[1, 1])], [adopt(2, 1)]);
}

/// The connection of one worker is lost again and again, and each time another takes over.
#[test]
fn a_worker_may_come_back_any_number_of_times() {
    let mut table = Table::with(Config { max_losses: 1000, ..plain() });
    table.tell([proof(1), joined(1, 1), task(1, 1, SHARD), started(1, 1), joined(2, 1)]);
    for session in 0..40 {
        let (old, new) = (if session == 0 { 1 } else { 100 + session }, 101 + session);
        let other = table.tell([lost(old)]);
        let assigned = other.iter().find_map(|command| match command {
            Command::Assign { attempt, .. } => Some(attempt.0),
            _ => None,
        });
        let taken_over = assigned.expect("worker 2 is free");
        let commands = table.tell([started(2, taken_over), joined_holding(new, 1, 1, &[1])]);
        assert!(commands.contains(&cancel(2, taken_over)) && commands.contains(&adopt(new, 1)), "{commands:?}");
    }
    table.tell([reported(140, 1)]);
    let commands = table.tell([verified(1)]);
    assert_eq!(commands[0], accept(140, 1, 1, 1));
}

/// What comes late because its worker was gone when its marker was checked blames nobody.
#[test]
fn a_late_result_without_its_marker_is_let_go() {
    let mut table = Table::with(Config { pace: None, ..Config::default() });
    table.tell([proof(1), joined(1, 1), marked(1, 1, 2), started(1, 1), lost(1)]);
    table.tell([joined_holding(3, 1, 1, &[]), joined(2, 1), started(3, 2)]);
    table.check([reported(1, 1), verified(1)], [discard(1)]);
    assert_eq!(table.scheduler.task_history(TaskId(1)).len(), 1, "only the loss");
}

/// Task `task` of proof 1, which `worker` began for an orchestrator that was restarted.
const fn begun_on(worker: u64, task: u64) -> Event {
    let (proof, task, begun_on) = (ProofId(1), TaskId(task), Some(WorkerId(worker)));
    Event::TaskSubmitted { proof, task, kind: SHARD, marker: None, begun_on }
}

/// The same, told when the worker joins with `slots`.
fn joined_with_begun(worker: u64, slots: u32, begun: &[u64]) -> Event {
    let (id, peer, kinds) = (WorkerId(worker), PeerId(worker), KindSet::all());
    let begun = begun.iter().copied().map(TaskId).collect();
    Event::WorkerJoined { worker: id, peer, memory_bytes: 0, slots, kinds, holds: Vec::new(), begun }
}

#[test]
fn who_began_a_task_before_a_restart_gets_it() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 2), joined(2, 2), joined(3, 2)]);
    table.check([begun_on(3, 1)], [assign(3, 1, 1, 1)]);
    table.check([task(1, 2, SHARD)], [assign(1, 2, 1, 2)]);
    table.check([begun_on(3, 3)], [assign(3, 3, 1, 3)]);
    // It is full, and the next is anybody's.
    table.check([begun_on(3, 4)], [assign(2, 4, 1, 4)]);
}

#[test]
fn who_is_unknown_has_begun_nothing() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 2)]);
    table.check([begun_on(9, 1)], [assign(1, 1, 1, 1)]);
    table.check([joined_with_begun(2, 2, &[77])], []);
}

#[test]
fn what_waits_goes_to_whoever_began_it_and_joins() {
    let mut table = Table::new();
    table.tell([proof(1), task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD)]);
    table.check([joined_with_begun(1, 1, &[2, 2, 3])], [assign(1, 1, 1, 2)]);
    table.check([joined(2, 2)], [assign(2, 2, 1, 1), assign(2, 3, 1, 3)]);
}

#[test]
fn what_only_lies_elsewhere_goes_to_whoever_began_it() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 3), task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD), started(1, 1)]);
    table.check([joined_with_begun(2, 1, &[1, 2])], [cancel(1, 2), assign(2, 4, 1, 2)]);
}

#[test]
fn what_was_begun_before_says_nothing_of_speed() {
    let mut table = Table::with(Config { quarantine: None, ..Config::default() });
    table.tell([proof(1), joined(1, 1), begun_on(1, 1), started(1, 1)]);
    table.pass(ms(100), &[1]);
    table.tell([reported(1, 1), verified(1), task(1, 2, SHARD), started(1, 2), joined(2, 1)]);
    // Where a shard were known to take 100 ms, this one would get a copy.
    assert_eq!(table.pass(ms(6_000), &[1, 2]), []);
}

#[test]
fn saying_it_twice_changes_nothing() {
    let mut table = Table::new();
    table.tell([proof(1), joined(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), joined(2, 2)]);
    table.check([begun_on(2, 1), joined_with_begun(2, 2, &[2])], []);
}
