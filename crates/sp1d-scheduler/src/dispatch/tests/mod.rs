//! Table tests: events in, commands out.

mod deferred_events_check;
mod drains;
mod reports;
mod resumed;
mod tries;

use super::{
    AttemptStep, ClaimHistory, DeferredClaim, DispatchCommand, DispatchEvent, DispatchState, ResultKey,
    ResumableAttempt,
};
use crate::{
    AttemptFailure, AttemptId, Event, FailureKind, KindSet, OriginId, ReadyWorker, SchedulerConfig, SessionId,
    ShardRoom, ShareGroup, TaskId, TaskKind, Timestamp, TryId, WorkerId,
};
use std::time::Duration;

/// A dispatch state machine and the clock of its driver.
struct Table {
    dispatch: DispatchState,
    now: Timestamp,
}

impl Table {
    fn new() -> Self {
        let config = SchedulerConfig { pace: None, quarantine: None, ..SchedulerConfig::default() };
        Self { dispatch: DispatchState::new(config), now: Timestamp::new(Duration::from_secs(10)) }
    }

    /// Sends `events` to the dispatch state machine and compares the returned commands with `expected`.
    #[track_caller]
    fn check(
        &mut self,
        events: impl IntoIterator<Item = DispatchEvent>,
        expected: impl IntoIterator<Item = DispatchCommand>,
    ) {
        let commands = self.send(events);
        let expected: Vec<DispatchCommand> = expected.into_iter().collect();
        assert_eq!(commands, expected);
    }

    /// Sends `events` to the dispatch state machine and returns its commands, for tests that do not check all of them.
    fn send(&mut self, events: impl IntoIterator<Item = DispatchEvent>) -> Vec<DispatchCommand> {
        let mut commands = Vec::new();
        for event in events {
            commands.extend(self.dispatch.handle(self.now, event));
            self.dispatch.scheduler().check_invariants();
            self.dispatch.check_invariants();
        }
        commands
    }
}

const SHARD: TaskKind = TaskKind::ProveShard;

fn new_try(try_id: u64) -> DispatchEvent {
    let claims = ClaimHistory::default();
    DispatchEvent::TryStarted { try_id: TryId(try_id), group: ShareGroup(0), claims, trusted_only: false }
}

/// A try that compares claims. In an earlier try, the workers `before` made the claims beside them for the shard.
fn comparing(try_id: u64, before: &[(u8, u64)]) -> DispatchEvent {
    let mut claims = ClaimHistory::default();
    claims.start_comparing();
    for (claimed, worker) in before {
        claims.record(&claim(*claimed), WorkerId(*worker), OriginId(u128::from(*worker)));
    }
    DispatchEvent::TryStarted { try_id: TryId(try_id), group: ShareGroup(0), claims, trusted_only: false }
}

const fn ended(try_id: u64) -> DispatchEvent {
    DispatchEvent::TryEnded { try_id: TryId(try_id) }
}

const fn task(try_id: u64, task: u64) -> DispatchEvent {
    DispatchEvent::TaskSubmitted { try_id: TryId(try_id), task: TaskId(task), kind: SHARD, marker: None, key: None }
}

/// A task whose results are cached under `key`.
const fn keyed(try_id: u64, task: u64, key: u8) -> DispatchEvent {
    let (try_id, task, key) = (TryId(try_id), TaskId(task), Some(ResultKey([key; 32])));
    DispatchEvent::TaskSubmitted { try_id, task, kind: SHARD, marker: None, key }
}

const fn marked(try_id: u64, task: u64, marker: u64) -> DispatchEvent {
    let (try_id, task, marker) = (TryId(try_id), TaskId(task), Some(TaskId(marker)));
    DispatchEvent::TaskSubmitted { try_id, task, kind: SHARD, marker, key: None }
}

fn ready(session: u64) -> DispatchEvent {
    ready_with(session, session, &[], &[])
}

/// `worker` is ready in the new `session` with one slot. It holds the attempts `holds`. For each pair of a key and an
/// attempt in `can_resume`, it can resume that attempt from before the orchestrator restarted.
fn ready_with(session: u64, worker: u64, holds: &[u64], can_resume: &[(u8, u64)]) -> DispatchEvent {
    let resumable =
        |(key, attempt): &(u8, u64)| ResumableAttempt { key: ResultKey([*key; 32]), attempt: AttemptId(*attempt) };
    let ready = ReadyWorker {
        worker: WorkerId(worker),
        origin: OriginId(u128::from(worker)),
        trusted: false,
        comparable_bytes: 0,
        shard_room: ShardRoom::Unknown,
        slots: 1,
        supported_kinds: KindSet::all(),
        holds: holds.iter().copied().map(AttemptId).collect(),
    };
    let resumable_attempts = can_resume.iter().map(resumable).collect();
    DispatchEvent::WorkerReady { session: SessionId(session), ready, resumable_attempts }
}

const fn lost(session: u64) -> DispatchEvent {
    DispatchEvent::SessionEnded { session: SessionId(session) }
}

const fn draining(session: u64) -> DispatchEvent {
    DispatchEvent::DrainRequested { session: SessionId(session), is_connected: true }
}

const fn draining_after_its_end(session: u64) -> DispatchEvent {
    DispatchEvent::DrainRequested { session: SessionId(session), is_connected: false }
}

const fn drain_cancelled(session: u64) -> DispatchEvent {
    DispatchEvent::DrainCancelled { session: SessionId(session) }
}

const fn not_sent(attempt: u64) -> DispatchEvent {
    DispatchEvent::AssignmentFailed { attempt: AttemptId(attempt) }
}

const fn started(session: u64, attempt: u64) -> DispatchEvent {
    DispatchEvent::AttemptStarted { session: SessionId(session), attempt: AttemptId(attempt) }
}

const fn delivered(session: u64, attempt: u64) -> DispatchEvent {
    DispatchEvent::ResultDelivered { session: SessionId(session), attempt: AttemptId(attempt) }
}

fn failed(session: u64, attempt: u64) -> DispatchEvent {
    failed_with(session, attempt, FailureKind::Engine, "broken")
}

fn failed_with(session: u64, attempt: u64, kind: FailureKind, text: &str) -> DispatchEvent {
    let (session, attempt) = (SessionId(session), AttemptId(attempt));
    DispatchEvent::AttemptFailed { session, attempt, kind, text: text.to_owned() }
}

const fn events_uploaded(session: u64, attempt: u64) -> DispatchEvent {
    let (session, attempt) = (SessionId(session), AttemptId(attempt));
    DispatchEvent::DeferredEventsUploaded { session, attempt, has_list: true }
}

/// The claim number `number`. All claims are about the same shard.
fn claim(number: u8) -> DeferredClaim {
    DeferredClaim { shard: [0; 32], events: vec![[number; 32]], has_name_conflict: false }
}

fn events_passed(attempt: u64) -> DispatchEvent {
    claimed(attempt, claim(1))
}

/// The deferred events of `attempt` passed their check.
const fn claimed(attempt: u64, claim: DeferredClaim) -> DispatchEvent {
    DispatchEvent::DeferredEventsChecked { attempt: AttemptId(attempt), outcome: Ok(claim) }
}

fn events_wrong(attempt: u64) -> DispatchEvent {
    DispatchEvent::DeferredEventsChecked { attempt: AttemptId(attempt), outcome: Err("malformed".to_owned()) }
}

const fn check_delayed(attempt: u64) -> DispatchEvent {
    DispatchEvent::CheckDelayed { attempt: AttemptId(attempt) }
}

const fn passed(attempt: u64) -> DispatchEvent {
    DispatchEvent::ResultChecked { attempt: AttemptId(attempt), outcome: Ok(()) }
}

fn wrong(attempt: u64) -> DispatchEvent {
    DispatchEvent::ResultChecked { attempt: AttemptId(attempt), outcome: Err("wrong".to_owned()) }
}

/// The two commands for a new attempt.
fn assign(session: u64, attempt: u64, try_id: u64, task: u64, resumes: Option<u64>) -> [DispatchCommand; 2] {
    let (try_id, resumes) = (TryId(try_id), resumes.map(AttemptId));
    let command = DispatchCommand::Assign {
        session: SessionId(session),
        attempt: AttemptId(attempt),
        try_id,
        task: TaskId(task),
        resumes,
    };
    [command, step(task, attempt, session, AttemptStep::Assigned)]
}

const fn step(task: u64, attempt: u64, session: u64, step: AttemptStep) -> DispatchCommand {
    let (task, attempt, session) = (TaskId(task), AttemptId(attempt), SessionId(session));
    DispatchCommand::PublishStep { task, attempt, session, step }
}

fn step_failed(task: u64, attempt: u64, session: u64, reason: &str) -> DispatchCommand {
    step(task, attempt, session, AttemptStep::Failed(reason.to_owned()))
}

const fn interrupted(task: u64, attempt: u64, session: u64) -> DispatchCommand {
    step(task, attempt, session, AttemptStep::Interrupted)
}

/// The two commands for an attempt that is taken back from its worker.
const fn take_back(task: u64, attempt: u64, session: u64) -> [DispatchCommand; 2] {
    [cancel(session, attempt), step(task, attempt, session, AttemptStep::TakenBack)]
}

const fn cancel(session: u64, attempt: u64) -> DispatchCommand {
    DispatchCommand::Cancel { session: SessionId(session), attempt: AttemptId(attempt) }
}

const fn continue_attempt(session: u64, attempt: u64) -> DispatchCommand {
    DispatchCommand::Continue { session: SessionId(session), attempt: AttemptId(attempt) }
}

/// The two commands for an interrupted attempt that continues.
const fn continued(task: u64, attempt: u64, session: u64) -> [DispatchCommand; 2] {
    [continue_attempt(session, attempt), step(task, attempt, session, AttemptStep::Continued)]
}

const fn check_deferred_events(attempt: u64, task: u64) -> DispatchCommand {
    DispatchCommand::CheckDeferredEvents { attempt: AttemptId(attempt), task: TaskId(task) }
}

const fn complete_marker(try_id: u64, marker: u64, task: u64, attempt: u64) -> DispatchCommand {
    let (try_id, marker, task) = (TryId(try_id), TaskId(marker), TaskId(task));
    DispatchCommand::CompleteMarker { try_id, marker, task, attempt: AttemptId(attempt) }
}

const fn check_result(attempt: u64, task: u64) -> DispatchCommand {
    DispatchCommand::CheckResult { attempt: AttemptId(attempt), task: TaskId(task) }
}

/// The two commands for an accepted result.
const fn accept(session: u64, attempt: u64, try_id: u64, task: u64) -> [DispatchCommand; 2] {
    let command = DispatchCommand::AcceptResult {
        try_id: TryId(try_id),
        task: TaskId(task),
        attempt: AttemptId(attempt),
        session: SessionId(session),
    };
    [step(task, attempt, session, AttemptStep::Done), command]
}

const fn discard(attempt: u64) -> DispatchCommand {
    DispatchCommand::Discard { attempt: AttemptId(attempt) }
}

/// The two commands for a discarded attempt of an open task.
const fn dropped(task: u64, attempt: u64, session: u64) -> [DispatchCommand; 2] {
    [step(task, attempt, session, AttemptStep::Dropped), discard(attempt)]
}

const fn end_drain_wait(session: u64) -> DispatchCommand {
    DispatchCommand::EndDrainWait { session: SessionId(session) }
}

/// Joins several lists of commands.
fn all(lists: &[&[DispatchCommand]]) -> Vec<DispatchCommand> {
    lists.concat()
}
