//! Workers: how they come, stay and go.

use super::Scheduler;
use crate::{AttemptId, Command, Failure, KindSet, PeerId, TaskKind, Timestamp, WorkerId, attempt::State, task::Place};
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

impl Scheduler {
    pub(super) fn on_worker_joined(
        &mut self,
        worker: WorkerId,
        peer: PeerId,
        slots: u32,
        kinds: KindSet,
        holds: &[AttemptId],
        commands: &mut Vec<Command>,
    ) {
        if self.workers.contains(worker) {
            return;
        }
        if let Some(earlier) = self.peers.join(peer, worker)
            && self.workers.contains(earlier)
        {
            self.on_worker_lost(earlier, commands);
            commands.push(Command::ExpireWorker { worker: earlier });
        }
        self.workers.insert(worker, peer, slots, kinds, self.paces_of(peer));
        self.keep_standing(worker, peer);
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

    /// Goes on with an attempt of an earlier session, if that serves: the task waits, or who has it now would not be done earlier.
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
        if std::mem::take(&mut self.attempt_mut(id).lost) {
            self.task_mut(task).find_again(id);
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
    pub(super) fn on_worker_lost(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let Some(held) = self.workers.get(worker).map(|worker| worker.held().clone()) else { return };
        for attempt in held {
            let task = self.attempt(attempt).task;
            let past = self.past(attempt, Failure::WorkerLost);
            self.lapse(attempt, commands);
            let entry = self.task_mut(task);
            if entry.spare == Some(attempt) {
                entry.spare = None;
                entry.record(past);
            } else {
                self.attempt_lost(attempt);
                self.requeue(task, past, commands);
            }
        }
        let peer = self.workers.get(worker).expect("it was just seen").peer();
        self.peers.leave(peer, worker);
        self.workers.remove(worker);
        self.leases.remove(worker);
    }

    /// The loss of `id` counts, and is taken back should it be found again.
    fn attempt_lost(&mut self, id: AttemptId) {
        // One of too many that lapsed is forgotten already.
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.lost = true;
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
