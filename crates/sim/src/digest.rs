//! A digest that differs between different runs.

use crate::{dice::mixed, invariant::Step};
use scheduler::Command;

/// Digest of all commands of a run and their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) fn add(&mut self, step: &Step<'_>) {
        self.mix(u64::try_from(step.now.since_origin().as_nanos()).unwrap_or(u64::MAX));
        for command in step.commands {
            numbers(command).into_iter().for_each(|number| self.mix(number));
        }
    }

    const fn mix(&mut self, number: u64) {
        self.0 = mixed(self.0 ^ number);
    }
}

const fn numbers(command: &Command) -> [u64; 4] {
    match command {
        Command::Assign { worker, attempt, task, .. } => [1, worker.0, attempt.0, task.0],
        Command::Cancel { worker, attempt } => [2, worker.0, attempt.0, 0],
        Command::CompleteMarker { proof, marker, attempt } => [3, proof.0, marker.0, attempt.0],
        Command::AcceptResult { task, attempt, worker, .. } => [4, task.0, attempt.0, worker.0],
        Command::Discard { attempt } => [5, attempt.0, 0, 0],
        Command::FailProof { proof, task, .. } => [6, proof.0, task.0, 0],
        Command::Adopt { worker, attempt } => [7, worker.0, attempt.0, 0],
        Command::Quarantine { worker, .. } => [8, worker.0, 0, 0],
        Command::Probation { worker } => [9, worker.0, 0, 0],
        Command::WorkerDrained { worker } => [10, worker.0, 0, 0],
        Command::ExpireWorker { worker } => [11, worker.0, 0, 0],
    }
}
