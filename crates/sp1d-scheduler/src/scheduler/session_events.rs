//! How workers become ready, renew their leases, drain and disconnect.

use super::state_machine::Scheduler;
use crate::{
    AttemptEndReason, AttemptId, Command, KindSet, ReadyWorker, SessionId, TaskId, TaskKind, Timestamp, WorkerId,
    tasks::{AttemptState, Loss, TaskState},
    workers::WorkerFault,
};
use std::{collections::BTreeSet, time::Duration};

/// The fault of a worker whose last prover ended while its tasks waited.
const PROVER_ENDED: &str = "its prover ended before it started any of its tasks";

/// Whether an attempt that returns with its worker is expected to end earlier than the attempt that replaced it.
enum ReturnComparison {
    /// It is expected to end earlier, or that is unknown, or the other one has not started.
    Earlier,
    /// It has started, and is expected to end later.
    Later,
    /// It never started.
    NeverStarted,
}

impl Scheduler {
    pub(super) fn on_worker_ready(
        &mut self,
        session: SessionId,
        ready: &ReadyWorker,
        draining: bool,
        commands: &mut Vec<Command>,
    ) {
        let worker = ready.worker;
        if self.sessions.contains(session) {
            return;
        }
        if let Some(earlier) = self.workers.connect(worker, ready.origin, session)
            && self.sessions.contains(earlier)
        {
            self.on_session_ended(earlier, commands);
            commands.push(Command::EndSession { session: earlier });
        }
        self.sessions.insert(session, ready, self.paces_of(worker));
        self.memory_waits_are_stale = true;
        self.exclude_from_claimed_tasks(worker, ready.comparable_bytes);
        self.apply_standing(session, worker);
        if draining {
            self.sessions.set_draining(session, true);
        }
        self.on_lease_renewed(session);
        // The set removes duplicates from the worker's message.
        let held: BTreeSet<AttemptId> = ready.holds.iter().copied().collect();
        let has_started = |id: &AttemptId| self.attempts.get(id).is_some_and(|found| found.proving_since.is_some());
        // The started attempts come first. A quarantined worker continues them, which ends a quarantine that its loss
        // started. Then it may continue the others, too.
        let (started, others): (Vec<AttemptId>, Vec<AttemptId>) = held.into_iter().partition(has_started);
        for attempt in started.into_iter().chain(others) {
            if !self.continue_attempt(session, worker, attempt, commands) {
                commands.push(Command::Cancel { session, attempt });
            }
        }
        self.workers.keep_loss(worker);
        self.report_quarantines(session, worker, commands);
    }

    fn paces_of(&self, worker: WorkerId) -> [Duration; TaskKind::ALL.len()] {
        let known = self.workers.get(worker).map(|known| known.paces);
        TaskKind::ALL.map(|kind| known.and_then(|paces| paces.expected(kind)).unwrap_or_default())
    }

    /// Continues attempt `id` of an earlier session of `worker`, if its task still needs it: if the task waits; or if
    /// the task relies on an attempt that replaced `id`, and `id` has started. In the second case, the other attempt is
    /// cancelled if `id` is expected to end earlier. Undoes the loss of the worker if it was lost with `id`. Returns
    /// false if the attempt is not continued.
    fn continue_attempt(
        &mut self,
        session: SessionId,
        worker: WorkerId,
        id: AttemptId,
        commands: &mut Vec<Command>,
    ) -> bool {
        let found = self.sessions.get(session).expect("the worker was inserted before");
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| attempt.worker == worker) else {
            return false;
        };
        // The worker held a started attempt before, so probation does not count for it.
        let has_slot =
            if attempt.proving_since.is_some() { found.has_room() } else { found.has_free_slot(attempt.kind) };
        if !has_slot {
            return false;
        }
        let may_start = !found.quarantined().contains(attempt.kind) && !found.is_draining();
        let task = attempt.task;
        // The worker may have been trusted in its earlier session only.
        if self.task(task).excluded.excludes_trust(found.is_trusted()) {
            return false;
        }
        let is_useful = !attempt.overdue && !attempt.failed && (may_start || attempt.proving_since.is_some());
        if attempt.state != AttemptState::Lapsed || !is_useful || self.try_of(self.task(task)).failed {
            return false;
        }
        // Set the state first: the calls below may forget lapsed attempts, and `id` must not be among them.
        let started = attempt.proving_since.map(|_| self.clock.now());
        let found = self.attempt_mut(id);
        let earlier = found.session;
        (found.session, found.state) = (session, AttemptState::Held { started });
        match self.task(task).state {
            TaskState::Waiting { .. } => {
                self.leave_queue(task);
                self.task_mut(task).state = TaskState::Held(id);
            }
            TaskState::Held(other) if self.task(task).second_live.is_none() => match self.compare_return(id, other) {
                ReturnComparison::Earlier => {
                    commands.push(Command::Cancel { session: self.attempt(other).session, attempt: other });
                    self.lapse(other, commands);
                    self.task_mut(task).state = TaskState::Held(id);
                }
                ReturnComparison::Later => self.task_mut(task).second_live = Some(id),
                ReturnComparison::NeverStarted => return self.undo_continuation(id, earlier),
            },
            TaskState::Held(_) | TaskState::Verifying(_) | TaskState::TryFailed | TaskState::Accepted(_) => {
                return self.undo_continuation(id, earlier);
            }
        }
        let loss = std::mem::take(&mut self.attempt_mut(id).lost);
        if loss != Loss::None {
            self.task_mut(task).undo_loss(id, worker, loss);
            for other in self.workers.undo_loss(worker) {
                if let Some(scheduled) = self.tasks.get_mut(&other) {
                    scheduled.remove_loss_fault(worker);
                }
            }
            self.apply_standing(session, worker);
        }
        self.take_slot(session, id);
        self.update_stealable_of(session, id);
        if started.is_some() {
            self.start_watching(id);
            if self.task(task).second_live == Some(id) {
                self.watch.end_straggling(id);
            }
        }
        commands.push(Command::Continue { session, attempt: id });
        true
    }

    /// Undoes the continuation of `id`. Returns false.
    fn undo_continuation(&mut self, id: AttemptId, earlier: SessionId) -> bool {
        let attempt = self.attempt_mut(id);
        (attempt.session, attempt.state) = (earlier, AttemptState::Lapsed);
        false
    }

    /// Compares `id`, which would continue, with `other`, which replaced it. `id` started earlier, so it counts as
    /// earlier if the expected durations are unknown.
    fn compare_return(&self, id: AttemptId, other: AttemptId) -> ReturnComparison {
        let Some(proving_since) = self.attempt(id).proving_since else { return ReturnComparison::NeverStarted };
        let AttemptState::Held { started: Some(_) } = self.attempt(other).state else {
            return ReturnComparison::Earlier;
        };
        let end = |id: AttemptId, proving_since: Timestamp| {
            let attempt = self.attempt(id);
            let expected = self.workers.get(attempt.worker)?.paces.expected(attempt.kind)?;
            Some(proving_since + expected)
        };
        let ends = end(id, proving_since)
            .zip(self.attempt(other).proving_since.and_then(|proving_since| end(other, proving_since)));
        if ends.is_none_or(|(own, others)| own <= others) { ReturnComparison::Earlier } else { ReturnComparison::Later }
    }

    pub(super) fn on_lease_renewed(&mut self, session: SessionId) {
        if self.sessions.contains(session) {
            self.leases.set(session, self.clock.lease_time() + self.config.lease_ttl);
        }
    }

    /// Removes `session` and requeues the tasks that it holds. Results that it has already delivered are still
    /// verified.
    ///
    /// If some attempts had started, only these are counted as losses, because they most likely caused the loss. If
    /// none had started, all are counted, because fetching inputs can also crash a worker.
    pub(super) fn on_session_ended(&mut self, session: SessionId, commands: &mut Vec<Command>) {
        let Some(found) = self.sessions.get(session) else { return };
        let (held, worker) = (found.held().clone(), found.worker());
        let replaceable_kinds: KindSet =
            TaskKind::ALL.into_iter().filter(|kind| self.has_other_worker_for(*kind, session)).collect();
        let is_started = |id: &AttemptId| self.attempt(*id).is_started();
        let proved: Vec<TaskId> = held.iter().copied().filter(is_started).map(|id| self.attempt(id).task).collect();
        let suspects: BTreeSet<AttemptId> =
            held.iter().copied().filter(|id| proved.is_empty() || is_started(id)).collect();
        for attempt in held {
            let task = self.attempt(attempt).task;
            let past = self.history_entry(attempt, AttemptEndReason::WorkerLost);
            self.lapse(attempt, commands);
            let counted = suspects.contains(&attempt);
            let scheduled = self.task_mut(task);
            if scheduled.second_live == Some(attempt) {
                scheduled.second_live = None;
                scheduled.add_to_history(past);
            } else if counted {
                self.note_loss(attempt, Loss::Counted);
                self.retry_after_loss(task, past, commands);
            } else {
                self.note_loss(attempt, Loss::Bystander);
                self.task_mut(task).add_to_history(past);
                self.retry_uncounted(task, attempt, commands);
            }
        }
        // The fault comes before the disconnection: workers without faults are forgotten first.
        self.record_loss(worker, &proved, replaceable_kinds);
        self.workers.disconnect(worker, session);
        self.sessions.remove(session);
        self.memory_waits_are_stale = true;
        self.leases.remove(session);
    }

    /// Notes how the loss of `id` was counted, so that it can be undone if the worker returns with `id`.
    fn note_loss(&mut self, id: AttemptId, loss: Loss) {
        // The attempt is already forgotten if the task had too many lapsed attempts.
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.lost = loss;
        }
    }

    pub(super) fn on_last_prover_lost(&mut self, session: SessionId, commands: &mut Vec<Command>) {
        let Some(found) = self.sessions.get(session) else { return };
        let is_idle = !found.has_worked() && !found.held().iter().any(|id| self.attempt(*id).is_started());
        let (held, worker) = (found.held().iter().map(|id| self.attempt(*id).kind), found.worker());
        // If the worker has started nothing since its prover was loaded, its tasks have waited in vain. They would do
        // so again whenever the prover is loaded again.
        let in_vain: KindSet = held.filter(|_| is_idle).collect();
        self.sessions.set_starting(session, true);
        self.take_back_waiting(session, KindSet::all(), commands);
        for kind in in_vain.iter() {
            self.record_fault(worker, kind, WorkerFault::Failed, PROVER_ENDED, commands);
        }
    }

    pub(super) fn on_first_prover_ready(&mut self, session: SessionId) {
        if self.sessions.contains(session) {
            self.sessions.set_starting(session, false);
        }
    }

    pub(super) fn on_drain_requested(&mut self, session: SessionId, commands: &mut Vec<Command>) {
        if self.sessions.contains(session) {
            self.sessions.set_draining(session, true);
            self.memory_waits_are_stale = true;
            self.take_back_waiting(session, KindSet::all(), commands);
        }
    }

    pub(super) fn on_drain_cancelled(&mut self, session: SessionId) {
        if self.sessions.contains(session) {
            self.sessions.set_draining(session, false);
            self.memory_waits_are_stale = true;
        }
    }

    /// Reports the draining workers that hold nothing any more.
    pub(super) fn announce_drained(&mut self, commands: &mut Vec<Command>) {
        commands.extend(self.sessions.take_drained().into_iter().map(|session| Command::WorkerDrained { session }));
    }

    /// Removes workers that were silent for longer than a lease.
    pub(super) fn expire_leases(&mut self, commands: &mut Vec<Command>) {
        while let Some((expiry, session)) = self.leases.earliest()
            && expiry <= self.clock.lease_time()
        {
            self.on_session_ended(session, commands);
            commands.push(Command::EndSession { session });
        }
    }
}
