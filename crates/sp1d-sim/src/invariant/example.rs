//! Manually created steps, to test that each invariant can fail.

use super::{
    property::Invariant,
    step::{SimOutcome, SimStep},
};
use crate::scenario::{Plan, TaskPlan, UploadedClaims, Value};
use sp1d_scheduler::{
    AttemptId, Command, Event, KindSet, OriginId, ReadyWorker, Scheduler, SchedulerConfig, SessionId, ShardRoom,
    ShareGroup, TaskId, TaskKind, Timestamp, TryId, WorkerId,
};
use std::{collections::BTreeMap, time::Duration};

/// Proof 1 has the shards 1 and 2. Proof 2 has the shard 3, whose marker is 30.
pub(crate) struct Example {
    pub(crate) config: SchedulerConfig,
    pub(crate) delivered: BTreeMap<AttemptId, Option<Value>>,
    pub(crate) claims: UploadedClaims,
    pub(crate) has_independent_worker: bool,
    pub(crate) outcomes: BTreeMap<TryId, SimOutcome>,
    pub(crate) now: Timestamp,
    plan: Plan,
    scheduler: Scheduler,
}

impl Example {
    pub(crate) fn new() -> Self {
        let mut plan = Plan::default();
        for (task, try_id, marker) in [(1, 1, None), (2, 1, None), (3, 2, Some(TaskId(30)))] {
            let (task, try_id) = (TaskId(task), TryId(try_id));
            plan.tasks.insert(
                task,
                TaskPlan {
                    try_id,
                    kind: TaskKind::ProveShard,
                    marker,
                    poison: false,
                    work: Duration::from_secs(1),
                    memory: 1,
                    inputs: 0,
                    parent: None,
                },
            );
            let entry = plan.tries.entry(try_id).or_default();
            entry.tasks.insert(task);
            entry.shards.push((Duration::ZERO, task));
        }
        let config = SchedulerConfig::default();
        Self {
            config,
            delivered: BTreeMap::new(),
            claims: UploadedClaims::new(),
            has_independent_worker: true,
            outcomes: BTreeMap::new(),
            now: Timestamp::new(Duration::from_secs(10)),
            plan,
            scheduler: Scheduler::new(config),
        }
    }

    /// Passes `event` to the example's scheduler. Without this call the scheduler knows nothing.
    pub(crate) fn send_to_scheduler(&mut self, event: Event) {
        let _commands = self.scheduler.handle(self.now, event);
    }

    /// Checks `invariant` with a step in which the scheduler returned `commands` for `event`.
    pub(crate) fn show(
        &self,
        invariant: &mut dyn Invariant,
        event: &Event,
        commands: &[Command],
    ) -> Result<(), String> {
        invariant.check(&self.step(event, commands))
    }

    /// Checks `invariant` at the end of the world.
    pub(crate) fn show_end(&self, invariant: &mut dyn Invariant) -> Result<(), String> {
        invariant.check_end(&self.step(&Event::Tick, &[]))
    }

    fn step<'a>(&'a self, event: &'a Event, commands: &'a [Command]) -> SimStep<'a> {
        SimStep {
            now: self.now,
            event,
            commands,
            scheduler: &self.scheduler,
            config: &self.config,
            plan: &self.plan,
            delivered: &self.delivered,
            claims: &self.claims,
            has_independent_worker: self.has_independent_worker,
            outcomes: &self.outcomes,
        }
    }
}

/// Asserts that the invariant failed with a message that contains `words`.
#[track_caller]
pub(crate) fn assert_broken(outcome: Result<(), String>, words: &str) {
    let what = outcome.expect_err("the invariant detects the error");
    assert!(what.contains(words), "{what}");
}

pub(crate) fn ready(session: u64, worker: u64, slots: u32, supported_kinds: KindSet) -> Event {
    let (session, worker, origin) = (SessionId(session), WorkerId(worker), OriginId(u128::from(worker)));
    let (shard_room, holds) = (ShardRoom::Unknown, Vec::new());
    let trusted = false;
    let ready = ReadyWorker { worker, origin, trusted, comparable_bytes: 1, shard_room, slots, supported_kinds, holds };
    Event::WorkerReady { session, ready, resumable_tasks: Vec::new(), draining: false }
}

pub(crate) const fn submitted(try_id: u64, task: u64) -> Event {
    let (try_id, task) = (TryId(try_id), TaskId(task));
    Event::TaskSubmitted { try_id, task, kind: TaskKind::ProveShard, marker: None, resumable_on: None }
}

pub(crate) const fn new_try(try_id: u64) -> Event {
    Event::TryStarted { try_id: TryId(try_id), group: ShareGroup(0), trusted_only: false }
}

pub(crate) const fn ended(try_id: u64) -> Event {
    Event::TryEnded { try_id: TryId(try_id) }
}

pub(crate) const fn started(session: u64, attempt: u64) -> Event {
    Event::AttemptStarted { session: SessionId(session), attempt: AttemptId(attempt) }
}

pub(crate) const fn reported(session: u64, attempt: u64) -> Event {
    Event::ResultDelivered { session: SessionId(session), attempt: AttemptId(attempt) }
}

pub(crate) const fn passed(attempt: u64) -> Event {
    Event::ResultPassed { attempt: AttemptId(attempt) }
}

pub(crate) const fn assign(session: u64, attempt: u64, try_id: u64, task: u64) -> Command {
    let (session, attempt, try_id, task) = (SessionId(session), AttemptId(attempt), TryId(try_id), TaskId(task));
    Command::Assign { session, attempt, try_id, task, kind: TaskKind::ProveShard }
}

pub(crate) const fn accept(session: u64, attempt: u64, try_id: u64, task: u64) -> Command {
    let (session, attempt, try_id, task) = (SessionId(session), AttemptId(attempt), TryId(try_id), TaskId(task));
    Command::AcceptResult { try_id, task, attempt, session }
}

pub(crate) const fn discard(attempt: u64) -> Command {
    Command::Discard { attempt: AttemptId(attempt) }
}
