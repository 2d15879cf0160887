//! Quarantine, probation and draining.

use super::*;
use crate::{QuarantineRules, WorkerStanding};

const S: u64 = 1000;

fn table() -> Table {
    let mut table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    table.send([proof(1)]);
    table
}

fn quarantine(session: u64, seconds: u64, reason: &str) -> Command {
    Command::Quarantine { session: SessionId(session), duration: ms(seconds * S), reason: reason.to_owned() }
}

const fn probation(session: u64) -> Command {
    Command::Probation { session: SessionId(session) }
}

/// Worker 1 has failed at three tasks, which worker 2 has then done, in attempts 1 to 6.
fn quarantined() -> Table {
    let mut table = table();
    table.send([joined(1, 1), joined(2, 1)]);
    for id in 1..=3 {
        let commands = table.send([task(1, id, SHARD), failed(1, 2 * id - 1)]);
        assert_eq!(commands.contains(&quarantine(1, 60, "engine error: broken")), id == 3, "{commands:?}");
        table.send([reported(2, 2 * id), passed(2 * id)]);
    }
    table
}

#[test]
fn three_faults_lead_to_quarantine() {
    let mut table = table();
    table.send([joined(1, 1), task(1, 1, SHARD)]);
    table.check([failed(1, 1)], [assign(1, 2, 1, 1)]);
    table.send([joined(2, 1), task(1, 2, SHARD)]);
    // The result that does not verify counts as two faults.
    table.check([reported(1, 2)], []);
    let reason = "its output was rejected: wrong";
    table.check([rejected(2)], [discard(2), quarantine(1, 60, reason)]);
    assert_eq!(table.scheduler.worker_status(SessionId(1)).unwrap().kinds, KindSet::default());
}

#[test]
fn changes_show_the_standing_of_a_worker_that_reconnects() {
    let mut table = quarantined();
    let in_quarantine = WorkerStanding::Quarantined { reason: "engine error: broken".to_owned() };
    let changes = table.scheduler.take_worker_changes();
    assert_eq!(changes.standings, [(WorkerId(1), in_quarantine.clone())].into());
    assert_eq!(changes.sessions.keys().copied().collect::<Vec<_>>(), [SessionId(1), SessionId(2)]);
    assert!(table.scheduler.take_worker_changes().is_empty(), "changes are returned once");
    table.send([lost(1)]);
    assert_eq!(table.scheduler.take_worker_changes().sessions, [(SessionId(1), None)].into());
    table.send([joined_holding(3, 1, 1, &[])]);
    let changes = table.scheduler.take_worker_changes();
    assert!(changes.sessions[&SessionId(3)].as_ref().is_some_and(|status| status.kinds.is_empty() && !status.draining));
    assert_eq!(table.scheduler.worker_standing(WorkerId(1)), in_quarantine);
    table.pass(ms(61 * S), &[2, 3]);
    assert_eq!(table.scheduler.take_worker_changes().standings, [(WorkerId(1), WorkerStanding::Probation)].into());
    assert_eq!(table.scheduler.worker_standing(WorkerId(2)), WorkerStanding::Normal);
}

#[test]
fn a_success_on_probation_restores_the_worker() {
    let mut table = quarantined();
    assert_eq!(table.pass(ms(59 * S), &[1, 2]), []);
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), started(2, 7)]);
    assert_eq!(table.pass(ms(2 * S), &[1, 2]), [probation(1), assign(1, 8, 1, 11)]);
    table.check([reported(1, 8), passed(8)], [accept(1, 8, 1, 11)]);
    table.send([task(1, 12, SHARD)]);
    // A single failure no longer leads to quarantine.
    table.check([failed(1, 9)], []);
}

#[test]
fn a_failure_on_probation_doubles_the_quarantine() {
    let mut table = quarantined();
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), started(2, 7)]);
    table.pass(ms(61 * S), &[1, 2]);
    table.check([failed(1, 8)], [quarantine(1, 120, "engine error: broken")]);
}

#[test]
fn waiting_attempts_of_a_quarantined_worker_go_to_others() {
    let mut table = table();
    // Worker 2 is full.
    table.send([joined(2, 1), task(1, 9, SHARD), joined(1, 3)]);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD), started(1, 2), started(1, 3)]);
    table.send([reported(1, 2), reported(1, 3), rejected(2)]);
    table.check([rejected(3)], [discard(3), quarantine(1, 60, "its output was rejected: wrong"), cancel(1, 4)]);
    assert_eq!(table.scheduler.worker_status(SessionId(1)).unwrap().held, []);
    let commands = table.send([joined(3, 3)]);
    assert_eq!(commands.len(), 3, "{commands:?}");
}

#[test]
fn a_task_that_fails_everywhere_blames_no_worker() {
    let mut table = table();
    table.send([joined(1, 1), joined(2, 1), joined(3, 1)]);
    for poison in 1..=5 {
        table.send([proof(10 + poison), task(10 + poison, 100 + poison, SHARD)]);
        let first = 3 * poison - 2;
        let order: Vec<u64> = (first..first + 3).collect();
        for attempt in order {
            let held = |session: &u64| {
                let held = table.scheduler.worker_status(SessionId(*session)).unwrap().held;
                held.contains(&AttemptId(attempt))
            };
            let session = (1..=3).find(held).expect("one of the workers holds the attempt");
            let commands = table.send([failed(session, attempt)]);
            assert!(!commands.iter().any(|command| matches!(command, Command::Quarantine { .. })), "{commands:?}");
        }
        table.send([ended(10 + poison)]);
    }
}

#[test]
fn reconnecting_does_not_end_a_quarantine() {
    let mut table = quarantined();
    table.send([lost(1), joined_holding(3, 1, 4, &[]), task(1, 10, SHARD), task(1, 11, SHARD)]);
    assert_eq!(table.scheduler.worker_status(SessionId(3)).unwrap().held, []);
    assert_eq!(table.pass(ms(61 * S), &[2, 3])[0], probation(3));
    assert_eq!(table.scheduler.worker_status(SessionId(3)).unwrap().slots, 1);
}

#[test]
fn a_draining_worker_finishes_started_attempts_and_gets_no_more() {
    let mut table = table();
    table.send([joined(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1)]);
    let drain = Event::DrainRequested { session: SessionId(1) };
    table.check([drain], [cancel(1, 2)]);
    table.check([joined(2, 1)], [assign(2, 3, 1, 2)]);
    table.check([reported(1, 1)], [Command::WorkerDrained { session: SessionId(1) }]);
    table.check([task(1, 3, SHARD)], []);
    table.check([Event::DrainCancelled { session: SessionId(1) }], [assign(1, 4, 1, 3)]);
}

/// `worker` joins in the new `session` with two slots, while it is drained. It still holds the attempts `holds`.
fn joined_draining(session: u64, worker: u64, holds: &[u64]) -> Event {
    let holds = holds.iter().copied().map(AttemptId).collect();
    let (session, worker, kinds) = (SessionId(session), WorkerId(worker), KindSet::all());
    let (memory_bytes, slots, resumable_tasks) = (0, 2, Vec::new());
    Event::WorkerJoined { session, worker, memory_bytes, slots, kinds, holds, resumable_tasks, draining: true }
}

#[test]
fn a_worker_that_joins_while_it_is_drained_gets_no_task() {
    let mut table = table();
    table.send([task(1, 1, SHARD)]);
    table.check([joined_draining(1, 1, &[])], [Command::WorkerDrained { session: SessionId(1) }]);
    table.check([Event::DrainCancelled { session: SessionId(1) }], [assign(1, 1, 1, 1)]);
}

#[test]
fn a_worker_that_joins_while_it_is_drained_continues_only_started_attempts() {
    let mut table = table();
    table.send([joined(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1), lost(1)]);
    let adopted = Command::Adopt { session: SessionId(2), attempt: AttemptId(1) };
    table.check([joined_draining(2, 1, &[1, 2])], [adopted, cancel(2, 2)]);
    table.check([reported(2, 1)], [Command::WorkerDrained { session: SessionId(2) }]);
}

#[test]
fn an_idle_worker_is_drained_at_once() {
    let mut table = table();
    table.send([joined(1, 1)]);
    let drain = Event::DrainRequested { session: SessionId(1) };
    table.check([drain.clone()], [Command::WorkerDrained { session: SessionId(1) }]);
    table.check([Event::Tick], []);
    table.check([drain], [Command::WorkerDrained { session: SessionId(1) }]);
}

#[test]
fn quarantines_double_up_to_the_maximum() {
    let rules = QuarantineRules { longest: ms(100 * S), ..QuarantineRules::default() };
    let mut table = Table::with(SchedulerConfig {
        pace: None,
        quarantine: Some(rules),
        max_failures: 99,
        ..SchedulerConfig::default()
    });
    // Worker 2 is full.
    table.send([proof(1), joined(2, 1), task(1, 1, SHARD), joined(1, 1)]);
    let mut lasted = Vec::new();
    for attempt in 2..=7 {
        table.send([task(1, attempt, SHARD)]);
        for command in table.send([failed(1, attempt)]) {
            if let Command::Quarantine { duration, .. } = command {
                lasted.push(duration);
                table.pass(duration, &[1, 2]);
            }
        }
    }
    assert_eq!(lasted, [ms(60 * S), ms(100 * S), ms(100 * S), ms(100 * S)]);
}

#[test]
fn the_only_worker_is_not_quarantined() {
    let mut table = Table::with(SchedulerConfig { pace: None, max_failures: 99, ..SchedulerConfig::default() });
    table.send([proof(1), joined(1, 1), joined_for(2, 1, REDUCE), task(1, 1, SHARD)]);
    for attempt in 1..10 {
        table.check([failed(1, attempt)], [assign(1, attempt + 1, 1, 1)]);
    }
    // Another worker has joined, so the next fault leads to quarantine.
    table.send([joined(3, 1)]);
    table.check([failed(1, 10)], [quarantine(1, 60, "engine error: broken"), assign(3, 11, 1, 1)]);
    // Worker 3 has left. Worker 1 is the only one again, so it is released.
    table.check([lost(3)], [probation(1), assign(1, 12, 1, 1)]);
}

/// The plan excludes draining workers. If worker 1 counted, worker 2 would be one worker too many.
#[test]
fn pack_excludes_draining_workers_from_the_plan() {
    let mut table = Table::with(SchedulerConfig { placement: crate::Placement::Pack, ..plain() });
    table.send([proof(1), joined(1, 1), joined(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.send([started(1, 1), started(2, 2), Event::DrainRequested { session: SessionId(1) }]);
    table.send([reported(2, 2), passed(2)]);
    table.check([task(1, 3, SHARD)], [assign(2, 3, 1, 3)]);
}

#[test]
fn a_worker_blamed_while_disconnected_returns_with_the_reason() {
    let mut table = table();
    table.send([joined(1, 1), joined(2, 1), lost(1)]);
    table.check([Event::ProvenWrong { worker: WorkerId(1), reason: "wrong".to_owned() }], []);
    table.check([joined_holding(3, 1, 1, &[])], [quarantine(3, 60, "wrong")]);
}
