//! A digest that differs between different runs.

use crate::{invariant::SimStep, scenario::mixed};
use sp1d_scheduler::Command;

/// Digest of all commands of a run and their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunDigest(pub(crate) u64);

impl RunDigest {
    pub(crate) fn add(&mut self, step: &SimStep<'_>) {
        self.mix(u64::try_from(step.now.since_start().as_nanos()).unwrap_or(u64::MAX));
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
        Command::Assign { session, attempt, task, .. } => [1, session.0, attempt.0, task.0],
        Command::Cancel { session, attempt } => [2, session.0, attempt.0, 0],
        Command::CompleteMarker { try_id, marker, attempt } => [3, try_id.0, marker.0, attempt.0],
        Command::AcceptResult { task, attempt, session, .. } => [4, task.0, attempt.0, session.0],
        Command::Discard { attempt } => [5, attempt.0, 0, 0],
        Command::FailTry { try_id, task, .. } => [6, try_id.0, task.0, 0],
        Command::Continue { session, attempt } => [7, session.0, attempt.0, 0],
        Command::Quarantine { session, .. } => [8, session.0, 0, 0],
        Command::Probation { session, .. } => [9, session.0, 0, 0],
        Command::WorkerDrained { session } => [10, session.0, 0, 0],
        Command::EndSession { session } => [11, session.0, 0, 0],
    }
}
