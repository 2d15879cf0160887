//! The standing of workers: their faults, quarantines and probation.

use super::state_machine::Scheduler;
use crate::{
    AttemptEndReason, Command, KindSet, SessionId, TaskId, TaskKind, WorkerId,
    queue::Exclusions,
    workers::{Faults, KnownWorker, PresentQuarantine, SessionState, WorkerFault},
};
use std::{collections::BTreeMap, time::Duration};

// A task that fails everywhere is not the fault of its workers. So a fault at a task that fails for good with it is not
// recorded, and the earlier ones are removed: see `Scheduler::retry_task`.
impl Scheduler {
    /// Records a fault of `worker` at `task`, unless the task has failed for good or fails for good with it.
    pub(super) fn record_fault_at(
        &mut self,
        task: TaskId,
        worker: WorkerId,
        fault: Option<WorkerFault>,
        reason: &AttemptEndReason,
        commands: &mut Vec<Command>,
    ) {
        let scheduled = self.task(task);
        let max_failures = self.config.max_failures;
        let mut excluded = scheduled.excluded.clone();
        excluded.add(worker);
        let distinct = scheduled.failures().distinct_with(self.with_origin(worker));
        let is_last = distinct >= usize::try_from(max_failures).unwrap_or(usize::MAX)
            || scheduled.failures().total() + 1 >= max_failures
                && self.sessions.all_excluded(scheduled.kind, &excluded);
        let fault = fault.filter(|_| !is_last || self.try_of(scheduled).failed);
        if let Some(fault) = fault.filter(|_| !self.has_failed_for_good(task)) {
            let kind = scheduled.kind;
            self.task_mut(task).recorded_faults.push((worker, fault as u32));
            self.record_fault(worker, kind, fault, &reason.to_string(), commands);
        }
    }

    /// Records a fault of `worker` at `task`, because its attempt was overdue or never started. Records none if the
    /// task has failed for good, maybe because of that attempt.
    pub(super) fn record_slow_fault(
        &mut self,
        task: TaskId,
        worker: WorkerId,
        reason: &str,
        commands: &mut Vec<Command>,
    ) {
        if self.has_failed_for_good(task) {
            return;
        }
        let scheduled = self.task_mut(task);
        scheduled.recorded_faults.push((worker, WorkerFault::Failed as u32));
        let kind = scheduled.kind;
        self.record_fault(worker, kind, WorkerFault::Failed, reason, commands);
    }

    /// Records the loss of `worker` while it proved the tasks `proved`: one fault for each kind of these tasks. Records
    /// none for a kind if one of its tasks has failed for good, maybe because of the loss. A worker that is lost and
    /// proved nothing has no fault.
    pub(super) fn record_loss(&mut self, worker: WorkerId, proved: &[TaskId], replaceable_kinds: KindSet) {
        let Some(rules) = self.config.quarantine else { return };
        let mut loss = BTreeMap::new();
        for kind in TaskKind::ALL {
            let of_kind: Vec<TaskId> = proved.iter().copied().filter(|task| self.task(*task).kind == kind).collect();
            if of_kind.iter().any(|task| self.has_failed_for_good(*task)) {
                continue;
            }
            // The task that was lost most often is the most likely cause, so it bears the fault.
            let suspect = of_kind.into_iter().max_by_key(|task| self.task(*task).losses().total());
            if let Some(suspect) = suspect {
                self.task_mut(suspect).recorded_faults.push((worker, WorkerFault::Failed as u32));
                loss.insert(kind, suspect);
            }
        }
        self.workers.record_loss(worker, loss, &rules, replaceable_kinds, self.clock.lease_time());
    }

    /// Records a fault of `worker` at a task of `kind`, and quarantines it for the kind if the limit is reached.
    pub(super) fn record_fault(
        &mut self,
        worker: WorkerId,
        kind: TaskKind,
        fault: WorkerFault,
        reason: &str,
        commands: &mut Vec<Command>,
    ) {
        let Some(rules) = self.config.quarantine else { return };
        // A worker that is the only one available for the kind is needed.
        let may_quarantine = self.session_of(worker).is_none_or(|session| self.has_other_worker_for(kind, session));
        let faults = Faults { count: fault as u32, reason };
        let now = self.clock.lease_time();
        if let Some(duration) = self.workers.record_faults(worker, kind, faults, &rules, may_quarantine, now) {
            self.start_quarantine(worker, KindSet::only(kind), duration, reason, commands);
        }
    }

    /// Quarantines `worker` for every kind, even if it is needed: one of its results that other tasks have used is
    /// wrong, or workers of two origins refuted one of its claims.
    pub(super) fn on_proven_wrong(&mut self, worker: WorkerId, reason: &str, commands: &mut Vec<Command>) {
        let Some(rules) = self.config.quarantine else { return };
        if let Some(duration) = self.workers.quarantine_firmly(worker, &rules, reason, self.clock.lease_time()) {
            self.start_quarantine(worker, KindSet::all(), duration, reason, commands);
        }
    }

    /// Applies a quarantine that the worker's record already contains.
    fn start_quarantine(
        &mut self,
        worker: WorkerId,
        kinds: KindSet,
        duration: Duration,
        reason: &str,
        commands: &mut Vec<Command>,
    ) {
        let Some(session) = self.session_of(worker) else { return };
        self.apply_standing(session, worker);
        commands.push(Command::Quarantine { session, kinds, duration, reason: reason.to_owned() });
        self.take_back_waiting(session, kinds, commands);
    }

    /// Records an accepted result of `worker` for a task of `kind`.
    pub(super) fn record_success(&mut self, worker: WorkerId, kind: TaskKind) {
        if self.workers.record_success(worker, kind)
            && let Some(session) = self.session_of(worker)
        {
            self.apply_standing(session, worker);
        }
    }

    /// Puts workers whose quarantine has ended on probation.
    pub(super) fn end_quarantines(&mut self, commands: &mut Vec<Command>) {
        for (worker, kinds) in self.workers.end_quarantines(self.clock.lease_time()) {
            if let Some(session) = self.session_of(worker) {
                self.apply_standing(session, worker);
                commands.push(Command::Probation { session, kinds });
            }
        }
    }

    /// Ends quarantines early if the workers are needed: a task waits that no available worker may take. The workers
    /// are then on probation. The quarantine of a worker that was proven wrong does not end early.
    pub(super) fn end_quarantines_of_needed_workers(&mut self, commands: &mut Vec<Command>) {
        let is_needed = |session: &SessionState, kind: TaskKind| {
            self.queue.len_of(kind) > 0 && (self.sessions.available(kind) == 0 || self.is_last_resort(session, kind))
        };
        let needed_kinds = |id: SessionId| {
            let session = self.sessions.get(id).expect("the index of quarantined workers contains only ready workers");
            let may_end =
                self.workers.get(session.worker()).map(KnownWorker::kinds_that_may_end_early).unwrap_or_default();
            let candidates = session.supported_kinds().iter().filter(|kind| may_end.contains(*kind));
            let kinds: KindSet = candidates.filter(|kind| is_needed(session, *kind)).collect();
            (!kinds.is_empty()).then_some((id, session.worker(), kinds))
        };
        let needed: Vec<(SessionId, WorkerId, KindSet)> =
            self.sessions.quarantined().filter_map(needed_kinds).collect();
        for (session, worker, kinds) in needed {
            kinds.iter().for_each(|kind| self.workers.end_quarantine_early(worker, kind));
            self.apply_standing(session, worker);
            commands.push(Command::Probation { session, kinds });
        }
    }

    /// Returns true if a waiting task of `kind` excludes every worker available for it now, but not `session`. If no
    /// other trusted worker is left, a private task may return to a trusted worker that failed at it.
    fn is_last_resort(&self, session: &SessionState, kind: TaskKind) -> bool {
        let failed = |excluded: &Exclusions| {
            let lasting = excluded.lasting();
            let may_return = excluded.is_trusted_only() && self.sessions.all_excluded(kind, excluded);
            let excluded = if may_return { &lasting } else { excluded };
            !excluded.is_empty()
                && !session.is_excluded(excluded)
                && self.sessions.available_are_excluded(kind, excluded)
        };
        self.queue.waiting_by_fair_share().any(|waiting| waiting.heads(kind).any(|(_, excluded)| failed(excluded)))
    }

    /// Reports the quarantines that `worker` has from earlier sessions for its new `session`.
    pub(super) fn report_quarantines(&self, session: SessionId, worker: WorkerId, commands: &mut Vec<Command>) {
        let now = self.clock.lease_time();
        let quarantines = self.workers.get(worker).map(KnownWorker::quarantines).unwrap_or_default();
        commands.extend(quarantines.into_iter().map(|PresentQuarantine { kinds, until, reason }| {
            Command::Quarantine { session, kinds, duration: until.saturating_since(now), reason }
        }));
    }

    /// Applies the standing of `worker` to its `session`.
    pub(super) fn apply_standing(&mut self, session: SessionId, worker: WorkerId) {
        let Some(known) = self.workers.get(worker) else { return };
        let (quarantined, on_probation) = (known.quarantined(), known.on_probation());
        self.sessions.set_standing(session, quarantined, on_probation);
    }

    fn session_of(&self, worker: WorkerId) -> Option<SessionId> {
        self.workers.get(worker)?.session.filter(|session| self.sessions.contains(*session))
    }
}
