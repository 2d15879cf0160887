//! Table tests: events in, commands out.

mod continuation;
mod display;
mod faults;
mod identity;
mod leases;
mod lifetimes;
mod markers;
mod pace;
mod placement;
mod properties;
mod queueing;
mod refusals;
mod results;
mod retries;
mod standing;
mod stealing;
mod trust;
mod waiting;

use crate::{
    AttemptEndReason, AttemptFailure, AttemptId, Command, Event, FailureKind, KindSet, OriginId, PastAttempt,
    ReadyWorker, Scheduler, SchedulerConfig, SessionId, ShardRoom, ShareGroup, TaskId, TaskKind, Timestamp, TryId,
    WorkerId,
};
use std::time::Duration;

/// A scheduler and the clock of its driver.
struct Table {
    scheduler: Scheduler,
    now: Timestamp,
}

impl Table {
    fn new() -> Self {
        Self::with(plain())
    }

    fn with(config: SchedulerConfig) -> Self {
        Self { scheduler: Scheduler::new(config), now: Timestamp::new(ms(10_000)) }
    }

    /// Sends `events` to the scheduler and compares the returned commands with `expected`.
    #[track_caller]
    fn check(&mut self, events: impl IntoIterator<Item = Event>, expected: impl IntoIterator<Item = Command>) {
        let commands = self.send(events);
        let expected: Vec<Command> = expected.into_iter().collect();
        assert_eq!(commands, expected);
    }

    /// Sends `events` to the scheduler and returns its commands, for tests that do not check all of them.
    fn send(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Command> {
        let mut commands = Vec::new();
        for event in events {
            commands.extend(self.scheduler.handle(self.now, event));
            self.scheduler.check_invariants();
        }
        commands
    }

    /// Lets time pass in steps that are too short to count as pauses. The workers in `heard` renew their leases at
    /// every step.
    fn pass(&mut self, duration: Duration, heard: &[u64]) -> Vec<Command> {
        let end = self.now + duration;
        let mut commands = Vec::new();
        while self.now < end {
            self.now = (self.now + ms(500)).min(end);
            commands.extend(self.send(heard.iter().copied().map(renewed)));
            commands.extend(self.send([Event::Tick]));
        }
        commands
    }
}

/// A configuration without pace and quarantine rules. Tests of these rules set them.
fn plain() -> SchedulerConfig {
    SchedulerConfig { pace: None, quarantine: None, ..SchedulerConfig::default() }
}

const SHARD: TaskKind = TaskKind::ProveShard;
const REDUCE: TaskKind = TaskKind::RecursionReduce;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn new_try(try_id: u64) -> Event {
    new_try_of(try_id, 0)
}

const fn new_try_of(try_id: u64, group: u64) -> Event {
    Event::TryStarted { try_id: TryId(try_id), group: ShareGroup(group), trusted_only: false }
}

const fn ended(try_id: u64) -> Event {
    Event::TryEnded { try_id: TryId(try_id) }
}

const fn task(try_id: u64, task: u64, kind: TaskKind) -> Event {
    Event::TaskSubmitted { try_id: TryId(try_id), task: TaskId(task), kind, marker: None, resumable_on: None }
}

const fn marked(try_id: u64, task: u64, marker: u64) -> Event {
    let (try_id, task, marker) = (TryId(try_id), TaskId(task), Some(TaskId(marker)));
    Event::TaskSubmitted { try_id, task, kind: SHARD, marker, resumable_on: None }
}

const fn marker(try_id: u64, marker: u64) -> Event {
    Event::MarkerSubmitted { try_id: TryId(try_id), marker: TaskId(marker) }
}

/// Each worker has its own origin, unless a test says otherwise.
fn origin_of(worker: WorkerId) -> OriginId {
    OriginId(u128::from(worker.0))
}

/// A worker that supports every kind and holds no attempts. It has the least memory.
fn plain_worker(worker: u64, slots: u32) -> ReadyWorker {
    let worker = WorkerId(worker);
    let (origin, supported_kinds) = (origin_of(worker), KindSet::all());
    ReadyWorker {
        worker,
        origin,
        trusted: false,
        comparable_bytes: 0,
        shard_room: ShardRoom::Unknown,
        slots,
        supported_kinds,
        holds: Vec::new(),
    }
}

fn ready_as(session: u64, ready: ReadyWorker) -> Event {
    Event::WorkerReady { session: SessionId(session), ready, resumable_tasks: Vec::new(), draining: false }
}

fn ready(session: u64, slots: u32) -> Event {
    ready_as(session, plain_worker(session, slots))
}

fn ready_for(session: u64, slots: u32, kind: TaskKind) -> Event {
    ready_as(session, ReadyWorker { supported_kinds: [kind].into_iter().collect(), ..plain_worker(session, slots) })
}

/// `worker` is ready in the new `session` and still holds the attempts `holds`.
fn ready_holding(session: u64, worker: u64, slots: u32, holds: &[u64]) -> Event {
    let holds = holds.iter().copied().map(AttemptId).collect();
    ready_as(session, ReadyWorker { holds, ..plain_worker(worker, slots) })
}

const fn lost(session: u64) -> Event {
    Event::SessionEnded { session: SessionId(session) }
}

const fn renewed(session: u64) -> Event {
    Event::LeaseRenewed { session: SessionId(session) }
}

const fn not_sent(attempt: u64) -> Event {
    Event::AssignmentFailed { attempt: AttemptId(attempt) }
}

const fn started(session: u64, attempt: u64) -> Event {
    Event::AttemptStarted { session: SessionId(session), attempt: AttemptId(attempt) }
}

const fn events_accepted(session: u64, attempt: u64) -> Event {
    Event::DeferredEventsAccepted { session: SessionId(session), attempt: AttemptId(attempt) }
}

const fn delivered(session: u64, attempt: u64) -> Event {
    Event::ResultDelivered { session: SessionId(session), attempt: AttemptId(attempt) }
}

const fn passed(attempt: u64) -> Event {
    Event::ResultPassed { attempt: AttemptId(attempt) }
}

fn rejected(attempt: u64) -> Event {
    Event::ResultRejected { attempt: AttemptId(attempt), reason: "wrong".to_owned() }
}

const fn check_delayed(attempt: u64) -> Event {
    Event::CheckDelayed { attempt: AttemptId(attempt) }
}

fn failed(session: u64, attempt: u64) -> Event {
    Event::AttemptFailed { session: SessionId(session), attempt: AttemptId(attempt), failure: broken() }
}

fn broken() -> AttemptFailure {
    AttemptFailure::Worker { kind: FailureKind::Engine, text: "broken".to_owned() }
}

const fn assign(session: u64, attempt: u64, try_id: u64, task: u64) -> Command {
    assign_kind(session, attempt, try_id, task, SHARD)
}

const fn assign_kind(session: u64, attempt: u64, try_id: u64, task: u64, kind: TaskKind) -> Command {
    Command::Assign {
        session: SessionId(session),
        attempt: AttemptId(attempt),
        try_id: TryId(try_id),
        task: TaskId(task),
        kind,
    }
}

const fn cancel(session: u64, attempt: u64) -> Command {
    Command::Cancel { session: SessionId(session), attempt: AttemptId(attempt) }
}

const fn discard(attempt: u64) -> Command {
    Command::Discard { attempt: AttemptId(attempt) }
}

const fn accept(session: u64, attempt: u64, try_id: u64, task: u64) -> Command {
    Command::AcceptResult {
        try_id: TryId(try_id),
        task: TaskId(task),
        attempt: AttemptId(attempt),
        session: SessionId(session),
    }
}

const fn complete_marker(try_id: u64, marker: u64, attempt: u64) -> Command {
    Command::CompleteMarker { try_id: TryId(try_id), marker: TaskId(marker), attempt: AttemptId(attempt) }
}

const fn end_session(session: u64) -> Command {
    Command::EndSession { session: SessionId(session) }
}

/// The failure of a try because its shard `task` reached a limit.
const fn fail_try(try_id: u64, task: u64, history: Vec<PastAttempt>) -> Command {
    let (try_id, task) = (TryId(try_id), TaskId(task));
    Command::FailTry { try_id, task, kind: SHARD, history, lacks_large_worker: false }
}

/// The failure of a try because no worker has enough memory for its shard `task`.
const fn fail_for_memory(try_id: u64, task: u64, history: Vec<PastAttempt>) -> Command {
    let (try_id, task) = (TryId(try_id), TaskId(task));
    Command::FailTry { try_id, task, kind: SHARD, history, lacks_large_worker: true }
}

/// A past attempt that ended at the time it was assigned.
fn past(attempt: u64, session: u64, reason: impl Into<AttemptEndReason>) -> PastAttempt {
    let (attempt, duration) = (AttemptId(attempt), Duration::ZERO);
    PastAttempt { attempt, session: SessionId(session), worker: WorkerId(session), duration, reason: reason.into() }
}
