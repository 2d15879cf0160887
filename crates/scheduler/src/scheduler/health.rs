//! How long attempts take, what becomes of those that take too long, and of workers whose results are bad.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, KindSet, PeerId, TaskId, TaskKind, WorkerId, attempt::State, exclusions::Exclusions,
    peer::Standing, task::Place, workers::Worker,
};

/// What a worker is blamed for, and for how many faults it counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// An attempt failed, or ran for too long.
    Failed = 1,
    /// A result doesn't verify. A machine that says it has done what it hasn't is worse than one that says it couldn't.
    Wrong = 2,
    /// What others built upon was wrong, which came out late: one is enough by any rule.
    Proven = 1000,
}

impl Scheduler {
    /// Proving of `id` began: from now on it is watched.
    pub(super) fn watch(&mut self, id: AttemptId) {
        let now = self.clock.lease_time();
        let attempt = self.attempt_mut(id);
        let began = *attempt.began.get_or_insert(now);
        let (peer, kind) = (attempt.peer, attempt.kind);
        if let Some(rules) = &self.config.pace {
            let of_peer = self.peers.get(peer).and_then(|peer| peer.paces.expected(kind));
            let expected = of_peer.or_else(|| self.paces.expected(kind));
            self.watch.begin(id, kind, began, expected, rules);
        }
    }

    /// `id` delivers: what it took is known, and counts when the result does.
    pub(super) fn note_duration(&mut self, id: AttemptId) {
        let now = self.clock.lease_time();
        let attempt = self.attempt_mut(id);
        if let (State::Held { started: Some(_) }, Some(began), false) = (attempt.state, attempt.began, attempt.resumed)
        {
            attempt.took = Some(now.saturating_since(began));
        }
    }

    /// The result of `id` counts: what it took is expected of the next.
    pub(super) fn learn(&mut self, id: AttemptId) {
        let Some(rules) = self.config.pace else { return };
        let attempt = self.attempt(id);
        let (kind, peer, worker) = (attempt.kind, attempt.peer, attempt.worker);
        let Some(took) = attempt.took else { return };
        let of_kind = self.paces.learn(kind);
        let first = of_kind.expected().is_none();
        of_kind.learn(took);
        if first {
            self.watch.predict(kind, took, &rules);
        }
        if let Some(expected) = self.peers.learn(peer, kind, took)
            && self.workers.contains(worker)
        {
            self.workers.set_pace(worker, kind, expected);
        }
    }

    /// Parts with attempts that have run for too long.
    pub(super) fn expire_attempts(&mut self, commands: &mut Vec<Command>) {
        while let Some(id) = self.watch.first_overdue(self.clock.lease_time()) {
            self.watch.end(id);
            self.on_overdue(id, commands);
        }
    }

    /// Its task goes to somebody else. It keeps its slot, as its worker is still at it, and its result counts if it
    /// comes first.
    fn on_overdue(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let past = self.past(id, Failure::Overdue);
        let attempt = self.attempt_mut(id);
        attempt.overdue = true;
        let (task, worker, peer) = (attempt.task, attempt.worker, attempt.peer);
        let reason = past.failure.to_string();
        // One that hangs must not cost its proof a place for ever.
        self.queue.release(self.task(task).rank);
        if self.task(task).place != Place::Held(id) {
            self.task_mut(task).record(past);
        } else if self.task(task).spare.is_some() {
            // The older of two that are slow has come further.
            commands.push(Command::Cancel { worker, attempt: id });
            self.lapse(id, commands);
            self.replace_overdue(task, past, commands);
        } else {
            self.task_mut(task).spare = Some(id);
            self.replace_overdue(task, past, commands);
        }
        // What waits behind it would wait as long.
        self.take_back_waiting(worker, commands);
        self.blame(peer, Fault::Failed, &reason, commands);
    }

    /// Parts with attempts that their workers never start.
    pub(super) fn expire_starts(&mut self, commands: &mut Vec<Command>) {
        while let Some(worker) = self.workers.first_late_start(self.clock.lease_time()) {
            self.on_never_started(worker, commands);
        }
    }

    /// The oldest attempt of `worker` has failed: the worker holds attempts and starts none of them.
    fn on_never_started(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let held = self.workers.get(worker).and_then(|worker| worker.held().first());
        let id = *held.expect("a worker that holds nothing has no start deadline");
        let past = self.past(id, Failure::NeverStarted);
        let (task, peer) = (self.attempt(id).task, self.attempt(id).peer);
        let reason = past.failure.to_string();
        commands.push(Command::Cancel { worker, attempt: id });
        self.lapse(id, commands);
        let entry = self.task_mut(task);
        if entry.spare == Some(id) {
            entry.spare = None;
            entry.record(past);
        } else {
            self.replace_overdue(task, past, commands);
        }
        self.take_back_waiting(worker, commands);
        self.blame(peer, Fault::Failed, &reason, commands);
    }

    /// An attempt that straggles while a worker holds nothing, and that worker. The fastest comes first.
    pub(super) fn next_copy(&self) -> Option<(AttemptId, WorkerId)> {
        let idle = |id: &AttemptId| self.workers.anyone_idle(self.attempt(*id).kind);
        let mut stragglers = self.watch.stragglers(self.clock.lease_time()).filter(idle);
        stragglers.find_map(|id| {
            let attempt = self.attempt(id);
            let task = self.task(attempt.task);
            let counted_on = task.place == Place::Held(id) && task.spare.is_none() && !self.proof_of(task).failed;
            let mut not = task.excluded.clone();
            not.add(attempt.peer);
            counted_on.then(|| self.workers.first_idle(attempt.kind, &not)).flatten().map(|worker| (id, worker))
        })
    }

    /// Gives `worker` a copy of what `id` has been at for too long. The first of them that delivers is counted on.
    pub(super) fn copy(&mut self, id: AttemptId, worker: WorkerId, commands: &mut Vec<Command>) {
        self.watch.end_straggling(id);
        let task = self.attempt(id).task;
        self.task_mut(task).spare = Some(id);
        self.assign(task, worker, commands);
    }

    /// `peer` did badly at `task`, unless that is about to fail for good: what fails everywhere is nobody's fault.
    pub(super) fn blame_for(
        &mut self,
        task: TaskId,
        peer: PeerId,
        fault: Option<Fault>,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) {
        let entry = self.task(task);
        let is_last = entry.failures().total() + 1 >= self.config.max_failures;
        if let Some(fault) = fault.filter(|_| !is_last || self.proof_of(entry).failed) {
            self.task_mut(task).blamed.push((peer, fault as u32));
            self.blame(peer, fault, &failure.to_string(), commands);
        }
    }

    /// `peer` did badly. Enough of it, and it gets nothing for a while.
    pub(super) fn blame(&mut self, peer: PeerId, fault: Fault, reason: &str, commands: &mut Vec<Command>) {
        let Some(rules) = self.config.quarantine else { return };
        let session = self.session_of(peer);
        let kinds = session.and_then(|worker| self.workers.get(worker)).map_or_else(KindSet::default, Worker::kinds);
        // Who is the only one for something is needed.
        let may = kinds.iter().all(|kind| self.workers.able(kind) > 1);
        let blamed = self.peers.blame(peer, fault as u32, &rules, may, self.clock.lease_time());
        let (Some(duration), Some(worker)) = (blamed, session) else { return };
        self.peers.set_reason(peer, reason);
        self.workers.set_standing(worker, true, false);
        commands.push(Command::Quarantine { worker, duration, reason: reason.to_owned() });
        self.take_back_waiting(worker, commands);
    }

    /// `peer` delivered what was wanted.
    pub(super) fn praise(&mut self, peer: PeerId) {
        if self.peers.praise(peer)
            && let Some(worker) = self.session_of(peer)
        {
            self.workers.set_standing(worker, false, false);
        }
    }

    /// Those whose quarantine is over get one task.
    pub(super) fn end_quarantines(&mut self, commands: &mut Vec<Command>) {
        while let Some(peer) = self.peers.next_on_probation(self.clock.lease_time()) {
            if let Some(worker) = self.session_of(peer) {
                self.workers.set_standing(worker, false, true);
                commands.push(Command::Probation { worker });
            }
        }
    }

    /// Those who are the only ones left for something that waits get one task too, however long their quarantine.
    pub(super) fn release_needed(&mut self, commands: &mut Vec<Command>) {
        let needed = |id: &WorkerId| {
            let worker = self.workers.get(*id).expect("the quarantined are connected");
            let declared = worker.declared();
            declared.iter().any(|kind| {
                self.queue.len_of(kind) > 0 && (self.workers.able(kind) == 0 || self.is_last_resort(worker, kind))
            })
        };
        let needed: Vec<WorkerId> = self.workers.quarantined().filter(needed).collect();
        for worker in needed {
            let peer = self.workers.get(worker).expect("it was just seen").peer();
            self.peers.release(peer);
            self.workers.set_standing(worker, false, true);
            commands.push(Command::Probation { worker });
        }
    }

    /// True if a task of `kind` waits that failed on every worker that may get it now, and not on `worker`.
    fn is_last_resort(&self, worker: &Worker, kind: TaskKind) -> bool {
        let failed = |excluded: &Exclusions| {
            !excluded.is_empty() && !worker.is_excluded(excluded) && self.workers.able_are_excluded(kind, excluded)
        };
        self.queue.turns().any(|waiting| waiting.heads(kind).any(|(_, excluded)| failed(excluded)))
    }

    /// Makes a new session of `peer` as trusted as its last.
    pub(super) fn keep_standing(&mut self, worker: WorkerId, peer: PeerId, commands: &mut Vec<Command>) {
        let found = self.peers.get(peer).map(|peer| (peer.standing, peer.reason.clone()));
        match found {
            Some((Standing::Quarantined(end), reason)) => {
                self.workers.set_standing(worker, true, false);
                let duration = end.saturating_since(self.clock.lease_time());
                commands.push(Command::Quarantine { worker, duration, reason });
            }
            Some((Standing::Probation, _)) => self.workers.set_standing(worker, false, true),
            Some((Standing::Good, _)) | None => {}
        }
    }

    fn session_of(&self, peer: PeerId) -> Option<WorkerId> {
        self.peers.get(peer)?.session.filter(|worker| self.workers.contains(*worker))
    }

    pub(super) fn on_worker_draining(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        if self.workers.contains(worker) {
            self.workers.set_draining(worker, true);
            self.take_back_waiting(worker, commands);
        }
    }

    pub(super) fn on_worker_resumed(&mut self, worker: WorkerId) {
        if self.workers.contains(worker) {
            self.workers.set_draining(worker, false);
        }
    }

    /// Says of workers to be drained that they hold nothing any more.
    pub(super) fn announce_drained(&mut self, commands: &mut Vec<Command>) {
        commands.extend(self.workers.drained().into_iter().map(|worker| Command::WorkerDrained { worker }));
    }

    /// What waits on `worker` and has not begun goes to others.
    pub(super) fn take_back_waiting(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let Some(held) = self.workers.get(worker).map(|worker| worker.held().clone()) else { return };
        let waiting = |id: &AttemptId| self.attempt(*id).state == State::Held { started: None };
        for id in held.into_iter().filter(waiting).collect::<Vec<_>>() {
            commands.push(Command::Cancel { worker, attempt: id });
            let past = self.past(id, Failure::Cancelled);
            let task = self.attempt(id).task;
            self.task_mut(task).record(past);
            self.lapse(id, commands);
            self.leave(task, id, commands);
        }
    }
}
