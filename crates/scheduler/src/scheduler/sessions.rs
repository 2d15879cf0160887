//! Workers: how they come, stay and go.

use super::Scheduler;
use crate::{
    AttemptId, Command, Failure, KindSet, PeerId, TaskKind, Timestamp, WorkerId,
    attempt::{Loss, State},
    task::Place,
};
use std::{collections::BTreeSet, time::Duration};

/// How an attempt that comes back compares with the one that took its place.
enum Sooner {
    /// It is done earlier, as far as anybody knows.
    Yes,
    /// It is done later, but it runs.
    No,
    /// It never began.
    Never,
}

/// What is known of a worker that joins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joining {
    pub(super) peer: PeerId,
    /// What an attempt on it can have; 0 for unknown.
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
        // One that is named twice is the same.
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

    /// Goes on with an attempt of an earlier session, if that serves: the task waits, or who has it now would not be
    /// done earlier.
    fn adopt(&mut self, worker: WorkerId, peer: PeerId, id: AttemptId, commands: &mut Vec<Command>) -> bool {
        let found = self.workers.get(worker).expect("it has just joined");
        let (full, gets_nothing) = (found.held().len() >= found.slots(), found.is_quarantined());
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| attempt.peer == peer && !full) else {
            return false;
        };
        let task = attempt.task;
        let in_vain = attempt.overdue || attempt.failed || gets_nothing && attempt.began.is_none();
        if attempt.state != State::Lapsed || in_vain || self.proof_of(self.task(task)).failed {
            return false;
        }
        // First: nothing that follows may take it for one that is over.
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

    /// `id` is no worker's, as before.
    fn refuse(&mut self, id: AttemptId, earlier: WorkerId) -> bool {
        let attempt = self.attempt_mut(id);
        (attempt.worker, attempt.state) = (earlier, State::Lapsed);
        false
    }

    /// Is `id`, if it goes on, done earlier than `other`? It began earlier, so it is when nothing is known.
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

    /// Requeues all that `worker` holds. What it has delivered is no longer its own, and is verified all the same.
    ///
    /// Only what it proved can have caused the loss: that is counted. If it proved nothing, all that it held is
    /// counted, because fetching inputs can end a worker too.
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

    /// The loss of `id` is taken back if its worker returns with it.
    fn attempt_lost(&mut self, id: AttemptId, loss: Loss) {
        // The oldest of too many lapsed attempts is forgotten.
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.lost = loss;
        }
    }

    /// The prover of `worker` is being started again.
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

    /// Parts with the workers that were silent for longer than a lease.
    pub(super) fn expire_leases(&mut self, commands: &mut Vec<Command>) {
        while let Some((expiry, worker)) = self.leases.earliest()
            && expiry <= self.clock.lease_time()
        {
            self.on_worker_lost(worker, commands);
            commands.push(Command::ExpireWorker { worker });
        }
    }
}
