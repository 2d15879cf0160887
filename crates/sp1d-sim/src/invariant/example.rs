//! Manually created steps, to test that each invariant can fail.

use super::{
    property::Invariant,
    step::{SimOutcome, SimStep},
};
use crate::scenario::{Plan, TaskPlan, UploadedClaims, Value};
use sp1d_scheduler::{
    AttemptId, Command, Event, JoinedWorker, KindSet, OriginId, ProofId, Scheduler, SchedulerConfig, SessionId, TaskId,
    TaskKind, Timestamp, WorkerId,
};
use std::{collections::BTreeMap, time::Duration};

/// Proof 1 has the shards 1 and 2. Proof 2 has the shard 3, whose marker is 30.
pub(crate) struct Example {
    pub(crate) config: SchedulerConfig,
    pub(crate) delivered: BTreeMap<AttemptId, Option<Value>>,
    pub(crate) claims: UploadedClaims,
    pub(crate) outcomes: BTreeMap<ProofId, SimOutcome>,
    pub(crate) now: Timestamp,
    plan: Plan,
    scheduler: Scheduler,
}

impl Example {
    pub(crate) fn new() -> Self {
        let mut plan = Plan::default();
        for (task, proof, marker) in [(1, 1, None), (2, 1, None), (3, 2, Some(TaskId(30)))] {
            let (task, proof) = (TaskId(task), ProofId(proof));
            plan.tasks.insert(
                task,
                TaskPlan {
                    proof,
                    kind: TaskKind::ProveShard,
                    marker,
                    poison: false,
                    work: Duration::from_secs(1),
                    memory: 1,
                    inputs: 0,
                    parent: None,
                },
            );
            let entry = plan.proofs.entry(proof).or_default();
            entry.tasks.insert(task);
            entry.shards.push((Duration::ZERO, task));
        }
        let config = SchedulerConfig::default();
        Self {
            config,
            delivered: BTreeMap::new(),
            claims: UploadedClaims::new(),
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
        let Self { config, delivered, claims, outcomes, now, plan, scheduler } = self;
        invariant.check(&SimStep { now: *now, event, commands, scheduler, config, plan, delivered, claims, outcomes })
    }

    /// Checks `invariant` at the end of the world.
    pub(crate) fn show_end(&self, invariant: &mut dyn Invariant) -> Result<(), String> {
        let Self { config, delivered, claims, outcomes, now, plan, scheduler } = self;
        invariant.check_end(&SimStep {
            now: *now,
            event: &Event::Tick,
            commands: &[],
            scheduler,
            config,
            plan,
            delivered,
            claims,
            outcomes,
        })
    }
}

/// Asserts that the invariant failed with a message that contains `words`.
#[track_caller]
pub(crate) fn assert_broken(outcome: Result<(), String>, words: &str) {
    let what = outcome.expect_err("the invariant detects the error");
    assert!(what.contains(words), "{what}");
}

pub(crate) fn joined(session: u64, worker: u64, slots: u32, kinds: KindSet) -> Event {
    let (session, worker, origin) = (SessionId(session), WorkerId(worker), OriginId(u128::from(worker)));
    let joined = JoinedWorker { worker, origin, memory_bytes: 1, slots, kinds, holds: Vec::new() };
    Event::WorkerJoined { session, joined, resumable_tasks: Vec::new(), draining: false }
}

pub(crate) const fn submitted(proof: u64, task: u64) -> Event {
    let (proof, task) = (ProofId(proof), TaskId(task));
    Event::TaskSubmitted { proof, task, kind: TaskKind::ProveShard, marker: None, resumable_on: None }
}

pub(crate) const fn proof(proof: u64) -> Event {
    Event::ProofStarted { proof: ProofId(proof) }
}

pub(crate) const fn ended(proof: u64) -> Event {
    Event::ProofEnded { proof: ProofId(proof) }
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

pub(crate) const fn assign(session: u64, attempt: u64, proof: u64, task: u64) -> Command {
    let (session, attempt, proof, task) = (SessionId(session), AttemptId(attempt), ProofId(proof), TaskId(task));
    Command::Assign { session, attempt, proof, task, kind: TaskKind::ProveShard }
}

pub(crate) const fn accept(session: u64, attempt: u64, proof: u64, task: u64) -> Command {
    let (session, attempt, proof, task) = (SessionId(session), AttemptId(attempt), ProofId(proof), TaskId(task));
    Command::AcceptResult { proof, task, attempt, session }
}

pub(crate) const fn discard(attempt: u64) -> Command {
    Command::Discard { attempt: AttemptId(attempt) }
}
