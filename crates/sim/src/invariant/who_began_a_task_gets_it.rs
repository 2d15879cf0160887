//! A worker that started a task for an earlier orchestrator gets the task if it supports the task and has a free slot.

use super::{Invariant, Step, ensure};
use scheduler::{Command, Event};
use std::slice;

#[derive(Debug, Default)]
pub(crate) struct WhoBeganATaskGetsIt;

impl Invariant for WhoBeganATaskGetsIt {
    fn name(&self) -> &'static str {
        "a task goes to the worker that started it before a restart, if that worker supports it and has a free slot"
    }

    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let (worker, begun) = match step.event {
            Event::TaskSubmitted { task, begun_on: Some(worker), .. } => (*worker, slice::from_ref(task)),
            Event::WorkerJoined { worker, begun, .. } => (*worker, &**begun),
            _ => return Ok(()),
        };
        let Some(status) = step.scheduler.worker_status(worker) else { return Ok(()) };
        step.commands.iter().try_for_each(|command| {
            let Command::Assign { worker: other, task, kind, .. } = command else { return Ok(()) };
            let should_be_its =
                begun.contains(task) && status.kinds.contains(*kind) && status.held.len() < status.slots;
            ensure(*other == worker || !should_be_its, || {
                format!("{task} was assigned to {other}, but {worker} has started it and has a free slot")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use scheduler::{KindSet, ProofId, TaskId, TaskKind, WorkerId};

    #[test]
    fn assigning_a_started_task_to_another_worker_is_detected() {
        let (mut example, mut invariant) = (Example::new(), WhoBeganATaskGetsIt);
        for worker in [1, 2] {
            example.really_tell(joined(worker, worker, 1, KindSet::all()));
        }
        let (proof, task, begun_on) = (ProofId(1), TaskId(1), Some(WorkerId(2)));
        let event = Event::TaskSubmitted { proof, task, kind: TaskKind::ProveShard, marker: None, begun_on };
        assert_eq!(example.show(&mut invariant, &event, &[assign(2, 1, 1, 1)]), Ok(()));
        assert_broken(example.show(&mut invariant, &event, &[assign(1, 1, 1, 1)]), "has a free slot");
    }
}
