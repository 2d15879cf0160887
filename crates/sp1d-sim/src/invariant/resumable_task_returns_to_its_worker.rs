//! A worker that started a task for an earlier orchestrator gets the task if it supports the task, has a free slot, is
//! not excluded, and if the task has not started elsewhere.

use super::{
    live_attempts::LiveAttempts,
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{AttemptEndReason, AttemptId, Command, Event, PastAttempt, SessionId, TaskId, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};

#[derive(Debug, Default)]
pub(crate) struct ResumableTaskReturnsToItsWorker {
    /// The worker of every session, including ended ones.
    workers: BTreeMap<SessionId, WorkerId>,
    /// The sessions of trusted workers.
    trusted: BTreeSet<SessionId>,
    live_attempts: LiveAttempts,
}

impl ResumableTaskReturnsToItsWorker {
    /// Returns true if the task may exclude `session`, because of an attempt on it, because of its memory, or because
    /// its worker is not trusted.
    fn may_exclude(&self, task: TaskId, session: SessionId, step: &SimStep<'_>) -> bool {
        let of_try = step.plan.tasks.get(&task).and_then(|task| step.plan.tries.get(&task.try_id));
        if of_try.is_some_and(|entry| entry.trusted_only) && !self.trusted.contains(&session) {
            return true;
        }
        let worker = self.workers.get(&session);
        let excludes = |past: &PastAttempt| {
            past.reason.is_out_of_memory() || past.reason != AttemptEndReason::TakenBack && Some(&past.worker) == worker
        };
        step.scheduler.task_history(task).iter().any(excludes)
    }

    /// Returns true if `newest` is a speculative attempt: `task` has another attempt that has started.
    fn is_speculative(&self, task: TaskId, newest: AttemptId) -> bool {
        self.live_attempts
            .of_task(task)
            .any(|attempt| attempt != newest && self.live_attempts.started_at(attempt).is_some())
    }
}

impl Invariant for ResumableTaskReturnsToItsWorker {
    fn name(&self) -> &'static str {
        "a task goes to the worker that started it before a restart, if that worker supports it and has a free slot"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        self.live_attempts.on_event(step.event, step.now);
        step.commands.iter().for_each(|command| self.live_attempts.on_command(command));
        if let Event::WorkerReady { session, ready, .. } = step.event {
            if !self.workers.contains_key(session) && ready.trusted {
                self.trusted.insert(*session);
            }
            self.workers.entry(*session).or_insert(ready.worker);
        }
        let (session, resumable) = match step.event {
            Event::TaskSubmitted { task, resumable_on: Some(session), .. } => (*session, slice::from_ref(task)),
            Event::WorkerReady { session, resumable_tasks, .. } => (*session, &**resumable_tasks),
            _ => return Ok(()),
        };
        let Some(status) = step.scheduler.worker_status(session) else { return Ok(()) };
        step.commands.iter().try_for_each(|command| {
            let Command::Assign { session: other, attempt, task, kind, .. } = command else { return Ok(()) };
            // On probation, one attempt of the kind takes all room for it.
            let has_room = status.held < status.slots && !status.on_probation.contains(*kind);
            let should_be_its = resumable.contains(task) && status.available_kinds.contains(*kind) && has_room;
            let is_exempt = self.is_speculative(*task, *attempt) || self.may_exclude(*task, session, step);
            ensure(*other == session || !should_be_its || is_exempt, || {
                format!("{task} was assigned to {other}, but {session} has started it and has a free slot")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::{KindSet, TaskKind, TryId};

    #[test]
    fn assigning_a_started_task_to_another_worker_is_detected() {
        let (mut example, mut invariant) = (Example::new(), ResumableTaskReturnsToItsWorker::default());
        for session in [1, 2] {
            example.send_to_scheduler(ready(session, session, 1, KindSet::all()));
        }
        let (try_id, task, resumable_on) = (TryId(1), TaskId(1), Some(SessionId(2)));
        let event = Event::TaskSubmitted { try_id, task, kind: TaskKind::ProveShard, marker: None, resumable_on };
        assert_eq!(example.show(&mut invariant, &event, &[assign(2, 1, 1, 1)]), Ok(()));
        assert_broken(example.show(&mut invariant, &event, &[assign(1, 1, 1, 1)]), "has a free slot");
    }
}
