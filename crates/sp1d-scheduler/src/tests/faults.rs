//! Which faults count, which are removed, and which are kept when a worker is forgotten.

use super::*;
use crate::{PaceRules, QuarantineRules, WorkerStanding};

const S: u64 = 1000;

/// A task is lost with at most two workers, and `max_faults` faults lead to quarantine.
fn config(max_faults: u32) -> SchedulerConfig {
    let quarantine = Some(QuarantineRules { max_faults, ..QuarantineRules::default() });
    SchedulerConfig { max_losses: 2, pace: None, quarantine, ..SchedulerConfig::default() }
}

impl Table {
    fn is_quarantined(&self, worker: u64) -> bool {
        matches!(self.scheduler.worker_standing(WorkerId(worker)), WorkerStanding::Quarantined { .. })
    }

    /// Returns the newest attempt that `session` holds.
    #[track_caller]
    fn newest_on(&self, session: u64) -> u64 {
        let held = self.scheduler.held_attempts(SessionId(session)).expect("the worker is ready");
        held.last().expect("the worker holds an attempt").0
    }
}

/// Worker 3 holds an attempt, so workers 1 and 2 get the other tasks. With `starts`, it has started the attempt.
fn beside_a_full_worker(config: SchedulerConfig, starts: bool) -> Table {
    let mut table = Table::with(config);
    table.send([ready(3, 1), new_try(9), task(9, 9, SHARD)]);
    table.send(starts.then_some(started(3, 1)));
    table
}

#[test]
fn a_task_that_is_lost_with_every_worker_is_the_fault_of_no_worker() {
    let mut table = beside_a_full_worker(config(2), true);
    table.send([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)]);
    table.send([started(1, 2), lost(1), started(2, 3)]);
    let commands = table.send([lost(2)]);
    assert!(matches!(commands[..], [Command::FailTry { .. }]), "{commands:?}");
    // Worker 2 has no fault, so its next loss is its first one.
    table.send([ended(1), new_try(2), ready_holding(12, 2, 1, &[]), task(2, 20, SHARD), started(12, 4), lost(12)]);
    assert!(!table.is_quarantined(2));
    table.send([ready_holding(11, 1, 1, &[]), started(11, 5), lost(11)]);
    assert!(!table.is_quarantined(1) && !table.is_quarantined(2));
}

/// Two tasks, one after the other, fail for good at workers 1 and 2. Each worker holds its attempt for `wait`, and has
/// started it if `starts` is true. If the workers kept these faults, they would be quarantined.
#[track_caller]
fn check_slow_tasks(config: SchedulerConfig, starts: bool, wait: Duration) {
    // Worker 3 never has a fault: either its attempt may take long to start, or it may run for long.
    let mut table = beside_a_full_worker(config, !starts);
    table.send([ready(1, 1), ready(2, 1)]);
    for id in [10, 20] {
        table.send([new_try(id), task(id, id, SHARD)]);
        let mut commands = Vec::new();
        for session in [1, 2] {
            let attempt = table.newest_on(session);
            table.send(starts.then_some(started(session, attempt)));
            commands = table.pass(wait, &[1, 2, 3]);
        }
        assert!(commands.iter().any(|command| matches!(command, Command::FailTry { .. })), "{commands:?}");
        table.send([ended(id)]);
        assert!(!table.is_quarantined(1) && !table.is_quarantined(2), "after task {id}");
    }
}

#[test]
fn a_task_that_hangs_on_every_worker_is_the_fault_of_no_worker() {
    let pace = PaceRules { overdue_floor: ms(30 * S), overdue_cap: ms(40 * S), ..PaceRules::default() };
    check_slow_tasks(SchedulerConfig { pace: Some(pace), ..config(2) }, true, ms(41 * S));
}

#[test]
fn a_task_that_no_worker_starts_is_the_fault_of_no_worker() {
    check_slow_tasks(SchedulerConfig { max_start_delay: ms(10 * S), ..config(2) }, false, ms(11 * S));
}

/// Worker 2 with two slots has one fault of three: task 1 failed on it. Worker 1 has started task 1 and is full. The
/// next attempt is 3.
fn with_one_fault() -> Table {
    let mut table = Table::with(config(3));
    table.send([new_try(9), ready(2, 2), task(9, 1, SHARD), ready(1, 1), failed(2, 1), started(1, 2)]);
    table.send([new_try(1), new_try(2)]);
    table
}

/// Checks that worker 2, which is ready as `session` and has a free slot, has exactly one fault: the second further
/// fault leads to quarantine.
#[track_caller]
fn check_one_fault(mut table: Table, session: u64) {
    for (id, is_quarantined) in [(101, false), (102, true)] {
        table.send([new_try(id), task(id, id, SHARD)]);
        let attempt = table.newest_on(session);
        table.send([failed(session, attempt)]);
        assert_eq!(table.is_quarantined(2), is_quarantined, "after the failure of task {id}");
    }
}

#[test]
fn a_loss_during_two_tasks_is_removed_once() {
    let mut table = with_one_fault();
    table.send([task(1, 10, SHARD), task(2, 20, SHARD), started(2, 3), started(2, 4), lost(2)]);
    // Both tasks fail for good.
    table.send([ready(4, 2), started(4, 5), started(4, 6), lost(4), ended(1), ended(2)]);
    table.send([ready_holding(12, 2, 2, &[])]);
    check_one_fault(table, 12);
}

#[test]
fn a_loss_that_was_undone_is_not_removed_again() {
    let mut table = with_one_fault();
    table.send([task(1, 10, SHARD), started(2, 3), lost(2), ready_holding(12, 2, 2, &[3]), lost(12)]);
    // The task fails for good.
    table.send([ready(4, 1), started(4, 4), lost(4), ended(1)]);
    table.send([ready_holding(22, 2, 2, &[])]);
    check_one_fault(table, 22);
}

#[test]
fn a_loss_that_was_removed_is_not_undone() {
    let mut table = with_one_fault();
    table.send([task(1, 10, SHARD), task(2, 20, SHARD), started(2, 3), started(2, 4), lost(2)]);
    // Task 20, which bears the fault, fails for good. Then worker 2 continues task 10.
    table.send([ready(4, 2), started(4, 6), lost(4), ended(2)]);
    let continued = Command::Continue { session: SessionId(12), attempt: AttemptId(3) };
    table.check([ready_holding(12, 2, 2, &[3])], [continued]);
    check_one_fault(table, 12);
}

/// A worker that supports every kind is ready, from the given origin.
fn ready_from(id: u64, origin: u128) -> Event {
    ready_as(id, ReadyWorker { origin: OriginId(origin), ..plain_worker(id, 1) })
}

/// As many disconnected workers of one origin are remembered as possible, and all have faults.
#[test]
fn a_worker_that_is_lost_while_it_proves_is_not_forgotten_as_one_without_faults() {
    let mut table = Table::with(config(1));
    table.send([new_try(1), ready_from(100, 5), task(1, 10, SHARD), started(100, 1)]);
    table.send([new_try(2), ready_from(1, 5), task(2, 20, SHARD), failed(1, 2), ended(2), lost(1)]);
    // A new worker has the faults of its origin.
    for id in 2..=64 {
        table.send([ready_from(id, 5), lost(id)]);
    }
    assert!(table.is_quarantined(1) && table.is_quarantined(64) && !table.is_quarantined(100));
    table.send([ready_from(200, 6), lost(100)]);
    assert!(table.is_quarantined(100));
}

/// The reason for a quarantine that starts with the loss of a worker.
const LOST: &str = "the worker was lost while it was proving";

fn quarantine(session: u64, kinds: KindSet, seconds: u64, reason: &str) -> Command {
    Command::Quarantine { session: SessionId(session), kinds, duration: ms(seconds * S), reason: reason.to_owned() }
}

const fn continue_attempt(session: u64, attempt: u64) -> Command {
    Command::Continue { session: SessionId(session), attempt: AttemptId(attempt) }
}

/// Worker 1 is lost after it has started attempt 3 and not attempt 2. This fault quarantines it. Checks the commands
/// and the standing when it returns in session 11 after `absence`, with the attempts `holds`.
#[track_caller]
fn check_return(absence: Duration, holds: &[u64], expected: &[Command], standing: &WorkerStanding) {
    let mut table = beside_a_full_worker(config(1), true);
    table.send([ready(1, 2), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), started(1, 3), lost(1)]);
    assert!(table.is_quarantined(1), "the loss is a fault");
    table.pass(absence, &[3]);
    table.check([ready_holding(11, 1, 2, holds)], expected.iter().cloned());
    assert_eq!(&table.scheduler.worker_standing(WorkerId(1)), standing);
}

#[test]
fn a_worker_that_returns_with_its_attempt_is_not_quarantined_for_its_loss() {
    let expected = [continue_attempt(11, 3), continue_attempt(11, 2)];
    // The quarantine lasts 60 s.
    for absence in [0, 10 * S, 61 * S] {
        check_return(ms(absence), &[2, 3], &expected, &WorkerStanding::Normal);
    }
    check_return(ms(0), &[3], &[continue_attempt(11, 3), assign(11, 4, 1, 10)], &WorkerStanding::Normal);
}

#[test]
fn a_worker_that_returns_without_its_started_attempt_is_quarantined_for_its_loss() {
    let kinds = KindSet::only(SHARD);
    let standing = WorkerStanding::Quarantined { kinds, reason: LOST.to_owned() };
    check_return(ms(0), &[], &[quarantine(11, kinds, 60, LOST)], &standing);
    check_return(ms(10 * S), &[2], &[cancel(11, 2), quarantine(11, kinds, 50, LOST)], &standing);
}

#[test]
fn a_worker_on_probation_that_returns_with_its_attempt_is_on_probation_again() {
    let kinds = KindSet::only(SHARD);
    let mut table = beside_a_full_worker(config(1), true);
    table.send([ready(1, 1), new_try(1), task(1, 10, SHARD), failed(1, 2)]);
    table.pass(ms(61 * S), &[1, 3]);
    table.check([task(1, 11, SHARD), started(1, 3), lost(1)], [assign(1, 3, 1, 11)]);
    table.check([ready_holding(11, 1, 1, &[3])], [continue_attempt(11, 3)]);
    assert_eq!(table.scheduler.worker_standing(WorkerId(1)), WorkerStanding::Probation { kinds });
    // This is the second quarantine, not the third.
    table.check([failed(11, 3)], [quarantine(11, kinds, 120, "engine error: broken")]);
}

#[test]
fn a_fault_during_the_quarantine_of_a_loss_counts_when_the_worker_returns() {
    let mut table = beside_a_full_worker(config(2), true);
    table.send([ready(1, 2), new_try(1), task(1, 10, SHARD), failed(1, 2)]);
    table.send([task(1, 11, SHARD), task(1, 12, SHARD), started(1, 3), delivered(1, 4), lost(1)]);
    assert!(table.is_quarantined(1), "the loss is the second fault");
    table.check([rejected(4)], [discard(4)]);
    let expected = quarantine(11, KindSet::only(SHARD), 60, "its output was rejected: wrong");
    table.check([ready_holding(11, 1, 2, &[3])], [continue_attempt(11, 3), expected]);
}

#[test]
fn a_worker_that_was_proven_wrong_stays_quarantined_when_it_returns_with_its_attempt() {
    let mut table = beside_a_full_worker(config(1), true);
    table.send([ready(1, 1), new_try(1), task(1, 10, SHARD), started(1, 2), lost(1)]);
    table.send([Event::ProvenWrong { worker: WorkerId(1), reason: "wrong".to_owned() }]);
    let expected = quarantine(11, KindSet::all(), 60, "wrong");
    table.check([ready_holding(11, 1, 1, &[2])], [continue_attempt(11, 2), expected]);
}
