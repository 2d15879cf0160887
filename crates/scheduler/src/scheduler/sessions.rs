//! How workers join, stay connected and leave.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, KindSet, PeerId, TaskKind, Timestamp, WorkerId,
    attempt::{Loss, State},
    task::Place,
};
use std::{collections::BTreeSet, time::Duration};

/// Whether a returning attempt finishes earlier than the attempt that replaced it.
enum Sooner {
    /// It finishes earlier, or the durations are unknown.
    Yes,
    /// It finishes later, but it is running.
    No,
    /// It never started.
    Never,
}

/// The properties of a worker that joins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joining {
    pub(super) peer: PeerId,
    /// Bytes of memory that one attempt can use; 0 if unknown.
    pub(super) memory_bytes: u64,
    pub(super) slots: u32,
    pub(super) kinds: KindSet,
}

impl Scheduler {
    pub(super) fn on_worker_joined(
        &mut self,
        worker: WorkerId,
        joining: Joining,
        holds: &[AttemptId],
        commands: &mut Vec<Command>,
    ) {
        let Joining { peer, memory_bytes, slots, kinds } = joining;
        if self.workers.contains(worker) {
            return;
        }
        if let Some(earlier) = self.peers.join(peer, worker)
            && self.workers.contains(earlier)
        {
            self.on_worker_lost(earlier, commands);
            commands.push(Command::ExpireWorker { worker: earlier });
        }
        self.workers.insert(worker, peer, memory_bytes, slots, kinds, self.paces_of(peer));
        self.keep_standing(worker, peer, commands);
        self.on_leases_renewed(worker);
        // The set removes duplicates from the worker's message.
        for attempt in &holds.iter().copied().collect::<BTreeSet<_>>() {
            if !self.adopt(worker, peer, *attempt, commands) {
                commands.push(Command::Cancel { worker, attempt: *attempt });
            }
        }
    }

    fn paces_of(&self, peer: PeerId) -> [Duration; TaskKind::ALL.len()] {
        let known = self.peers.get(peer).map(|peer| peer.paces);
        TaskKind::ALL.map(|kind| known.and_then(|paces| paces.expected(kind)).unwrap_or_default())
    }

    /// Continues attempt `id` of an earlier session of `peer`, if its task still needs it. That is so if the task
    /// waits, or if another attempt holds it and `id` has started: the one that finishes earlier is preferred. Returns
    /// false if the attempt is not continued.
    fn adopt(&mut self, worker: WorkerId, peer: PeerId, id: AttemptId, commands: &mut Vec<Command>) -> bool {
        let found = self.workers.get(worker).expect("the worker was inserted before");
        let (full, gets_nothing) = (found.held().len() >= found.slots(), found.is_quarantined());
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| attempt.peer == peer && !full) else {
            return false;
        };
        let task = attempt.task;
        let in_vain = attempt.overdue || attempt.failed || gets_nothing && attempt.began.is_none();
        if attempt.state != State::Lapsed || in_vain || self.proof_of(self.task(task)).failed {
            return false;
        }
        // Set the state first: the calls below may forget lapsed attempts, and `id` must not be among them.
        let started = attempt.began.map(|_| self.clock.now());
        let found = self.attempt_mut(id);
        let earlier = found.worker;
        (found.worker, found.state) = (worker, State::Held { started });
        match self.task(task).place {
            Place::Waiting { .. } => {
                self.leave_queue(task);
                self.task_mut(task).place = Place::Held(id);
            }
            Place::Held(other) if self.task(task).spare.is_none() => match self.is_sooner(id, other) {
                Sooner::Yes => {
                    commands.push(Command::Cancel { worker: self.attempt(other).worker, attempt: other });
                    self.lapse(other, commands);
                    self.task_mut(task).place = Place::Held(id);
                }
                Sooner::No => self.task_mut(task).spare = Some(id),
                Sooner::Never => return self.refuse(id, earlier),
            },
            Place::Held(_) | Place::Verifying(_) | Place::Shelved | Place::Accepted(_) => {
                return self.refuse(id, earlier);
            }
        }
        let loss = std::mem::take(&mut self.attempt_mut(id).lost);
        if loss != Loss::None {
            self.task_mut(task).find_again(id, peer, loss);
            self.peers.find_again(peer);
        }
        self.hold(worker, id);
        self.update_stealable_of(worker, id);
        if started.is_some() {
            self.watch(id);
            if self.task(task).spare == Some(id) {
                self.watch.end_straggling(id);
            }
        }
        commands.push(Command::Adopt { worker, attempt: id });
        true
    }

    /// Undoes the adoption of `id`. Returns false.
    fn refuse(&mut self, id: AttemptId, earlier: WorkerId) -> bool {
        let attempt = self.attempt_mut(id);
        (attempt.worker, attempt.state) = (earlier, State::Lapsed);
        false
    }

    /// Compares `id`, which would continue, with `other`, which replaced it. `id` started earlier, so it counts as
    /// sooner if the durations are unknown.
    fn is_sooner(&self, id: AttemptId, other: AttemptId) -> Sooner {
        let Some(began) = self.attempt(id).began else { return Sooner::Never };
        let State::Held { started: Some(_) } = self.attempt(other).state else { return Sooner::Yes };
        let end = |id: AttemptId, began: Timestamp| {
            let attempt = self.attempt(id);
            let expected = self.peers.get(attempt.peer)?.paces.expected(attempt.kind)?;
            Some(began + expected)
        };
        let ends = end(id, began).zip(self.attempt(other).began.and_then(|began| end(other, began)));
        if ends.is_none_or(|(own, others)| own <= others) { Sooner::Yes } else { Sooner::No }
    }

    pub(super) fn on_leases_renewed(&mut self, worker: WorkerId) {
        if self.workers.contains(worker) {
            self.leases.set(worker, self.clock.lease_time() + self.config.lease_ttl);
        }
    }

    /// Removes `worker` and requeues the tasks that it holds. Results that it has already delivered are still verified.
    ///
    /// Only attempts that had started can have caused the loss, so only they are counted as losses. If none had
    /// started, all of them are counted, because fetching inputs can also crash a worker.
    pub(super) fn on_worker_lost(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let Some(found) = self.workers.get(worker) else { return };
        let (held, peer) = (found.held().clone(), found.peer());
        let others_may = found.kinds().iter().all(|kind| self.workers.able(kind) > 1);
        let is_started = |id: &AttemptId| matches!(self.attempt(*id).state, State::Held { started: Some(_) });
        let proved = held.iter().any(is_started);
        let suspects: BTreeSet<AttemptId> = held.iter().copied().filter(|id| !proved || is_started(id)).collect();
        for attempt in held {
            let task = self.attempt(attempt).task;
            let past = self.past(attempt, Failure::WorkerLost);
            self.lapse(attempt, commands);
            let counted = suspects.contains(&attempt);
            let entry = self.task_mut(task);
            if entry.spare == Some(attempt) {
                entry.spare = None;
                entry.record(past);
            } else if counted {
                self.attempt_lost(attempt, Loss::Counted);
                if self.config.quarantine.is_some() && proved {
                    self.task_mut(task).blamed.push((peer, 1));
                }
                self.requeue(task, past, commands);
            } else {
                self.attempt_lost(attempt, Loss::Bystander);
                self.task_mut(task).record(past);
                self.leave(task, attempt, commands);
            }
        }
        self.peers.leave(peer, worker);
        self.workers.remove(worker);
        self.leases.remove(worker);
        if let (Some(rules), true) = (self.config.quarantine, proved) {
            self.peers.lose(peer, &rules, others_may, self.clock.lease_time());
        }
    }

    /// Notes how the loss of `id` was counted, so that it can be undone if the worker returns with `id`.
    fn attempt_lost(&mut self, id: AttemptId, loss: Loss) {
        // The attempt is already forgotten if the task had too many lapsed attempts.
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.lost = loss;
        }
    }

    pub(super) fn on_worker_unready(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        if self.workers.contains(worker) {
            self.workers.set_starting(worker, true);
            self.take_back_waiting(worker, commands);
        }
    }

    pub(super) fn on_worker_ready(&mut self, worker: WorkerId) {
        if self.workers.contains(worker) {
            self.workers.set_starting(worker, false);
        }
    }

    /// Removes workers that were silent for longer than a lease.
    pub(super) fn expire_leases(&mut self, commands: &mut Vec<Command>) {
        while let Some((expiry, worker)) = self.leases.earliest()
            && expiry <= self.clock.lease_time()
        {
            self.on_worker_lost(worker, commands);
            commands.push(Command::ExpireWorker { worker });
        }
    }
}
