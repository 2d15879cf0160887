//! The duration of attempts, the handling of slow attempts, and the standing of workers.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, KindSet, PeerId, TaskId, TaskKind, WorkerId, attempt::State, exclusions::Exclusions,
    peer::Standing, task::Place, workers::Worker,
};

/// The reason why a worker is blamed. The value is the number of faults.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// An attempt failed, was overdue or was never started.
    Failed = 1,
    /// A result does not verify. Claiming work that was not done is worse than reporting a failure.
    Wrong = 2,
    /// A result that other tasks already used turned out to be wrong. One such fault exceeds any limit.
    Proven = 1000,
}

impl Scheduler {
    /// Watches `id`, which has started proving.
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

    /// Stores how long proving took when `id` delivers its result. `learn` uses it once the result is
    /// accepted.
    pub(super) fn note_duration(&mut self, id: AttemptId) {
        let now = self.clock.lease_time();
        let attempt = self.attempt_mut(id);
        if let (State::Held { started: Some(_) }, Some(began), false) = (attempt.state, attempt.began, attempt.resumed)
        {
            attempt.took = Some(now.saturating_since(began));
        }
    }

    /// Updates the expected durations after the result of `id` was accepted.
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

    /// Handles attempts that have run for too long.
    pub(super) fn expire_attempts(&mut self, commands: &mut Vec<Command>) {
        while let Some(id) = self.watch.first_overdue(self.clock.lease_time()) {
            self.watch.end(id);
            self.on_overdue(id, commands);
        }
    }

    /// Gives the task of `id` to another worker. The attempt keeps its slot because its worker is still proving it, and
    /// its result counts if it is the first to verify.
    fn on_overdue(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let past = self.past(id, Failure::Overdue);
        let attempt = self.attempt_mut(id);
        attempt.overdue = true;
        let (task, worker, peer) = (attempt.task, attempt.worker, attempt.peer);
        let reason = past.failure.to_string();
        // An attempt that hangs must not count in its proof's fair share forever.
        self.queue.release(self.task(task).rank);
        if self.task(task).place != Place::Held(id) {
            self.task_mut(task).record(past);
        } else if self.task(task).spare.is_some() {
            // Both attempts of the task are slow. The other one started earlier and has come further, so this one is
            // cancelled.
            commands.push(Command::Cancel { worker, attempt: id });
            self.lapse(id, commands);
            self.replace_overdue(task, past, commands);
        } else {
            self.task_mut(task).spare = Some(id);
            self.replace_overdue(task, past, commands);
        }
        // Attempts that wait behind the overdue one would wait just as long.
        self.take_back_waiting(worker, commands);
        self.blame(peer, Fault::Failed, &reason, commands);
    }

    /// Handles workers that hold attempts and start none of them.
    pub(super) fn expire_starts(&mut self, commands: &mut Vec<Command>) {
        while let Some(worker) = self.workers.first_late_start(self.clock.lease_time()) {
            self.on_never_started(worker, commands);
        }
    }

    /// Fails the oldest attempt of `worker`, which holds attempts and starts none of them.
    fn on_never_started(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let held = self.workers.get(worker).and_then(|worker| worker.held().first());
        let id = *held.expect("only a worker that holds attempts has a start deadline");
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

    /// Returns a straggler, and the fastest idle worker that may take a speculative attempt of its task.
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

    /// Starts a speculative attempt of the task of `id` on `worker`. The first of the two results that verifies counts.
    pub(super) fn copy(&mut self, id: AttemptId, worker: WorkerId, commands: &mut Vec<Command>) {
        self.watch.end_straggling(id);
        let task = self.attempt(id).task;
        self.task_mut(task).spare = Some(id);
        self.assign(task, worker, commands);
    }

    /// Blames `peer` for a failure at `task`, unless that failure makes the task fail for good. A task that fails
    /// everywhere is not the fault of its workers.
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

    /// Records a fault of `peer`, and quarantines it if the limit is reached.
    pub(super) fn blame(&mut self, peer: PeerId, fault: Fault, reason: &str, commands: &mut Vec<Command>) {
        let Some(rules) = self.config.quarantine else { return };
        let session = self.session_of(peer);
        let kinds = session.and_then(|worker| self.workers.get(worker)).map_or_else(KindSet::default, Worker::kinds);
        // A worker that is the only one available for one of its kinds is needed.
        let may = kinds.iter().all(|kind| self.workers.able(kind) > 1);
        let blamed = self.peers.blame(peer, fault as u32, &rules, may, self.clock.lease_time());
        let Some(duration) = blamed else { return };
        self.peers.set_reason(peer, reason);
        let Some(worker) = session else { return };
        self.workers.set_standing(worker, true, false);
        commands.push(Command::Quarantine { worker, duration, reason: reason.to_owned() });
        self.take_back_waiting(worker, commands);
    }

    /// Records a success of `peer`.
    pub(super) fn praise(&mut self, peer: PeerId) {
        if self.peers.praise(peer)
            && let Some(worker) = self.session_of(peer)
        {
            self.workers.set_standing(worker, false, false);
        }
    }

    /// Puts workers whose quarantine has ended on probation.
    pub(super) fn end_quarantines(&mut self, commands: &mut Vec<Command>) {
        while let Some(peer) = self.peers.next_on_probation(self.clock.lease_time()) {
            if let Some(worker) = self.session_of(peer) {
                self.workers.set_standing(worker, false, true);
                commands.push(Command::Probation { worker });
            }
        }
    }

    /// Ends a quarantine early if the worker is needed: a task waits that no available worker may take. The worker is
    /// then on probation.
    pub(super) fn release_needed(&mut self, commands: &mut Vec<Command>) {
        let needed = |id: &WorkerId| {
            let worker =
                self.workers.get(*id).expect("the index of quarantined workers contains only connected workers");
            let declared = worker.declared();
            declared.iter().any(|kind| {
                self.queue.len_of(kind) > 0 && (self.workers.able(kind) == 0 || self.is_last_resort(worker, kind))
            })
        };
        let needed: Vec<WorkerId> = self.workers.quarantined().filter(needed).collect();
        for worker in needed {
            let peer = self.workers.get(worker).expect("it was found above").peer();
            self.peers.release(peer);
            self.workers.set_standing(worker, false, true);
            commands.push(Command::Probation { worker });
        }
    }

    /// Returns true if a waiting task of `kind` excludes every worker available for it now, but not `worker`.
    fn is_last_resort(&self, worker: &Worker, kind: TaskKind) -> bool {
        let failed = |excluded: &Exclusions| {
            !excluded.is_empty() && !worker.is_excluded(excluded) && self.workers.able_are_excluded(kind, excluded)
        };
        self.queue.turns().any(|waiting| waiting.heads(kind).any(|(_, excluded)| failed(excluded)))
    }

    /// Applies the standing of `peer` to its new session `worker`.
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

    /// Reports the draining workers that hold nothing any more.
    pub(super) fn announce_drained(&mut self, commands: &mut Vec<Command>) {
        commands.extend(self.workers.drained().into_iter().map(|worker| Command::WorkerDrained { worker }));
    }

    /// Gives the attempts of `worker` that have not started to other workers.
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
