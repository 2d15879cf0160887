//! A lost worker returns and offers the attempts that it still has.

use super::*;

const fn continue_attempt(session: u64, attempt: u64) -> Command {
    Command::Continue { session: SessionId(session), attempt: AttemptId(attempt) }
}

/// Worker 1 proves task 1 and is lost.
fn lost_at_work() -> Table {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2), task(1, 1, SHARD), started(1, 1)]);
    table.check([lost(1)], []);
    table
}

#[test]
fn a_returning_worker_continues_its_attempt() {
    let mut table = lost_at_work();
    table.check([ready_holding(2, 1, 2, &[1])], [continue_attempt(2, 1)]);
    assert_eq!(table.scheduler.task_history(TaskId(1)), [], "nothing was lost");
    table.check([delivered(2, 1), passed(1)], [accept(2, 1, 1, 1)]);
}

#[test]
fn returning_with_the_attempt_is_not_a_loss() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 1), task(1, 1, SHARD), started(1, 1)]);
    for session in 1..20 {
        table.check([lost(session), ready_holding(session + 1, 1, 1, &[1])], [continue_attempt(session + 1, 1)]);
    }
}

#[test]
fn a_replacement_that_has_not_started_is_cancelled() {
    let mut table = lost_at_work();
    table.check([ready(3, 1)], [assign(3, 2, 1, 1)]);
    table.check([ready_holding(2, 1, 2, &[1])], [cancel(3, 2), continue_attempt(2, 1)]);
}

#[test]
fn a_replacement_that_started_later_is_cancelled() {
    let mut table = lost_at_work();
    table.send([ready(3, 1), started(3, 2)]);
    table.check([ready_holding(2, 1, 2, &[1])], [cancel(3, 2), continue_attempt(2, 1)]);
}

#[test]
fn a_much_faster_replacement_continues_beside_the_returned_attempt() {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), ready(3, 1), task(1, 1, SHARD), task(1, 2, SHARD)]);
    table.send([started(1, 1), started(3, 2)]);
    table.pass(ms(10_000), &[1, 3]);
    table.send([delivered(3, 2), passed(2)]);
    table.pass(ms(9_000), &[1, 3]);
    table.send([delivered(1, 1), passed(1), task(1, 3, SHARD), task(1, 4, SHARD)]);
    table.send([started(3, 3), started(1, 4)]);
    table.pass(ms(1_000), &[1, 3]);
    table.send([delivered(3, 3), passed(3)]);
    table.check([lost(1)], [assign(3, 5, 1, 4)]);
    table.send([started(3, 5)]);
    table.check([ready_holding(2, 1, 1, &[4])], [continue_attempt(2, 4)]);
    table.check([delivered(3, 5), passed(5)], [accept(3, 5, 1, 4), cancel(2, 4), discard(4)]);
}

#[test]
fn attempts_no_longer_needed_are_cancelled() {
    let mut table = lost_at_work();
    table.send([ready(3, 1), started(3, 2), delivered(3, 2), passed(2)]);
    table.check([ready_holding(2, 1, 2, &[1, 77])], [cancel(2, 1), cancel(2, 77)]);
}

#[test]
fn a_worker_cannot_continue_the_attempt_of_another() {
    let mut table = lost_at_work();
    table.check([ready_holding(2, 7, 2, &[1])], [cancel(2, 1), assign(2, 2, 1, 1)]);
}

#[test]
fn a_new_session_ends_the_old_session_of_the_worker() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 1), task(1, 1, SHARD), started(1, 1)]);
    table.check([ready_holding(2, 1, 1, &[1])], [end_session(1), continue_attempt(2, 1)]);
    table.check([lost(1)], []);
    table.check([delivered(1, 1)], []);
    table.check([delivered(2, 1), passed(1)], [accept(2, 1, 1, 1)]);
}

#[test]
fn a_worker_keeps_at_most_as_many_attempts_as_slots() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), started(1, 1), started(1, 2), lost(1)]);
    table.check([ready_holding(2, 1, 1, &[1, 2])], [continue_attempt(2, 1), cancel(2, 2)]);
}

#[test]
fn a_failed_attempt_is_not_continued() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 1), ready(2, 1), task(1, 1, SHARD), started(1, 1)]);
    table.check([failed(1, 1)], [assign(2, 2, 1, 1)]);
    // The worker lost its connection before it learned that its failure report had arrived.
    table.check([lost(1), ready_holding(3, 1, 1, &[1])], [cancel(3, 1)]);
}

#[test]
fn a_duplicate_attempt_is_continued_once() {
    let mut table = lost_at_work();
    table.check([ready_holding(2, 1, 2, &[1, 1])], [continue_attempt(2, 1)]);
}

/// The connection of one worker is lost many times, and each time another worker gets its task.
#[test]
fn a_worker_may_return_any_number_of_times() {
    let mut table = Table::with(SchedulerConfig { max_losses: 1000, ..plain() });
    table.send([new_try(1), ready(1, 1), task(1, 1, SHARD), started(1, 1), ready(2, 1)]);
    for session in 0..40 {
        let (old, new) = (if session == 0 { 1 } else { 100 + session }, 101 + session);
        let other = table.send([lost(old)]);
        let assigned = other.iter().find_map(|command| match command {
            Command::Assign { attempt, .. } => Some(attempt.0),
            _ => None,
        });
        let replacement = assigned.expect("worker 2 is free");
        let commands = table.send([started(2, replacement), ready_holding(new, 1, 1, &[1])]);
        assert!(
            commands.contains(&cancel(2, replacement)) && commands.contains(&continue_attempt(new, 1)),
            "{commands:?}"
        );
    }
    table.send([delivered(140, 1)]);
    let commands = table.send([passed(1)]);
    assert_eq!(commands[0], accept(140, 1, 1, 1));
}

/// The worker was disconnected when its deferred events were accepted, so no worker is blamed for the late result.
#[test]
fn a_late_result_without_its_marker_is_the_fault_of_no_worker() {
    let mut table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), marked(1, 1, 2), started(1, 1), lost(1)]);
    table.send([ready_holding(3, 1, 1, &[]), ready(2, 1), started(3, 2)]);
    table.check([delivered(1, 1), passed(1)], [discard(1)]);
    assert_eq!(table.scheduler.task_history(TaskId(1)).len(), 1, "only the loss");
}

/// Task `task` of try 1, which `session` started before the orchestrator restarted.
const fn resumable_on(session: u64, task: u64) -> Event {
    let (try_id, task, resumable_on) = (TryId(1), TaskId(task), Some(SessionId(session)));
    Event::TaskSubmitted { try_id, task, kind: SHARD, marker: None, resumable_on }
}

/// The worker of `session` is ready and reports that it started the tasks `resumable` before the orchestrator
/// restarted.
fn ready_with_resumable(session: u64, slots: u32, resumable: &[u64]) -> Event {
    let (session, ready) = (SessionId(session), plain_worker(session, slots));
    let resumable_tasks = resumable.iter().copied().map(TaskId).collect();
    Event::WorkerReady { session, ready, resumable_tasks, draining: false }
}

#[test]
fn a_worker_resumes_a_task_started_before_the_restart() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2), ready(2, 2), ready(3, 2)]);
    table.check([resumable_on(3, 1)], [assign(3, 1, 1, 1)]);
    table.check([task(1, 2, SHARD)], [assign(1, 2, 1, 2)]);
    table.check([resumable_on(3, 3)], [assign(3, 3, 1, 3)]);
    // Worker 3 is full, so the next task goes to any worker.
    table.check([resumable_on(3, 4)], [assign(2, 4, 1, 4)]);
}

#[test]
fn resume_offers_for_unknown_workers_and_tasks_are_ignored() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2)]);
    table.check([resumable_on(9, 1)], [assign(1, 1, 1, 1)]);
    table.check([ready_with_resumable(2, 2, &[77])], []);
}

#[test]
fn a_waiting_task_goes_to_the_new_worker_that_started_it() {
    let mut table = Table::new();
    table.send([new_try(1), task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD)]);
    table.check([ready_with_resumable(1, 1, &[2, 2, 3])], [assign(1, 1, 1, 2)]);
    table.check([ready(2, 2)], [assign(2, 2, 1, 1), assign(2, 3, 1, 3)]);
}

#[test]
fn a_task_not_started_elsewhere_returns_to_its_first_worker() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 3), task(1, 1, SHARD), task(1, 2, SHARD), task(1, 3, SHARD), started(1, 1)]);
    table.check([ready_with_resumable(2, 1, &[1, 2])], [cancel(1, 2), assign(2, 4, 1, 2)]);
}

#[test]
fn resumed_attempts_do_not_teach_durations() {
    let mut table = Table::with(SchedulerConfig { quarantine: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), resumable_on(1, 1), started(1, 1)]);
    table.pass(ms(100), &[1]);
    table.send([delivered(1, 1), passed(1), task(1, 2, SHARD), started(1, 2), ready(2, 1)]);
    // If a shard were known to take 100 ms, this attempt would get a speculative attempt beside it.
    assert_eq!(table.pass(ms(6_000), &[1, 2]), []);
}

#[test]
fn duplicate_resume_offers_change_nothing() {
    let mut table = Table::new();
    table.send([new_try(1), ready(1, 2), task(1, 1, SHARD), task(1, 2, SHARD), ready(2, 2)]);
    table.check([resumable_on(2, 1), ready_with_resumable(2, 2, &[2])], []);
}

/// Worker 1 has started attempts 2 and 3, and is on probation after failures of three others.
#[test]
fn a_worker_on_probation_continues_all_attempts_that_it_has_started() {
    let mut table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(2, 1), task(1, 1, SHARD), started(2, 1), ready(1, 5)]);
    for id in 2..=6 {
        table.check([task(1, id, SHARD)], [assign(1, id, 1, id)]);
        table.send([started(1, id)]);
    }
    table.send([failed(1, 4), failed(1, 5), failed(1, 6)]);
    table.pass(ms(61_000), &[1, 2]);
    table.send([lost(1)]);
    let commands = table.send([ready_holding(3, 1, 5, &[2, 3])]);
    assert!(commands.contains(&continue_attempt(3, 2)), "{commands:?}");
    assert!(commands.contains(&continue_attempt(3, 3)), "{commands:?}");
}
