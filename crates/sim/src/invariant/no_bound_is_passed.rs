//! All bounds hold:
//! - A worker holds no more attempts than it has slots, and only tasks that it supports.
//! - A worker gets no task while it is drained, quarantined or restarting its prover, and only one while on probation.
//! - A task does not return to a worker with too little memory.
//! - Histories, quarantines and the number of attempts do not exceed their limits.

use super::{Invariant, Step, books::Books, ensure};
use scheduler::{AttemptId, Command, Event, Failure, KindSet, PeerId, TaskId, TaskKind, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of history entries that the scheduler keeps per task.
const MOST_HISTORY: usize = 64;

/// Maximum number of attempts of one task. Stealing and draining have no limit of their own, but a world ends before
/// they cause this many attempts.
const MOST_ATTEMPTS: u32 = 200;

#[derive(Debug, Default)]
pub(crate) struct NoBoundIsPassed {
    books: Books,
    seats: BTreeMap<WorkerId, Seat>,
    /// The peer of every session, including ended ones.
    peers: BTreeMap<WorkerId, PeerId>,
    probation: BTreeSet<PeerId>,
    attempts: BTreeMap<TaskId, u32>,
    /// The largest memory that was too small for a task.
    too_small: BTreeMap<TaskId, Option<u64>>,
}

/// A connected worker.
#[derive(Debug)]
struct Seat {
    slots: usize,
    kinds: KindSet,
    draining: bool,
    quarantined: bool,
    starting: bool,
    memory: u64,
}

impl NoBoundIsPassed {
    fn note_event(&mut self, step: &Step<'_>) {
        match *step.event {
            Event::WorkerJoined { worker, peer, memory_bytes: memory, slots, kinds, .. } => {
                let slots = usize::try_from(slots.max(1)).unwrap_or(usize::MAX);
                let seat = Seat { slots, kinds, draining: false, quarantined: false, starting: false, memory };
                self.seats.entry(worker).or_insert(seat);
                self.peers.entry(worker).or_insert(peer);
            }
            Event::WorkerLost { worker } => {
                self.seats.remove(&worker);
            }
            Event::WorkerUnready { worker } | Event::WorkerReady { worker } => {
                if let Some(seat) = self.seats.get_mut(&worker) {
                    seat.starting = matches!(step.event, Event::WorkerUnready { .. });
                }
            }
            Event::AttemptFailed { worker, attempt, failure: Failure::OutOfMemory(_) }
                if self.books.holder(attempt) == Some(worker) =>
            {
                let memory = self.seats.get(&worker).map(|seat| seat.memory);
                if let Some(task) = self.books.task_of(attempt) {
                    let known = self.too_small.entry(task).or_default();
                    *known = (*known).max(memory);
                }
            }
            Event::WorkerDraining { worker } | Event::WorkerResumed { worker } => {
                if let Some(seat) = self.seats.get_mut(&worker) {
                    seat.draining = matches!(step.event, Event::WorkerDraining { .. });
                }
            }
            _ => {}
        }
        self.books.on_event(step.event, step.now);
    }

    fn seat(&self, worker: WorkerId) -> Result<&Seat, String> {
        self.seats.get(&worker).ok_or_else(|| format!("{worker} is not connected"))
    }

    fn on_probation(&self, worker: WorkerId) -> bool {
        self.peers.get(&worker).is_some_and(|peer| self.probation.contains(peer))
    }

    fn check_slots(&self, worker: WorkerId) -> Result<(), String> {
        let (held, slots) = (self.books.held_by(worker), self.seat(worker)?.slots);
        ensure(held <= slots, || format!("{worker} holds {held} attempts, but has {slots} slots"))
    }

    /// Checks an assignment that `books` already contains.
    fn check_assigned(&mut self, worker: WorkerId, task: TaskId, kind: TaskKind) -> Result<(), String> {
        let seat = self.seat(worker)?;
        ensure(seat.kinds.contains(kind), || format!("{worker} does not support {task}"))?;
        ensure(!seat.draining, || format!("{worker} is drained, but gets {task}"))?;
        ensure(!seat.starting, || format!("{worker} is restarting its prover, but gets {task}"))?;
        let too_small = self.too_small.get(&task).copied().flatten().filter(|memory| seat.memory <= *memory);
        ensure(too_small.is_none(), || format!("{worker} has too little memory for {task}, but gets it"))?;
        ensure(!seat.quarantined, || format!("{worker} is quarantined, but gets {task}"))?;
        self.check_slots(worker)?;
        let held = self.books.held_by(worker);
        ensure(held == 1 || !self.on_probation(worker), || {
            format!("{worker} is on probation, but holds {held} attempts")
        })?;
        let attempts = self.attempts.entry(task).or_default();
        *attempts += 1;
        let attempts = *attempts;
        ensure(attempts <= MOST_ATTEMPTS, || format!("{task} has had {attempts} attempts"))
    }

    fn check_command(&mut self, command: &Command, step: &Step<'_>) -> Result<(), String> {
        match *command {
            Command::Assign { worker, task, kind, .. } => self.check_assigned(worker, task, kind),
            Command::Adopt { worker, attempt } => self.check_adopted(worker, attempt),
            Command::AcceptResult { worker, .. } => {
                if let Some(peer) = self.peers.get(&worker) {
                    self.probation.remove(peer);
                }
                Ok(())
            }
            Command::FailProof { task, ref history, .. } => {
                ensure(history.len() <= MOST_HISTORY, || format!("{task} has a history of {} entries", history.len()))
            }
            Command::Quarantine { worker, duration, .. } => {
                let longest = step.config.quarantine.map(|rules| rules.longest);
                ensure(longest.is_some_and(|longest| duration <= longest), || {
                    format!("{worker} is quarantined for {duration:?}, but the maximum is {longest:?}")
                })?;
                if let Some(seat) = self.seats.get_mut(&worker) {
                    seat.quarantined = true;
                }
                if let Some(peer) = self.peers.get(&worker) {
                    self.probation.remove(peer);
                }
                Ok(())
            }
            Command::Probation { worker } => {
                if let Some(seat) = self.seats.get_mut(&worker) {
                    seat.quarantined = false;
                }
                self.probation.extend(self.peers.get(&worker));
                Ok(())
            }
            Command::WorkerDrained { worker } => {
                let held = self.books.held_by(worker);
                ensure(held == 0, || format!("{worker} is reported as drained, but holds {held} attempts"))?;
                ensure(self.seat(worker)?.draining, || format!("{worker} is reported as drained, but is not draining"))
            }
            Command::ExpireWorker { worker } => {
                self.seats.remove(&worker);
                Ok(())
            }
            Command::Cancel { .. } | Command::CompleteMarker { .. } | Command::Discard { .. } => Ok(()),
        }
    }

    fn check_adopted(&self, worker: WorkerId, attempt: AttemptId) -> Result<(), String> {
        let of = self.books.task_of(attempt);
        ensure(of.is_some(), || format!("{worker} continues {attempt}, which was never assigned"))?;
        self.check_slots(worker)
    }
}

impl Invariant for NoBoundIsPassed {
    fn name(&self) -> &'static str {
        "no limit is exceeded"
    }

    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        self.note_event(step);
        step.commands.iter().try_for_each(|command| {
            self.books.on_command(command);
            self.check_command(command, step)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use std::time::Duration;

    /// Worker 1 has two slots and holds attempt 1.
    fn at_work() -> (Example, NoBoundIsPassed) {
        let (example, mut invariant) = (Example::new(), NoBoundIsPassed::default());
        let joins = joined(1, 1, 2, [TaskKind::ProveShard].into_iter().collect());
        example.show(&mut invariant, &joins, &[assign(1, 1, 1, 1)]).unwrap();
        (example, invariant)
    }

    const DRAIN: Event = Event::WorkerDraining { worker: WorkerId(1) };

    fn quarantine(seconds: u64) -> Command {
        let duration = Duration::from_secs(seconds);
        Command::Quarantine { worker: WorkerId(1), duration, reason: String::new() }
    }

    #[test]
    fn more_attempts_than_slots_are_detected() {
        let (example, mut invariant) = at_work();
        let commands = [assign(1, 2, 1, 2), assign(1, 3, 2, 3)];
        assert_broken(example.show(&mut invariant, &Event::Tick, &commands), "has 2 slots");
        let adopt = Command::Adopt { worker: WorkerId(1), attempt: AttemptId(1) };
        assert_broken(example.show(&mut invariant, &Event::Tick, &[adopt]), "has 2 slots");
    }

    #[test]
    fn an_unsupported_task_is_detected() {
        let (example, mut invariant) = at_work();
        let (worker, attempt, proof, task) = (WorkerId(1), AttemptId(2), scheduler::ProofId(1), TaskId(2));
        let fold = Command::Assign { worker, attempt, proof, task, kind: TaskKind::RecursionReduce };
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fold]), "does not support");
    }

    #[test]
    fn a_task_for_a_disconnected_worker_is_detected() {
        let (example, mut invariant) = at_work();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(2, 2, 1, 2)]), "is not connected");
        let lost = Event::WorkerLost { worker: WorkerId(1) };
        assert_broken(example.show(&mut invariant, &lost, &[assign(1, 3, 1, 2)]), "is not connected");
    }

    #[test]
    fn a_task_for_a_drained_or_quarantined_worker_is_detected() {
        let (example, mut invariant) = at_work();
        let drained = Command::WorkerDrained { worker: WorkerId(1) };
        assert_broken(
            example.show(&mut invariant, &DRAIN, std::slice::from_ref(&drained)),
            "reported as drained, but holds 1",
        );
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(1, 2, 1, 2)]), "is drained");
        let resumed = Event::WorkerResumed { worker: WorkerId(1) };
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
        let unready = Event::WorkerUnready { worker: WorkerId(1) };
        assert_broken(example.show(&mut invariant, &unready, &[assign(1, 2, 1, 2)]), "is restarting its prover");
    }

    #[test]
    fn a_retry_with_too_little_memory_is_detected() {
        let (example, mut invariant) = at_work();
        let (worker, attempt, failure) = (WorkerId(1), AttemptId(1), Failure::OutOfMemory(String::new()));
        let failed = Event::AttemptFailed { worker, attempt, failure };
        assert_broken(example.show(&mut invariant, &failed, &[assign(1, 2, 1, 1)]), "has too little memory");
    }

    #[test]
    fn a_second_task_on_probation_is_detected() {
        let (example, mut invariant) = at_work();
        example.show(&mut invariant, &reported(1, 1), &[quarantine(60)]).unwrap();
        let probation = Command::Probation { worker: WorkerId(1) };
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
