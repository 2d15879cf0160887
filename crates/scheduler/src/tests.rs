//! Table tests: events in, commands out.

mod adoption;
mod health;
mod identity;
mod leases;
mod lifetimes;
mod markers;
mod pace;
mod placement;
mod properties;
mod queueing;
mod results;
mod retries;
mod stealing;

use crate::{
    AttemptId, Command, Config, Event, Failure, KindSet, PastAttempt, PeerId, ProofId, Scheduler, TaskId, TaskKind,
    Timestamp, WorkerId,
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

    fn with(config: Config) -> Self {
        Self { scheduler: Scheduler::new(config), now: Timestamp::new(ms(10_000)) }
    }

    /// Sends `events` to the scheduler and compares the returned commands with `expected`.
    #[track_caller]
    fn check(&mut self, events: impl IntoIterator<Item = Event>, expected: impl IntoIterator<Item = Command>) {
        let commands = self.tell(events);
        let expected: Vec<Command> = expected.into_iter().collect();
        assert_eq!(commands, expected);
    }

    /// Sends `events` to the scheduler and returns its commands, for tests that do not check all of them.
    fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Command> {
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
            commands.extend(self.tell(heard.iter().copied().map(renewed)));
            commands.extend(self.tell([Event::Tick]));
        }
        commands
    }
}

/// A configuration without pace and quarantine rules. Tests of these rules set them.
fn plain() -> Config {
    Config { pace: None, quarantine: None, ..Config::default() }
}

const SHARD: TaskKind = TaskKind::ProveShard;
const REDUCE: TaskKind = TaskKind::RecursionReduce;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn proof(proof: u64) -> Event {
    Event::ProofStarted { proof: ProofId(proof) }
}

const fn ended(proof: u64) -> Event {
    Event::ProofEnded { proof: ProofId(proof) }
}

const fn task(proof: u64, task: u64, kind: TaskKind) -> Event {
    Event::TaskSubmitted { proof: ProofId(proof), task: TaskId(task), kind, marker: None, begun_on: None }
}

const fn marked(proof: u64, task: u64, marker: u64) -> Event {
    let (proof, task, marker) = (ProofId(proof), TaskId(task), Some(TaskId(marker)));
    Event::TaskSubmitted { proof, task, kind: SHARD, marker, begun_on: None }
}

const fn marker(proof: u64, marker: u64) -> Event {
    Event::MarkerSubmitted { proof: ProofId(proof), task: TaskId(marker) }
}

fn joined(worker: u64, slots: u32) -> Event {
    joined_holding(worker, worker, slots, &[])
}

fn joined_for(worker: u64, slots: u32, kind: TaskKind) -> Event {
    let (worker, peer, kinds) = (WorkerId(worker), PeerId(worker), [kind].into_iter().collect());
    Event::WorkerJoined { worker, peer, memory_bytes: 0, slots, kinds, holds: Vec::new(), begun: Vec::new() }
}

/// `peer` joins in the new session `worker` and still holds the attempts `holds`.
fn joined_holding(worker: u64, peer: u64, slots: u32, holds: &[u64]) -> Event {
    let holds = holds.iter().copied().map(AttemptId).collect();
    let (worker, peer, kinds) = (WorkerId(worker), PeerId(peer), KindSet::all());
    Event::WorkerJoined { worker, peer, memory_bytes: 0, slots, kinds, holds, begun: Vec::new() }
}

const fn lost(worker: u64) -> Event {
    Event::WorkerLost { worker: WorkerId(worker) }
}

const fn renewed(worker: u64) -> Event {
    Event::LeasesRenewed { worker: WorkerId(worker) }
}

const fn started(worker: u64, attempt: u64) -> Event {
    Event::AttemptStarted { worker: WorkerId(worker), attempt: AttemptId(attempt) }
}

const fn marker_reported(worker: u64, attempt: u64) -> Event {
    Event::MarkerReported { worker: WorkerId(worker), attempt: AttemptId(attempt) }
}

const fn reported(worker: u64, attempt: u64) -> Event {
    Event::AttemptReported { worker: WorkerId(worker), attempt: AttemptId(attempt) }
}

const fn verified(attempt: u64) -> Event {
    Event::ResultVerified { attempt: AttemptId(attempt) }
}

fn rejected(attempt: u64) -> Event {
    Event::ResultRejected { attempt: AttemptId(attempt), reason: "wrong".to_owned() }
}

fn failed(worker: u64, attempt: u64) -> Event {
    Event::AttemptFailed { worker: WorkerId(worker), attempt: AttemptId(attempt), failure: broken() }
}

fn broken() -> Failure {
    Failure::Worker("broken".to_owned())
}

const fn assign(worker: u64, attempt: u64, proof: u64, task: u64) -> Command {
    assign_kind(worker, attempt, proof, task, SHARD)
}

const fn assign_kind(worker: u64, attempt: u64, proof: u64, task: u64, kind: TaskKind) -> Command {
    Command::Assign {
        worker: WorkerId(worker),
        attempt: AttemptId(attempt),
        proof: ProofId(proof),
        task: TaskId(task),
        kind,
    }
}

const fn cancel(worker: u64, attempt: u64) -> Command {
    Command::Cancel { worker: WorkerId(worker), attempt: AttemptId(attempt) }
}

const fn discard(attempt: u64) -> Command {
    Command::Discard { attempt: AttemptId(attempt) }
}

const fn accept(worker: u64, attempt: u64, proof: u64, task: u64) -> Command {
    Command::AcceptResult {
        proof: ProofId(proof),
        task: TaskId(task),
        attempt: AttemptId(attempt),
        worker: WorkerId(worker),
    }
}

const fn complete_marker(proof: u64, marker: u64, attempt: u64) -> Command {
    Command::CompleteMarker { proof: ProofId(proof), marker: TaskId(marker), attempt: AttemptId(attempt) }
}

const fn expire(worker: u64) -> Command {
    Command::ExpireWorker { worker: WorkerId(worker) }
}

/// The failure of a proof because its shard `task` failed.
const fn fail_proof(proof: u64, task: u64, history: Vec<PastAttempt>) -> Command {
    Command::FailProof { proof: ProofId(proof), task: TaskId(task), kind: SHARD, history }
}

/// A past attempt that ended at the time it was assigned.
const fn past(attempt: u64, worker: u64, failure: Failure) -> PastAttempt {
    let (attempt, duration) = (AttemptId(attempt), Duration::ZERO);
    PastAttempt { attempt, worker: WorkerId(worker), peer: PeerId(worker), duration, failure }
}
