//! The attempts of each task, from the events of a proof.

use serde::Serialize;
use sp1d_client::{AttemptInfo, EventRecord, Moment, ProofEvent};
use sp1d_model::{AttemptId, TaskKind};
use std::collections::BTreeMap;

/// The attempts of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ExplainedTask {
    pub(super) kind: TaskKind,
    pub(super) attempts: Vec<ExplainedAttempt>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ExplainedAttempt {
    pub(super) attempt: AttemptId,
    pub(super) worker: String,
    pub(super) step: ExplainedStep,
    /// When the attempt reached this step.
    pub(super) since: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExplainedStep {
    Assigned,
    Proving,
    Done,
    Failed(String),
    Dropped,
    /// The orchestrator took the attempt back from its worker.
    TakenBack,
    /// The attempt's worker was lost.
    Interrupted,
    /// The attempt's worker was lost, for this reason.
    Lost(String),
}

impl ExplainedStep {
    /// Returns true if the reason for which the worker was lost explains the end of the attempt.
    fn awaits_reason(&self) -> bool {
        matches!(self, Self::Assigned | Self::Proving | Self::Interrupted)
    }
}

/// Returns the attempts by task, since the proof last started or restarted.
pub(super) fn attempts_by_task(events: &[EventRecord]) -> BTreeMap<u64, ExplainedTask> {
    let mut tasks: BTreeMap<u64, ExplainedTask> = BTreeMap::new();
    for EventRecord { at, event, .. } in events {
        let (attempt, step) = match event {
            // A start discards all earlier tasks.
            ProofEvent::Started { .. } | ProofEvent::Restarted { .. } => {
                tasks.clear();
                continue;
            }
            ProofEvent::Assigned(attempt) => (attempt, ExplainedStep::Assigned),
            ProofEvent::Proving(attempt) => (attempt, ExplainedStep::Proving),
            ProofEvent::Done(attempt) => (attempt, ExplainedStep::Done),
            ProofEvent::AttemptFailed { attempt, reason } => (attempt, ExplainedStep::Failed(reason.clone())),
            ProofEvent::Dropped(attempt) => (attempt, ExplainedStep::Dropped),
            ProofEvent::TakenBack(attempt) => (attempt, ExplainedStep::TakenBack),
            ProofEvent::Continued(attempt) => (attempt, ExplainedStep::Assigned),
            // The reason for the loss of the worker comes in an event of its own, before or after this one.
            ProofEvent::Interrupted(attempt) if is_lost(&tasks, attempt) => continue,
            ProofEvent::Interrupted(attempt) => (attempt, ExplainedStep::Interrupted),
            // The worker may come back and continue the attempt. A later event then replaces this step.
            ProofEvent::WorkerLost { worker, reason } => {
                let attempts = tasks.values_mut().flat_map(|task| &mut task.attempts);
                for one in attempts.filter(|one| one.worker == *worker && one.step.awaits_reason()) {
                    (one.step, one.since) = (ExplainedStep::Lost(reason.clone()), *at);
                }
                continue;
            }
            _ => continue,
        };
        record(&mut tasks, attempt, step, *at);
    }
    tasks
}

/// Returns true if the reason for which the worker of `attempt` was lost is known.
fn is_lost(tasks: &BTreeMap<u64, ExplainedTask>, attempt: &AttemptInfo) -> bool {
    let mut attempts = tasks.get(&attempt.task.0).into_iter().flat_map(|task| &task.attempts);
    attempts.any(|known| known.attempt == attempt.attempt && matches!(known.step, ExplainedStep::Lost(_)))
}

fn record(tasks: &mut BTreeMap<u64, ExplainedTask>, attempt: &AttemptInfo, step: ExplainedStep, since: Moment) {
    let new = || ExplainedTask { kind: attempt.kind, attempts: Vec::new() };
    let task = tasks.entry(attempt.task.0).or_insert_with(new);
    match task.attempts.iter_mut().find(|known| known.attempt == attempt.attempt) {
        Some(known) => (known.step, known.since) = (step, since),
        None => {
            let (attempt, worker) = (attempt.attempt, attempt.worker.clone());
            task.attempts.push(ExplainedAttempt { attempt, worker, step, since });
        }
    }
}

/// Returns the entries of all tasks, or only the entry of task `only`.
pub(super) fn shown(
    attempts: &BTreeMap<u64, ExplainedTask>,
    only: Option<u64>,
) -> impl Iterator<Item = (u64, &ExplainedTask)> {
    attempts.iter().map(|(task, one)| (*task, one)).filter(move |(task, _)| only.is_none_or(|only| *task == only))
}
