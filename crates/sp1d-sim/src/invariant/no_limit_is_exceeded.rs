//! All bounds hold:
//! - A worker holds no more attempts than it has slots, and only tasks that it supports.
//! - A worker gets no task while it is drained or restarting its prover, and none of a kind for which it is
//!   quarantined.
//! - A worker gets one task at a time of a kind for which it is on probation. It may continue several attempts that it
//!   has started.
//! - A task does not return to a worker whose memory is too little according to workers of two origins.
//! - Histories, quarantines and the number of attempts do not exceed their limits.

use super::{
    live_attempts::LiveAttempts,
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{
    AttemptId, Command, Event, KindSet, OriginId, ReadyWorker, SessionId, TaskId, TaskKind, WorkerId,
};
use std::collections::BTreeMap;

/// Maximum number of history entries that the scheduler keeps per task.
const MAX_HISTORY: usize = 64;

/// Maximum number of attempts of one task. Stealing and draining have no limit of their own, but a world ends before
/// they cause this many attempts.
const MAX_ATTEMPTS: u32 = 200;

#[derive(Debug, Default)]
pub(crate) struct NoLimitIsExceeded {
    live_attempts: LiveAttempts,
    seats: BTreeMap<SessionId, Seat>,
    /// The worker of every session, including ended ones.
    workers: BTreeMap<SessionId, WorkerId>,
    probation: BTreeMap<WorkerId, KindSet>,
    attempts: BTreeMap<TaskId, u32>,
    /// The largest memory that was too small for a task, according to the workers of each origin.
    too_small: BTreeMap<TaskId, BTreeMap<OriginId, u64>>,
}

/// A connected worker.
#[derive(Debug)]
struct Seat {
    slots: usize,
    supported_kinds: KindSet,
    draining: bool,
    quarantined: KindSet,
    starting: bool,
    origin: OriginId,
    memory: u64,
}

impl NoLimitIsExceeded {
    fn note_event(&mut self, step: &SimStep<'_>) {
        match *step.event {
            Event::WorkerReady { session, ref ready, draining, .. } => {
                let ReadyWorker { worker, origin, comparable_bytes: memory, slots, supported_kinds, .. } = *ready;
                let slots = usize::try_from(slots.max(1)).unwrap_or(usize::MAX);
                let (quarantined, starting) = (KindSet::default(), false);
                let seat = Seat { slots, supported_kinds, draining, quarantined, starting, origin, memory };
                self.seats.entry(session).or_insert(seat);
                self.workers.entry(session).or_insert(worker);
            }
            Event::SessionEnded { session } => {
                self.seats.remove(&session);
            }
            Event::LastProverLost { session } | Event::FirstProverReady { session } => {
                if let Some(seat) = self.seats.get_mut(&session) {
                    seat.starting = matches!(step.event, Event::LastProverLost { .. });
                }
            }
            Event::AttemptFailed { session, attempt, ref failure }
                if failure.is_out_of_memory() && self.live_attempts.holder(attempt) == Some(session) =>
            {
                if let (Some(task), Some(seat)) = (self.live_attempts.task_of(attempt), self.seats.get(&session)) {
                    let known = self.too_small.entry(task).or_default().entry(seat.origin).or_default();
                    *known = seat.memory.max(*known);
                }
            }
            Event::DrainRequested { session } | Event::DrainCancelled { session } => {
                if let Some(seat) = self.seats.get_mut(&session) {
                    seat.draining = matches!(step.event, Event::DrainRequested { .. });
                }
            }
            _ => {}
        }
        self.live_attempts.on_event(step.event, step.now);
    }

    fn seat(&self, session: SessionId) -> Result<&Seat, String> {
        self.seats.get(&session).ok_or_else(|| format!("{session} is not connected"))
    }

    /// Returns the kinds for which the worker of `session` is on probation.
    fn on_probation(&self, session: SessionId) -> KindSet {
        self.workers.get(&session).and_then(|worker| self.probation.get(worker)).copied().unwrap_or_default()
    }

    /// Ends the probation of the worker of `session` for `kinds`.
    fn end_probation(&mut self, session: SessionId, kinds: KindSet) {
        if let Some(probation) = self.workers.get(&session).and_then(|worker| self.probation.get_mut(worker)) {
            *probation = probation.without(kinds);
        }
    }

    fn check_slots(&self, session: SessionId) -> Result<(), String> {
        let (held, slots) = (self.live_attempts.held_by(session), self.seat(session)?.slots);
        ensure(held <= slots, || format!("{session} holds {held} attempts, but has {slots} slots"))
    }

    /// Checks an assignment that `live_attempts` already contains.
    fn check_assigned(
        &mut self,
        session: SessionId,
        task: TaskId,
        kind: TaskKind,
        step: &SimStep<'_>,
    ) -> Result<(), String> {
        let seat = self.seat(session)?;
        ensure(seat.supported_kinds.contains(kind), || format!("{session} does not support {task}"))?;
        ensure(!seat.draining, || format!("{session} is drained, but gets {task}"))?;
        ensure(!seat.starting, || format!("{session} is restarting its prover, but gets {task}"))?;
        let claims = self.too_small.get(&task).into_iter().flat_map(BTreeMap::values);
        let is_confirmed = claims.filter(|memory| seat.memory <= **memory).count() >= 2;
        ensure(!is_confirmed, || format!("{session} has too little memory for {task}, but gets it"))?;
        ensure(!seat.quarantined.contains(kind), || format!("{session} is quarantined, but gets {task}"))?;
        self.check_slots(session)?;
        let is_of_kind = |task: &TaskId| step.plan.tasks.get(task).is_some_and(|task| task.kind == kind);
        let held = self.live_attempts.tasks_on(session).filter(is_of_kind).count();
        ensure(held == 1 || !self.on_probation(session).contains(kind), || {
            format!("{session} is on probation, but holds {held} attempts of {kind}")
        })?;
        let attempts = self.attempts.entry(task).or_default();
        *attempts += 1;
        let attempts = *attempts;
        ensure(attempts <= MAX_ATTEMPTS, || format!("{task} has had {attempts} attempts"))
    }

    fn check_command(&mut self, command: &Command, step: &SimStep<'_>) -> Result<(), String> {
        match *command {
            Command::Assign { session, task, kind, .. } => self.check_assigned(session, task, kind, step),
            Command::Continue { session, attempt } => self.check_continued(session, attempt),
            Command::AcceptResult { session, task, .. } => {
                if let Some(task) = step.plan.tasks.get(&task) {
                    self.end_probation(session, KindSet::only(task.kind));
                }
                Ok(())
            }
            Command::FailTry { task, ref history, .. } => {
                ensure(history.len() <= MAX_HISTORY, || format!("{task} has a history of {} entries", history.len()))
            }
            Command::Quarantine { session, kinds, duration, .. } => {
                let max_duration = step.config.quarantine.map(|rules| rules.max_duration);
                ensure(max_duration.is_some_and(|max| duration <= max), || {
                    format!("{session} is quarantined for {duration:?}, but the maximum is {max_duration:?}")
                })?;
                if let Some(seat) = self.seats.get_mut(&session) {
                    seat.quarantined = seat.quarantined.with(kinds);
                }
                self.end_probation(session, kinds);
                Ok(())
            }
            Command::Probation { session, kinds } => {
                if let Some(seat) = self.seats.get_mut(&session) {
                    seat.quarantined = seat.quarantined.without(kinds);
                }
                if let Some(worker) = self.workers.get(&session) {
                    let probation = self.probation.entry(*worker).or_default();
                    *probation = probation.with(kinds);
                }
                Ok(())
            }
            Command::WorkerDrained { session } => {
                let held = self.live_attempts.held_by(session);
                ensure(held == 0, || format!("{session} is reported as drained, but holds {held} attempts"))?;
                ensure(self.seat(session)?.draining, || {
                    format!("{session} is reported as drained, but is not draining")
                })
            }
            Command::EndSession { session } => {
                self.seats.remove(&session);
                Ok(())
            }
            Command::Cancel { .. } | Command::CompleteMarker { .. } | Command::Discard { .. } => Ok(()),
        }
    }

    fn check_continued(&self, session: SessionId, attempt: AttemptId) -> Result<(), String> {
        let of = self.live_attempts.task_of(attempt);
        ensure(of.is_some(), || format!("{session} continues {attempt}, which was never assigned"))?;
        self.check_slots(session)
    }
}

impl Invariant for NoLimitIsExceeded {
    fn name(&self) -> &'static str {
        "no limit is exceeded"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        self.note_event(step);
        step.commands.iter().try_for_each(|command| {
            self.live_attempts.on_command(command);
            self.check_command(command, step)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::{AttemptFailure, FailureKind};
    use std::time::Duration;

    /// Worker 1 has two slots and holds attempt 1.
    fn at_work() -> (Example, NoLimitIsExceeded) {
        let (example, mut invariant) = (Example::new(), NoLimitIsExceeded::default());
        let first = ready(1, 1, 2, [TaskKind::ProveShard].into_iter().collect());
        example.show(&mut invariant, &first, &[assign(1, 1, 1, 1)]).unwrap();
        (example, invariant)
    }

    const DRAIN: Event = Event::DrainRequested { session: SessionId(1) };

    fn quarantine(seconds: u64) -> Command {
        let (kinds, duration) = (KindSet::only(TaskKind::ProveShard), Duration::from_secs(seconds));
        Command::Quarantine { session: SessionId(1), kinds, duration, reason: String::new() }
    }

    #[test]
    fn more_attempts_than_slots_are_detected() {
        let (example, mut invariant) = at_work();
        let commands = [assign(1, 2, 1, 2), assign(1, 3, 2, 3)];
        assert_broken(example.show(&mut invariant, &Event::Tick, &commands), "has 2 slots");
        let continues = Command::Continue { session: SessionId(1), attempt: AttemptId(1) };
        assert_broken(example.show(&mut invariant, &Event::Tick, &[continues]), "has 2 slots");
    }

    #[test]
    fn an_unsupported_task_is_detected() {
        let (example, mut invariant) = at_work();
        let (session, attempt, try_id, task) = (SessionId(1), AttemptId(2), sp1d_scheduler::TryId(1), TaskId(2));
        let fold = Command::Assign { session, attempt, try_id, task, kind: TaskKind::RecursionReduce };
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fold]), "does not support");
    }

    #[test]
    fn a_task_for_a_disconnected_worker_is_detected() {
        let (example, mut invariant) = at_work();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(2, 2, 1, 2)]), "is not connected");
        let lost = Event::SessionEnded { session: SessionId(1) };
        assert_broken(example.show(&mut invariant, &lost, &[assign(1, 3, 1, 2)]), "is not connected");
    }

    #[test]
    fn a_task_for_a_drained_or_quarantined_worker_is_detected() {
        let (example, mut invariant) = at_work();
        let drained = Command::WorkerDrained { session: SessionId(1) };
        assert_broken(
            example.show(&mut invariant, &DRAIN, std::slice::from_ref(&drained)),
            "reported as drained, but holds 1",
        );
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(1, 2, 1, 2)]), "is drained");
        let resumed = Event::DrainCancelled { session: SessionId(1) };
        example.show(&mut invariant, &resumed, &[]).unwrap();
        let (example, mut invariant) = at_work();
        let commands = [quarantine(60), assign(1, 2, 1, 2)];
        assert_broken(example.show(&mut invariant, &Event::Tick, &commands), "is quarantined");
        let (example, mut invariant) = at_work();
        assert_broken(example.show(&mut invariant, &reported(1, 1), &[drained]), "but is not draining");
    }

    #[test]
    fn a_task_for_a_worker_that_restarts_its_prover_is_detected() {
        let (example, mut invariant) = at_work();
        let unready = Event::LastProverLost { session: SessionId(1) };
        assert_broken(example.show(&mut invariant, &unready, &[assign(1, 2, 1, 2)]), "is restarting its prover");
    }

    #[test]
    fn a_retry_with_too_little_memory_is_detected() {
        let (example, mut invariant) = at_work();
        let failed = |session, attempt| {
            let failure = AttemptFailure::Worker { kind: FailureKind::OutOfMemory, text: String::new() };
            Event::AttemptFailed { session: SessionId(session), attempt: AttemptId(attempt), failure }
        };
        let other = ready(2, 2, 2, KindSet::only(TaskKind::ProveShard));
        example.show(&mut invariant, &other, &[]).unwrap();
        // Another origin must confirm it.
        example.show(&mut invariant, &failed(1, 1), &[assign(2, 2, 1, 1)]).unwrap();
        assert_broken(example.show(&mut invariant, &failed(2, 2), &[assign(1, 3, 1, 1)]), "has too little memory");
    }

    #[test]
    fn a_second_task_on_probation_is_detected() {
        let (example, mut invariant) = at_work();
        example.show(&mut invariant, &reported(1, 1), &[quarantine(60)]).unwrap();
        let probation = Command::Probation { session: SessionId(1), kinds: KindSet::only(TaskKind::ProveShard) };
        example.show(&mut invariant, &Event::Tick, &[probation, assign(1, 2, 1, 1)]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(1, 3, 1, 2)]), "is on probation");
    }

    #[test]
    fn a_quarantine_above_the_maximum_is_detected() {
        let (example, mut invariant) = at_work();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[quarantine(3601)]), "the maximum is");
    }

    #[test]
    fn too_many_attempts_of_a_task_are_detected() {
        let (example, mut invariant) = at_work();
        let mut outcome = Ok(());
        for attempt in 2..300 {
            outcome = example.show(&mut invariant, &reported(1, attempt - 1), &[assign(1, attempt, 1, 1)]);
            if outcome.is_err() {
                break;
            }
        }
        assert_broken(outcome, "has had 201 attempts");
    }
}
