//! Quarantine, probation and draining.

use super::*;
use crate::{QuarantineRules, WorkerStanding};

const S: u64 = 1000;

const PROVER_ENDED: &str = "its prover ended before it started any of its tasks";

fn table() -> Table {
    let mut table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    table.send([new_try(1)]);
    table
}

fn quarantine(session: u64, seconds: u64, reason: &str) -> Command {
    quarantine_for(session, KindSet::only(SHARD), seconds, reason)
}

fn quarantine_for(session: u64, kinds: KindSet, seconds: u64, reason: &str) -> Command {
    Command::Quarantine { session: SessionId(session), kinds, duration: ms(seconds * S), reason: reason.to_owned() }
}

const fn probation(session: u64) -> Command {
    Command::Probation { session: SessionId(session), kinds: KindSet::only(SHARD) }
}

/// Returns all kinds without shards.
fn other_kinds() -> KindSet {
    KindSet::all().without(KindSet::only(SHARD))
}

/// Worker 1 has failed at three tasks, which worker 2 has then done, in attempts 1 to 6.
fn quarantined() -> Table {
    let mut table = table();
    table.send([ready(1, 1), ready(2, 1)]);
    for id in 1..=3 {
        let commands = table.send([task(1, id, SHARD), failed(1, 2 * id - 1)]);
        assert_eq!(commands.contains(&quarantine(1, 60, "engine error: broken")), id == 3, "{commands:?}");
        table.send([delivered(2, 2 * id), passed(2 * id)]);
    }
    table
}

#[test]
fn three_faults_lead_to_quarantine() {
    let mut table = table();
    table.send([ready(1, 1), task(1, 1, SHARD)]);
    table.check([failed(1, 1)], [assign(1, 2, 1, 1)]);
    table.send([ready(2, 1), task(1, 2, SHARD)]);
    // The result that does not verify counts as two faults.
    table.check([delivered(1, 2)], []);
    let reason = "its output was rejected: wrong";
    table.check([rejected(2)], [discard(2), quarantine(1, 60, reason)]);
    assert_eq!(table.scheduler.worker_status(SessionId(1)).unwrap().available_kinds, other_kinds());
}

#[test]
fn changes_show_the_standing_of_a_worker_that_reconnects() {
    let mut table = quarantined();
    let kinds = KindSet::only(SHARD);
    let in_quarantine = WorkerStanding::Quarantined { kinds, reason: "engine error: broken".to_owned() };
    let changes = table.scheduler.take_worker_changes();
    assert_eq!(changes.standings, [(WorkerId(1), in_quarantine.clone())].into());
    assert_eq!(changes.sessions.iter().map(|(session, _)| *session).collect::<Vec<_>>(), [SessionId(1), SessionId(2)]);
    assert!(table.scheduler.take_worker_changes().is_empty(), "changes are returned once");
    table.send([lost(1)]);
    assert!(matches!(*table.scheduler.take_worker_changes().sessions, [(SessionId(1), None)]));
    table.send([ready_holding(3, 1, 1, &[])]);
    let changed = table.scheduler.take_worker_changes().sessions;
    let (_, status) = changed.iter().find(|(session, _)| *session == SessionId(3)).expect("the session is new");
    assert!(status.as_ref().is_some_and(|status| status.available_kinds == other_kinds() && !status.draining));
    assert_eq!(table.scheduler.worker_standing(WorkerId(1)), in_quarantine);
    table.pass(ms(61 * S), &[2, 3]);
    assert_eq!(
        table.scheduler.take_worker_changes().standings,
        [(WorkerId(1), WorkerStanding::Probation { kinds })].into()
    );
    assert_eq!(table.scheduler.worker_standing(WorkerId(2)), WorkerStanding::Normal);
}

#[test]
fn a_success_on_probation_restores_the_worker() {
    let mut table = quarantined();
    assert_eq!(table.pass(ms(59 * S), &[1, 2]), []);
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), started(2, 7)]);
    assert_eq!(table.pass(ms(2 * S), &[1, 2]), [probation(1), assign(1, 8, 1, 11)]);
    table.check([delivered(1, 8), passed(8)], [accept(1, 8, 1, 11)]);
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
    table.send([ready(2, 1), task(1, 9, SHARD), ready(1, 3)]);
    table.send([task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD), started(1, 2), started(1, 3)]);
    table.send([delivered(1, 2), delivered(1, 3), rejected(2)]);
    table.check([rejected(3)], [discard(3), quarantine(1, 60, "its output was rejected: wrong"), cancel(1, 4)]);
    assert_eq!(table.scheduler.held_attempts(SessionId(1)).unwrap(), []);
    let commands = table.send([ready(3, 3)]);
    assert_eq!(commands.len(), 3, "{commands:?}");
}

#[test]
fn a_task_that_fails_everywhere_is_the_fault_of_no_worker() {
    let mut table = table();
    table.send([ready(1, 1), ready(2, 1), ready(3, 1)]);
    for poison in 1..=5 {
        table.send([new_try(10 + poison), task(10 + poison, 100 + poison, SHARD)]);
        let first = 3 * poison - 2;
        let order: Vec<u64> = (first..first + 3).collect();
        for attempt in order {
            let held = |session: &u64| {
                let held = table.scheduler.held_attempts(SessionId(*session)).unwrap();
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
    table.send([lost(1), ready_holding(3, 1, 4, &[]), task(1, 10, SHARD), task(1, 11, SHARD)]);
    assert_eq!(table.scheduler.held_attempts(SessionId(3)).unwrap(), []);
    assert_eq!(table.pass(ms(61 * S), &[2, 3])[0], probation(3));
    let status = table.scheduler.worker_status(SessionId(3)).unwrap();
    assert_eq!((status.held, status.on_probation), (1, KindSet::only(SHARD)));
}

#[test]
fn a_draining_worker_finishes_started_attempts_and_gets_no_more() {
    let mut table = table();
    table.send([ready(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1)]);
    let drain = Event::DrainRequested { session: SessionId(1) };
    table.check([drain], [cancel(1, 2)]);
    table.check([ready(2, 1)], [assign(2, 3, 1, 2)]);
    table.check([delivered(1, 1)], [Command::WorkerDrained { session: SessionId(1) }]);
    table.check([task(1, 3, SHARD)], []);
    table.check([Event::DrainCancelled { session: SessionId(1) }], [assign(1, 4, 1, 3)]);
}

/// `worker` is ready in the new `session` with two slots, while it is drained. It still holds the attempts `holds`.
fn ready_draining(session: u64, worker: u64, holds: &[u64]) -> Event {
    let holds = holds.iter().copied().map(AttemptId).collect();
    let (session, ready) = (SessionId(session), ReadyWorker { holds, ..plain_worker(worker, 2) });
    Event::WorkerReady { session, ready, resumable_tasks: Vec::new(), draining: true }
}

#[test]
fn a_new_worker_that_is_drained_gets_no_task() {
    let mut table = table();
    table.send([task(1, 1, SHARD)]);
    table.check([ready_draining(1, 1, &[])], [Command::WorkerDrained { session: SessionId(1) }]);
    table.check([Event::DrainCancelled { session: SessionId(1) }], [assign(1, 1, 1, 1)]);
}

#[test]
fn a_new_worker_that_is_drained_continues_only_started_attempts() {
    let mut table = table();
    table.send([ready(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1), lost(1)]);
    let continued = Command::Continue { session: SessionId(2), attempt: AttemptId(1) };
    table.check([ready_draining(2, 1, &[1, 2])], [continued, cancel(2, 2)]);
    table.check([delivered(2, 1)], [Command::WorkerDrained { session: SessionId(2) }]);
}

#[test]
fn an_idle_worker_is_drained_at_once() {
    let mut table = table();
    table.send([ready(1, 1)]);
    let drain = Event::DrainRequested { session: SessionId(1) };
    table.check([drain.clone()], [Command::WorkerDrained { session: SessionId(1) }]);
    table.check([Event::Tick], []);
    table.check([drain], [Command::WorkerDrained { session: SessionId(1) }]);
}

#[test]
fn quarantines_double_up_to_the_maximum() {
    let rules = QuarantineRules { max_duration: ms(100 * S), ..QuarantineRules::default() };
    let mut table = Table::with(SchedulerConfig {
        pace: None,
        quarantine: Some(rules),
        max_failures: 99,
        ..SchedulerConfig::default()
    });
    // Worker 2 is full.
    table.send([new_try(1), ready(2, 1), task(1, 1, SHARD), ready(1, 1)]);
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
    table.send([new_try(1), ready(1, 1), ready_for(2, 1, REDUCE), task(1, 1, SHARD)]);
    for attempt in 1..10 {
        table.check([failed(1, attempt)], [assign(1, attempt + 1, 1, 1)]);
    }
    // Another worker is ready, so the next fault leads to quarantine.
    table.send([ready(3, 1)]);
    table.check([failed(1, 10)], [quarantine(1, 60, "engine error: broken"), assign(3, 11, 1, 1)]);
    // Worker 3 is disconnected. Worker 1 is the only one again, so its quarantine ends.
    table.check([lost(3)], [probation(1), assign(1, 12, 1, 1)]);
}

/// The plan excludes draining workers. If worker 1 counted, worker 2 would be one worker too many.
#[test]
fn pack_excludes_draining_workers_from_the_plan() {
    let mut table = Table::with(SchedulerConfig { placement: crate::Placement::Pack, ..plain() });
    table.send([new_try(1), ready(1, 1), ready(2, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.send([started(1, 1), started(2, 2), Event::DrainRequested { session: SessionId(1) }]);
    table.send([delivered(2, 2), passed(2)]);
    table.check([task(1, 3, SHARD)], [assign(2, 3, 1, 3)]);
}

#[test]
fn a_worker_with_faults_while_it_was_disconnected_returns_with_the_reason() {
    let mut table = table();
    table.send([ready(1, 1), ready(2, 1), lost(1)]);
    table.check([Event::ProvenWrong { worker: WorkerId(1), reason: "wrong".to_owned() }], []);
    table.check([ready_holding(3, 1, 1, &[])], [quarantine_for(3, KindSet::all(), 60, "wrong")]);
}

/// A worker that supports every kind is ready for the first time, from the given origin.
fn ready_from(session: u64, worker: u64, origin: u128) -> Event {
    ready_as(session, ReadyWorker { origin: OriginId(origin), ..plain_worker(worker, 1) })
}

#[test]
fn a_quarantine_applies_to_the_kind_of_the_faults() {
    let mut table = quarantined();
    // Worker 2 is full, so a shard waits although worker 1 is idle. A reduction does not.
    table.send([task(1, 10, SHARD), started(2, 7)]);
    table.check([task(1, 11, SHARD)], []);
    table.check([task(1, 12, REDUCE)], [assign_kind(1, 8, 1, 12, REDUCE)]);
    // Its success says nothing about shards.
    table.check([delivered(1, 8), passed(8)], [accept(1, 8, 1, 12)]);
    assert_eq!(table.scheduler.worker_status(SessionId(1)).unwrap().available_kinds, other_kinds());
}

#[test]
fn faults_of_different_kinds_do_not_add_up() {
    let mut table = table();
    table.send([ready(1, 1), ready(2, 1)]);
    for id in 1..=2 {
        table.send([task(1, id, SHARD), failed(1, 2 * id - 1), delivered(2, 2 * id), passed(2 * id)]);
    }
    table.check([task(1, 3, REDUCE)], [assign_kind(1, 5, 1, 3, REDUCE)]);
    table.check([failed(1, 5)], [assign_kind(2, 6, 1, 3, REDUCE)]);
    table.send([delivered(2, 6), passed(6), task(1, 4, SHARD)]);
    table.check([failed(1, 7)], [quarantine(1, 60, "engine error: broken"), assign(2, 8, 1, 4)]);
}

/// Worker 1 is the only one for reductions.
#[test]
fn the_only_worker_for_a_kind_is_quarantined_for_another_kind() {
    let mut table = table();
    table.send([ready(1, 1), task(1, 1, SHARD)]);
    table.check([delivered(1, 1), rejected(1)], [discard(1), assign(1, 2, 1, 1)]);
    table.send([ready_for(2, 1, SHARD), delivered(1, 2)]);
    let reason = "its output was rejected: wrong";
    table.check([rejected(2)], [discard(2), quarantine(1, 60, reason), assign(2, 3, 1, 1)]);
    table.check([task(1, 2, REDUCE)], [assign_kind(1, 4, 1, 2, REDUCE)]);
}

#[test]
fn a_worker_that_was_proven_wrong_is_quarantined_even_if_it_is_needed() {
    let mut table = table();
    table.send([ready(1, 1)]);
    let wrong = Event::ProvenWrong { worker: WorkerId(1), reason: "wrong".to_owned() };
    table.check([wrong.clone()], [quarantine_for(1, KindSet::all(), 60, "wrong")]);
    // The second proof of the same wrong results changes nothing.
    table.check([wrong], []);
    // The task waits for the end of the quarantine.
    table.check([task(1, 1, SHARD)], []);
    assert_eq!(table.pass(ms(59 * S), &[1]), []);
    let on_probation = Command::Probation { session: SessionId(1), kinds: KindSet::all() };
    assert_eq!(table.pass(ms(2 * S), &[1]), [on_probation, assign(1, 1, 1, 1)]);
}

#[test]
fn probation_limits_only_the_kind_of_the_faults() {
    let mut table = quarantined();
    table.pass(ms(61 * S), &[1, 2]);
    // Worker 1 comes back with three slots. It gets one shard at a time, and any number of reductions.
    table.send([lost(1), task(1, 10, SHARD), started(2, 7), ready_holding(3, 1, 3, &[])]);
    table.check([task(1, 11, SHARD)], [assign(3, 8, 1, 11)]);
    table.check([task(1, 12, SHARD)], []);
    table.check([task(1, 13, REDUCE)], [assign_kind(3, 9, 1, 13, REDUCE)]);
    table.check([started(3, 8), delivered(3, 9), passed(9)], [accept(3, 9, 1, 13)]);
    table.check([delivered(3, 8), passed(8)], [assign(3, 10, 1, 12), accept(3, 8, 1, 11)]);
}

#[test]
fn a_new_name_of_a_quarantined_worker_starts_in_quarantine() {
    let mut table = table();
    table.send([ready_from(1, 1, 5), ready_from(2, 2, 6)]);
    for id in 1..=3 {
        table.send([task(1, id, SHARD), failed(1, 2 * id - 1), delivered(2, 2 * id), passed(2 * id)]);
    }
    table.send([lost(1)]);
    table.check([ready_from(3, 3, 5)], [quarantine(3, 60, "engine error: broken")]);
    // A worker of another origin is not affected.
    table.check([ready_from(4, 4, 7)], []);
    // The quarantine of the new name ends at the same time, and its next one lasts twice as long.
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), started(2, 7), started(4, 8)]);
    let commands = table.pass(ms(61 * S), &[2, 3, 4]);
    assert!(commands.contains(&probation(3)), "{commands:?}");
    table.check([task(1, 12, SHARD)], [assign(3, 9, 1, 12)]);
    table.check([failed(3, 9)], [quarantine(3, 120, "engine error: broken")]);
}

#[test]
fn a_new_name_keeps_the_faults_of_its_origin() {
    let mut table = table();
    table.send([ready_from(1, 1, 5), ready_from(2, 2, 6)]);
    table.send([task(1, 1, SHARD), failed(1, 1), delivered(2, 2), passed(2)]);
    table.send([task(1, 2, SHARD), failed(1, 3), delivered(2, 4), passed(4), lost(1), ready_from(3, 3, 5)]);
    // Worker 2 is full.
    table.send([task(1, 3, SHARD), started(2, 5), task(1, 4, SHARD)]);
    table.check([failed(3, 6)], [quarantine(3, 60, "engine error: broken")]);
}

/// Otherwise one machine with three names could fail every try.
#[test]
fn failures_of_one_origin_count_as_one_worker() {
    let mut table = Table::new();
    table.send([new_try(1), ready_from(1, 1, 5), ready_from(2, 2, 5), ready_from(3, 3, 5), task(1, 1, SHARD)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 1)]);
    table.check([failed(2, 2)], [assign(3, 3, 1, 1)]);
    table.check([ready_from(4, 4, 6), failed(3, 3)], [assign(4, 4, 1, 1)]);
}

#[test]
fn losses_of_one_origin_count_as_one_worker() {
    let mut table = Table::with(SchedulerConfig { max_losses: 2, ..plain() });
    table.send([new_try(1), ready_from(1, 1, 5), task(1, 1, SHARD), started(1, 1), lost(1)]);
    table.check([ready_from(2, 2, 5)], [assign(2, 2, 1, 1)]);
    table.check([started(2, 2), ready_from(3, 3, 6), lost(2)], [assign(3, 3, 1, 1)]);
}

#[test]
fn a_delayed_check_does_not_lead_to_quarantine() {
    let mut table = table();
    table.send([ready(1, 1), ready(2, 1)]);
    for id in 1..=4 {
        let (waits, other) = (2 * id - 1, 2 * id);
        let commands = table.send([task(1, id, SHARD), delivered(1, waits), check_delayed(waits)]);
        assert_eq!(commands, [assign(1, waits, 1, id), assign(2, other, 1, id)]);
        table.send([delivered(2, other), passed(other)]);
    }
}

const fn prover_lost(session: u64) -> Event {
    Event::LastProverLost { session: SessionId(session) }
}

const fn prover_ready(session: u64) -> Event {
    Event::FirstProverReady { session: SessionId(session) }
}

#[test]
fn a_worker_whose_prover_ends_again_and_again_before_it_starts_a_task_is_quarantined() {
    let mut table = table();
    // Worker 2 is full.
    table.send([ready(2, 1), task(1, 9, SHARD), started(2, 1), ready(1, 1), task(1, 1, SHARD)]);
    for time in 1..=3 {
        let commands = table.send([prover_lost(1), prover_ready(1)]);
        assert_eq!(commands.contains(&quarantine(1, 60, PROVER_ENDED)), time == 3, "{commands:?}");
    }
    assert_eq!(table.scheduler.held_attempts(SessionId(1)).unwrap(), []);
}

#[test]
fn the_end_of_a_prover_that_worked_in_an_earlier_session_is_not_a_fault() {
    let rules = QuarantineRules { max_faults: 1, ..QuarantineRules::default() };
    let mut table = Table::with(SchedulerConfig { pace: None, quarantine: Some(rules), ..SchedulerConfig::default() });
    // Worker 2 is full.
    table.send([new_try(1), ready(2, 1), task(1, 9, SHARD), started(2, 1), ready(1, 2)]);
    table.send([task(1, 10, SHARD), task(1, 11, SHARD), started(1, 2), delivered(1, 2), passed(2)]);
    let continued = Command::Continue { session: SessionId(101), attempt: AttemptId(3) };
    table.check([lost(1), ready_holding(101, 1, 2, &[3])], [continued]);
    table.check([prover_lost(101)], [cancel(101, 3)]);
    // The new prover has worked in no session.
    let commands = table.send([prover_ready(101), prover_lost(101)]);
    assert!(commands.contains(&quarantine(101, 60, PROVER_ENDED)), "{commands:?}");
}

#[test]
fn the_end_of_a_prover_that_fails_at_a_task_is_one_fault() {
    let mut table = table();
    // Worker 2 is full.
    table.send([ready(2, 1), task(1, 9, SHARD), started(2, 1), ready(1, 2)]);
    let crash = |attempt| [started(1, attempt), failed(1, attempt), prover_lost(1), prover_ready(1)];
    table.send([task(1, 10, SHARD), task(1, 11, SHARD)].into_iter().chain(crash(2)));
    table.send([task(1, 12, SHARD)].into_iter().chain(crash(4)));
    assert!(table.scheduler.worker_status(SessionId(1)).unwrap().available_kinds.contains(SHARD));
}
