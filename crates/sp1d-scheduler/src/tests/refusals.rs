//! Workers that report a task as unsupported: the task moves on, and the worker is not at fault.

use super::*;

fn unsupported() -> AttemptFailure {
    AttemptFailure::Worker { kind: FailureKind::Unsupported, text: "no such curve".to_owned() }
}

fn refused(session: u64, attempt: u64) -> Event {
    Event::AttemptFailed { session: SessionId(session), attempt: AttemptId(attempt), failure: unsupported() }
}

#[test]
fn a_refused_task_goes_to_another_worker() {
    let mut table = Table::new();
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([refused(1, 1)], [assign(2, 2, 1, 10)]);
    assert_eq!(table.scheduler.task_history(TaskId(10)), [past(1, 1, unsupported())]);
}

#[test]
fn a_refusing_worker_gets_other_tasks() {
    let mut table = Table::new();
    table.check(
        [ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD), task(1, 11, SHARD), started(2, 2)],
        [assign(1, 1, 1, 10), assign(2, 2, 1, 11)],
    );
    // Task 10 waits for worker 2, although worker 1 is free.
    table.check([refused(1, 1)], []);
    table.check([task(1, 12, SHARD)], [assign(1, 3, 1, 12)]);
    table.check([delivered(2, 2)], [assign(2, 4, 1, 10)]);
}

#[test]
fn refusals_do_not_quarantine_a_worker() {
    let mut table = Table::with(SchedulerConfig { pace: None, ..SchedulerConfig::default() });
    table.send([new_try(1), ready(1, 1), ready(2, 1)]);
    for id in 1..=9 {
        let commands = table.send([task(1, id, SHARD), refused(1, 2 * id - 1)]);
        assert_eq!(commands, [assign(1, 2 * id - 1, 1, id), assign(2, 2 * id, 1, id)]);
        table.send([delivered(2, 2 * id), passed(2 * id)]);
    }
}

#[test]
fn any_number_of_workers_may_refuse_while_one_supports_the_task() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, ..plain() });
    table.send((1..=10).map(|session| ready(session, 1)));
    table.check([new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    for session in 1..10 {
        table.check([refused(session, session)], [assign(session + 1, session + 1, 1, 10)]);
    }
    let discarded = (1..10).map(discard);
    table.check([delivered(10, 10), passed(10)], [accept(10, 10, 1, 10)].into_iter().chain(discarded));
}

#[test]
fn refusals_use_up_no_failures() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, ..plain() });
    table.send((1..=4).map(|session| ready(session, 1)));
    table.check([new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([refused(1, 1)], [assign(2, 2, 1, 10)]);
    table.check([failed(2, 2)], [assign(3, 3, 1, 10)]);
    table.check([refused(3, 3)], [assign(4, 4, 1, 10)]);
    table.check([delivered(4, 4), passed(4)], [accept(4, 4, 1, 10), discard(1), discard(2), discard(3)]);
}

#[test]
fn a_task_that_every_worker_refuses_fails_the_try() {
    let mut table = Table::with(SchedulerConfig { max_failures: 2, ..plain() });
    table.check([ready(1, 1), ready(2, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([refused(1, 1)], [assign(2, 2, 1, 10)]);
    let history = vec![past(1, 1, unsupported()), past(2, 2, unsupported())];
    table.check([refused(2, 2)], [fail_try(1, 10, history)]);
}

#[test]
fn an_only_worker_may_refuse_a_limited_number_of_times() {
    let mut table = Table::with(SchedulerConfig { max_failures: 3, ..plain() });
    table.check([ready(1, 1), new_try(1), task(1, 10, SHARD)], [assign(1, 1, 1, 10)]);
    table.check([refused(1, 1)], [assign(1, 2, 1, 10)]);
    table.check([refused(1, 2)], [assign(1, 3, 1, 10)]);
    let history = (1..=3).map(|attempt| past(attempt, 1, unsupported())).collect();
    table.check([refused(1, 3)], [fail_try(1, 10, history)]);
}

#[test]
fn a_failure_says_which_kind_the_worker_reported() {
    for kind in FailureKind::ALL {
        let failure = AttemptFailure::Worker { kind, text: "9 GiB".to_owned() };
        assert_eq!(failure.is_out_of_memory(), kind == FailureKind::OutOfMemory);
        assert_eq!(failure.is_unsupported(), kind == FailureKind::Unsupported);
        assert_eq!(failure.to_string(), format!("{kind}: 9 GiB"));
    }
}
