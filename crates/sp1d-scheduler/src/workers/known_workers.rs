//! The workers that the scheduler remembers beyond their sessions, with indexes.

use super::{
    known_worker::KnownWorker,
    origin::OriginId,
    pace::Paces,
    standing::{Faults, KindRecord, LossFault, QuarantineRules, Standing},
};
use crate::{KindSet, SessionId, TaskId, TaskKind, Timestamp, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What a worker did wrong. The value is the number of faults that it counts as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WorkerFault {
    /// An attempt failed, was overdue or was never started, the worker was lost while it proved, or its last prover
    /// ended before it started a task.
    Failed = 1,
    /// A result or deferred events are wrong or missing, or workers of two origins contradict a claim. Claiming work
    /// that was not done is worse than reporting a failure.
    Wrong = 2,
}

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of disconnected workers that are remembered. Each takes about a kilobyte. Workers without faults
    /// are forgotten first.
    const MAX_DISCONNECTED: usize = 4096; Count by Worker;
    /// Maximum number of disconnected workers of one origin that are remembered. A peer that connects under many names
    /// cannot make the scheduler forget workers of other origins.
    const MAX_DISCONNECTED_PER_ORIGIN: usize = 64; Count by Worker;
}

/// All workers that are ready, and those that were ready earlier and are not forgotten.
#[derive(Debug, Default)]
pub(crate) struct KnownWorkers {
    workers: BTreeMap<WorkerId, KnownWorker>,
    by_origin: BTreeMap<OriginId, BTreeSet<WorkerId>>,
    /// Quarantines by their end.
    quarantine_ends: BTreeSet<(Timestamp, WorkerId, TaskKind)>,
    /// The disconnected workers.
    disconnected: BTreeSet<WorkerId>,
    /// The workers whose standing changed since the last call of [`KnownWorkers::take_changed`].
    changed: BTreeSet<WorkerId>,
}

impl KnownWorkers {
    pub(crate) fn get(&self, id: WorkerId) -> Option<&KnownWorker> {
        self.workers.get(&id)
    }

    /// Notes that `id` from `origin` is ready in `session`. A worker that was unknown starts with the worst record of
    /// its origin. Returns the worker's earlier session if that has not ended.
    pub(crate) fn connect(&mut self, id: WorkerId, origin: OriginId, session: SessionId) -> Option<SessionId> {
        self.disconnected.remove(&id);
        if !self.workers.contains_key(&id) {
            self.add(id, origin);
        }
        let worker = self.workers.get_mut(&id).expect("the worker was added above");
        let earlier = worker.session.replace(session);
        let before = std::mem::replace(&mut worker.origin, origin);
        if before != origin {
            self.leave_origin(id, before);
            self.by_origin.entry(origin).or_default().insert(id);
        }
        earlier
    }

    fn add(&mut self, id: WorkerId, origin: OriginId) {
        let mut records: [KindRecord; TaskKind::ALL.len()] = Default::default();
        for other in self.by_origin.get(&origin).into_iter().flatten() {
            for (own, of_other) in records.iter_mut().zip(&self.workers[other].records) {
                if of_other.is_worse_than(own) {
                    own.clone_from(of_other);
                }
            }
        }
        for (kind, record) in TaskKind::ALL.into_iter().zip(&records) {
            self.quarantine_ends.extend(record.quarantined_until().map(|until| (until, id, kind)));
            if record.standing() != Standing::Normal {
                self.changed.insert(id);
            }
        }
        self.by_origin.entry(origin).or_default().insert(id);
        let worker =
            KnownWorker { session: None, paces: Paces::default(), origin, records, last_loss: BTreeMap::new() };
        self.workers.insert(id, worker);
    }

    fn leave_origin(&mut self, id: WorkerId, origin: OriginId) {
        if let Some(workers) = self.by_origin.get_mut(&origin) {
            workers.remove(&id);
            if workers.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
    }

    /// Notes that `session` of `id` has ended.
    pub(crate) fn disconnect(&mut self, id: WorkerId, session: SessionId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.session == Some(session)) else { return };
        worker.session = None;
        let origin = worker.origin;
        self.disconnected.insert(id);
        let is_disconnected = |id: &&WorkerId| self.disconnected.contains(*id);
        let of_origin: Vec<WorkerId> = self.by_origin[&origin].iter().filter(is_disconnected).copied().collect();
        let forgotten = if of_origin.len() > MAX_DISCONNECTED_PER_ORIGIN {
            self.first_to_forget(of_origin.into_iter())
        } else if self.disconnected.len() > MAX_DISCONNECTED {
            self.first_to_forget(self.disconnected.iter().copied())
        } else {
            None
        };
        if let Some(id) = forgotten {
            self.forget(id);
        }
    }

    /// Returns the first worker of `from` without faults, or else the first worker.
    fn first_to_forget(&self, mut from: impl Iterator<Item = WorkerId> + Clone) -> Option<WorkerId> {
        let clean = from.clone().find(|id| self.workers[id].is_clean());
        clean.or_else(|| from.next())
    }

    fn forget(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.disconnected.remove(&id);
        self.leave_origin(id, worker.origin);
        for (kind, record) in TaskKind::ALL.into_iter().zip(&worker.records) {
            if let Some(until) = record.quarantined_until() {
                self.quarantine_ends.remove(&(until, id, kind));
            }
        }
        self.changed.insert(id);
    }

    /// Returns the workers whose standing changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<WorkerId> {
        std::mem::take(&mut self.changed)
    }

    /// Notes that a task of `kind` took `took` on `id`. Returns the expected duration of the next one.
    pub(crate) fn learn(&mut self, id: WorkerId, kind: TaskKind, took: Duration) -> Option<Duration> {
        let worker = self.workers.get_mut(&id)?;
        worker.paces.of_mut(kind).learn(took);
        worker.paces.expected(kind)
    }

    /// Changes the record of `id` for `kind`, and the one without its last loss. Returns `None` if the worker is
    /// unknown.
    fn update<T>(&mut self, id: WorkerId, kind: TaskKind, change: impl Fn(&mut KindRecord) -> T) -> Option<T> {
        if let Some(fault) = self.workers.get_mut(&id)?.last_loss.get_mut(&kind) {
            change(&mut fault.record_without);
        }
        self.update_record(id, kind, change)
    }

    /// Changes the record of `id` for `kind`, and updates the indexes. Returns `None` if the worker is unknown.
    fn update_record<T>(
        &mut self,
        id: WorkerId,
        kind: TaskKind,
        change: impl FnOnce(&mut KindRecord) -> T,
    ) -> Option<T> {
        let record = &mut self.workers.get_mut(&id)?.records[kind.index()];
        let (before, end_before) = (record.standing(), record.quarantined_until());
        let outcome = change(record);
        let end = record.quarantined_until();
        if record.standing() != before {
            self.changed.insert(id);
            if let Some(until) = end_before {
                self.quarantine_ends.remove(&(until, id, kind));
            }
            self.quarantine_ends.extend(end.map(|until| (until, id, kind)));
        }
        Some(outcome)
    }

    /// Records an accepted result of `id`. Returns true if that ends its probation for `kind`.
    pub(crate) fn record_success(&mut self, id: WorkerId, kind: TaskKind) -> bool {
        self.update(id, kind, KindRecord::record_success).unwrap_or(false)
    }

    /// Records faults of `id` at tasks of `kind`. If that reaches the limit and `may_quarantine` is true, `id` is
    /// quarantined for the kind from `now` on. Returns the duration of the quarantine.
    pub(crate) fn record_faults(
        &mut self,
        id: WorkerId,
        kind: TaskKind,
        faults: Faults<'_>,
        rules: &QuarantineRules,
        may_quarantine: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        self.update(id, kind, |record| record.record_faults(faults, rules, may_quarantine, now)).flatten()
    }

    /// Quarantines `id` for every kind, because it was proven wrong. Returns the longest of the quarantines that start;
    /// `None` if none starts.
    pub(crate) fn quarantine_firmly(
        &mut self,
        id: WorkerId,
        rules: &QuarantineRules,
        reason: &str,
        now: Timestamp,
    ) -> Option<Duration> {
        let started = TaskKind::ALL
            .map(|kind| self.update(id, kind, |record| record.quarantine_firmly(rules, reason, now)).flatten());
        started.into_iter().flatten().max()
    }

    /// Records the loss of `id` while it proved: one fault for each kind in `loss`, which has the task that bears the
    /// fault. If that reaches the limit of faults for a kind of `replaceable_kinds`, `id` is quarantined for the kind
    /// from `now` on.
    pub(crate) fn record_loss(
        &mut self,
        id: WorkerId,
        loss: BTreeMap<TaskKind, TaskId>,
        rules: &QuarantineRules,
        replaceable_kinds: KindSet,
        now: Timestamp,
    ) {
        let faults = Faults { count: 1, reason: "the worker was lost while it was proving" };
        for (kind, task) in loss {
            let Some(worker) = self.workers.get_mut(&id) else { return };
            let record_without = worker.records[kind.index()].clone();
            worker.last_loss.insert(kind, LossFault { task: Some(task), record_without });
            let may_quarantine = replaceable_kinds.contains(kind);
            self.update_record(id, kind, |record| record.record_faults(faults, rules, may_quarantine, now));
        }
    }

    /// Removes the faults of the last loss, and ends a quarantine that they started: `id` has returned and continues an
    /// attempt that it held. Returns the tasks that bear these faults.
    pub(crate) fn undo_loss(&mut self, id: WorkerId) -> Vec<TaskId> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        let loss = std::mem::take(&mut worker.last_loss);
        let mut tasks = Vec::new();
        for (kind, LossFault { task, record_without }) in loss {
            self.update_record(id, kind, |record| {
                // Normally, removing the loss improves the record. It does not if the loss started a quarantine, during
                // which no fault counts, and the faults of that time would have started a later quarantine. The worker
                // then keeps its present record.
                if !record_without.is_worse_than(record) {
                    *record = record_without;
                }
            });
            // The reason for a quarantine may have changed.
            self.changed.insert(id);
            tasks.extend(task);
        }
        tasks
    }

    /// Keeps the faults of the last loss of `id`, if they are not removed yet.
    pub(crate) fn keep_loss(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.last_loss.clear();
        }
    }

    /// Removes the `faults` faults of `id` that `task` of `kind` bears.
    pub(crate) fn forgive(&mut self, id: WorkerId, kind: TaskKind, task: TaskId, faults: u32) {
        let last_loss = self.workers.get_mut(&id).and_then(|worker| worker.last_loss.get_mut(&kind));
        let is_of_loss = |fault: &&mut LossFault| fault.task == Some(task) && faults == WorkerFault::Failed as u32;
        if let Some(fault) = last_loss.filter(is_of_loss) {
            // The record without the loss does not contain this fault.
            fault.task = None;
            self.update_record(id, kind, |record| record.forgive(faults));
        } else {
            self.update(id, kind, |record| record.forgive(faults));
        }
    }

    /// Ends the quarantine of the ready worker `id` for `kind` early, because it is needed. Probation follows.
    pub(crate) fn end_quarantine_early(&mut self, id: WorkerId, kind: TaskKind) {
        self.update_record(id, kind, KindRecord::end_quarantine);
    }

    /// Puts the workers whose quarantine has ended at `now` on probation. Returns them with the kinds.
    pub(crate) fn end_quarantines(&mut self, now: Timestamp) -> BTreeMap<WorkerId, KindSet> {
        let mut ended: BTreeMap<WorkerId, KindSet> = BTreeMap::new();
        while let Some((_, id, kind)) = self.quarantine_ends.first().copied().filter(|(until, ..)| *until <= now) {
            self.update(id, kind, |record| record.end_past_quarantine(now));
            let kinds = ended.entry(id).or_default();
            *kinds = kinds.with(KindSet::only(kind));
        }
        ended
    }

    /// Checks the indexes against the workers. Returns the ready workers by session.
    pub(crate) fn check_invariants(&self) -> BTreeMap<SessionId, WorkerId> {
        let ends = self.workers.iter().flat_map(|(id, worker)| {
            let kinds = TaskKind::ALL.into_iter().zip(&worker.records);
            kinds.filter_map(|(kind, record)| Some((record.quarantined_until()?, *id, kind)))
        });
        assert_eq!(self.quarantine_ends, ends.collect(), "the index of quarantines is wrong");
        let disconnected = self.workers.iter().filter(|(_, worker)| worker.session.is_none()).map(|(id, _)| *id);
        assert_eq!(self.disconnected, disconnected.collect(), "the index of disconnected workers is wrong");
        let mut of_origin: BTreeMap<OriginId, BTreeSet<WorkerId>> = BTreeMap::new();
        for (id, worker) in &self.workers {
            of_origin.entry(worker.origin).or_default().insert(*id);
        }
        assert_eq!(self.by_origin, of_origin, "the index of origins is wrong");
        for (id, worker) in &self.workers {
            let is_settled = worker.session.is_none() || worker.last_loss.is_empty();
            assert!(is_settled, "{id} is ready, and its last loss could still be undone");
        }
        self.workers.iter().filter_map(|(id, worker)| Some((worker.session?, *id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: QuarantineRules = QuarantineRules {
        max_faults: 1,
        first_duration: Duration::from_secs(60),
        max_duration: Duration::from_secs(3600),
    };

    /// Worker `id` of origin `origin` connects, has a fault if `is_bad`, and disconnects.
    fn visit(workers: &mut KnownWorkers, id: u64, origin: u128, is_bad: bool) {
        let (worker, session) = (WorkerId(id), SessionId(id));
        workers.connect(worker, OriginId(origin), session);
        if is_bad {
            let faults = Faults { count: 1, reason: "wrong" };
            workers.record_faults(worker, TaskKind::ProveShard, faults, &RULES, true, Timestamp::default());
        }
        workers.disconnect(worker, session);
    }

    #[test]
    fn many_names_of_one_origin_do_not_replace_the_memory_of_others() {
        let mut workers = KnownWorkers::default();
        visit(&mut workers, 1, 1, true);
        for id in 2..1000 {
            visit(&mut workers, id, 2, true);
        }
        workers.check_invariants();
        assert!(workers.get(WorkerId(1)).is_some());
        assert_eq!(workers.workers.len(), 1 + MAX_DISCONNECTED_PER_ORIGIN);
    }

    #[test]
    fn workers_without_faults_are_forgotten_first() {
        let mut workers = KnownWorkers::default();
        visit(&mut workers, 1, 1, true);
        for id in 2..=u64::try_from(MAX_DISCONNECTED).unwrap() + 10 {
            visit(&mut workers, id, u128::from(id), false);
        }
        workers.check_invariants();
        assert_eq!(workers.workers.len(), MAX_DISCONNECTED);
        let shard = KindSet::only(TaskKind::ProveShard);
        assert_eq!(workers.get(WorkerId(1)).map(KnownWorker::quarantined), Some(shard));
    }

    #[test]
    fn a_new_worker_of_a_forgotten_origin_starts_clean() {
        let mut workers = KnownWorkers::default();
        visit(&mut workers, 1, 1, true);
        workers.forget(WorkerId(1));
        workers.check_invariants();
        visit(&mut workers, 2, 1, false);
        assert!(workers.get(WorkerId(2)).is_some_and(KnownWorker::is_clean));
    }
}
