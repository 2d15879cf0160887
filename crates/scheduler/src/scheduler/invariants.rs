//! Facts that hold between the scheduler's maps after every event.

use super::Scheduler;
use crate::{
    AttemptId,
    attempt::State,
    peer::Standing,
    task::{Counts, MAX_HISTORY, MAX_LAPSED, Place},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

impl Scheduler {
    /// Derives every index anew from what it indexes and compares. Takes time proportional to all that is held: for
    /// tests.
    ///
    /// # Panics
    /// When something is wrong, with what.
    pub fn check_invariants(&self) {
        self.check_proofs();
        self.check_tasks();
        self.check_attempts();
        self.check_workers();
        self.check_queue();
        self.check_stealable();
        self.check_health();
    }

    /// Exactly the attempts that have begun are watched, and whoever is connected is known.
    fn check_health(&self) {
        let begun = self.attempts.iter().filter(|(_, attempt)| {
            let started = matches!(attempt.state, State::Held { started: Some(_) });
            started && !attempt.overdue && self.config.pace.is_some()
        });
        assert!(self.watch.check_invariants().eq(begun.map(|(id, _)| *id)), "not exactly what runs is watched");
        let sessions = self.workers.check_invariants().iter().map(|(id, worker)| (*id, worker.peer()));
        assert_eq!(self.peers.check_invariants(), sessions.collect(), "sessions and workers do not match");
        for (id, worker) in self.workers.check_invariants() {
            let quarantined = self.peers.get(worker.peer()).map(|peer| peer.standing);
            let quarantined = matches!(quarantined, Some(Standing::Quarantined(_)));
            assert_eq!(worker.is_quarantined(), quarantined, "{id} is trusted more, or less, than it should be");
            let gets_nothing = worker.is_quarantined() || worker.is_draining() || worker.is_starting();
            let waits = |id: &AttemptId| self.attempts[id].state == State::Held { started: None };
            assert!(!gets_nothing || !worker.held().iter().any(waits), "{id} holds what it is not to begin");
        }
        assert_eq!(self.next_copy(), None, "an attempt straggles while a worker is idle");
    }

    /// Tasks and markers belong to proofs that know them, so nothing outlives its proof.
    fn check_proofs(&self) {
        let of_proofs = |own: fn(&crate::task::Proof) -> &BTreeSet<crate::TaskId>| -> BTreeMap<_, _> {
            self.proofs.iter().flat_map(|(id, proof)| own(proof).iter().map(|task| (*task, *id))).collect()
        };
        let tasks: BTreeMap<_, _> = self.tasks.iter().map(|(id, task)| (*id, task.proof)).collect();
        assert_eq!(of_proofs(|proof| &proof.tasks), tasks, "proofs and tasks disagree about what belongs where");
        let markers: BTreeMap<_, _> = self.markers.iter().map(|(id, marker)| (*id, marker.proof)).collect();
        assert_eq!(of_proofs(|proof| &proof.markers), markers, "proofs and markers disagree about what belongs where");
        if let Some(both) = self.tasks.keys().find(|id| self.markers.contains_key(id)) {
            panic!("{both} is a task and a marker");
        }
        let orders: BTreeSet<_> = self.proofs.values().map(|proof| proof.order).collect();
        assert_eq!(orders.len(), self.proofs.len(), "two proofs have the same position");
    }

    /// A task's place agrees with its attempts' states and with its proof's.
    fn check_tasks(&self) {
        let open = self.tasks.values().filter(|task| !matches!(task.place, Place::Accepted(_))).count();
        assert_eq!(self.open_tasks, open, "the number of open tasks is wrong");
        for (id, task) in &self.tasks {
            let state = |attempt| self.attempts.get(&attempt).map(|attempt| attempt.state);
            let count = |wanted: fn(State) -> bool| {
                task.attempts.iter().filter(|attempt| state(**attempt).is_some_and(wanted)).count()
            };
            let (held, accepted) = (count(State::is_held), count(|state| state == State::Accepted));
            let failed = self.proofs.get(&task.proof).is_some_and(|proof| proof.failed);
            match task.place {
                Place::Waiting { .. } => assert!(!failed, "{id} waits though its proof has failed"),
                Place::Held(attempt) => {
                    assert!(state(attempt).is_some_and(State::is_held), "{id} is held by {attempt}, which isn't live");
                }
                Place::Verifying(attempt) => assert_eq!(
                    state(attempt),
                    Some(State::Reported),
                    "{id} waits for the verification of {attempt}, which hasn't reported"
                ),
                Place::Shelved => assert!(failed, "{id} is shelved though its proof goes on"),
                Place::Accepted(attempt) => {
                    assert!(task.attempts.iter().eq([&attempt]), "{id} is done and knows attempts that do not count");
                    assert_eq!(accepted, 1, "{id} is done by {attempt}, which isn't accepted");
                }
            }
            let spare = task.spare.map(|spare| {
                assert_ne!(task.place, Place::Held(spare), "{id} counts on its spare attempt");
                assert!(state(spare).is_some_and(State::is_held), "{spare}, the spare of {id}, isn't live");
                assert!(!matches!(task.place, Place::Accepted(_)), "{id} is done and has a spare attempt");
            });
            let live = usize::from(matches!(task.place, Place::Held(_))) + usize::from(spare.is_some());
            assert_eq!(held, live, "{id} has {held} live attempts");
            assert_eq!(
                accepted,
                usize::from(matches!(task.place, Place::Accepted(_))),
                "{id} was accepted {accepted} times"
            );
            assert!(count(|state| state == State::Lapsed) <= MAX_LAPSED, "{id} knows too many lapsed attempts");
            assert!(task.history().len() <= MAX_HISTORY, "the history of {id} is too long");
            // What failed for good since a worker left is noticed when an attempt of it ends, or after a while.
            let spent = |counts: &Counts, most: u32| counts.distinct() >= most as usize;
            let exhausted =
                spent(task.failures(), self.config.max_failures) || spent(task.losses(), self.config.max_losses);
            assert!(failed || !exhausted, "{id} has failed for good, and its proof goes on");
            let is_open = !matches!(task.place, Place::Accepted(_));
            assert_eq!(
                self.memory_bound.contains(id),
                task.excluded.by_memory().is_some() && is_open,
                "the index of tasks that ran out of memory is wrong for {id}"
            );
            if let Some(marker) = task.marker {
                let proof = self.markers.get(&marker).map(|marker| marker.proof);
                assert_eq!(proof, Some(task.proof), "the marker {marker} of {id} is not its proof's");
            }
        }
    }

    /// Attempts belong to tasks that know them, so nothing outlives its task.
    fn check_attempts(&self) {
        let of_attempts: BTreeSet<_> = self.attempts.iter().map(|(id, attempt)| (attempt.task, *id)).collect();
        let of_tasks: BTreeSet<_> =
            self.tasks.iter().flat_map(|(id, task)| task.attempts.iter().map(|attempt| (*id, *attempt))).collect();
        assert_eq!(of_attempts, of_tasks, "tasks and attempts disagree about what belongs where");
    }

    /// Workers hold exactly the live attempts, and each has a lease.
    fn check_workers(&self) {
        let workers = self.workers.check_invariants();
        let of_workers: BTreeSet<_> =
            workers.iter().flat_map(|(id, worker)| worker.held().iter().map(|attempt| (*id, *attempt))).collect();
        let live = self.attempts.iter().filter(|(_, attempt)| attempt.state.is_held());
        let live: BTreeSet<_> = live.map(|(id, attempt)| (attempt.worker, *id)).collect();
        assert_eq!(of_workers, live, "workers hold what isn't live, or what is live isn't held");
        assert!(self.leases.check_invariants().eq(workers.keys().copied()), "leases and workers do not match");
        if let Some((expiry, worker)) = self.leases.earliest() {
            assert!(expiry > self.clock.lease_time(), "the lease of {worker} has ended, and it is still here");
        }
        for (id, worker) in workers {
            let is_started = |id: &AttemptId| matches!(self.attempts[id].state, State::Held { started: Some(_) });
            let waits = !worker.held().is_empty() && !worker.held().iter().any(is_started);
            assert_eq!(worker.start_deadline().is_some(), waits, "{id} has a wrong start deadline");
        }
        for (id, attempt) in &self.attempts {
            if attempt.state.is_held() {
                let kinds = workers[&attempt.worker].declared();
                assert!(kinds.contains(self.task(attempt.task).kind), "{} cannot do {id}", attempt.worker);
                assert_eq!(workers[&attempt.worker].peer(), attempt.peer, "{id} is held by somebody else");
            }
            assert_eq!(attempt.kind, self.task(attempt.task).kind, "{id} and its task are of different kinds");
        }
    }

    /// The queue has exactly the waiting tasks, and none of them could be on a worker.
    fn check_queue(&self) {
        let mut held = BTreeMap::new();
        for attempt in self.attempts.values().filter(|attempt| attempt.state.is_held() && !attempt.overdue) {
            *held.entry(self.proof_of(self.task(attempt.task)).order).or_default() += 1;
        }
        let queued = self.queue.check_invariants(&held);
        let waiting = self.tasks.values().filter(|task| matches!(task.place, Place::Waiting { .. }));
        let waiting: BTreeMap<_, _> = waiting.map(|task| (task.rank, (task.kind, &task.excluded))).collect();
        assert_eq!(queued, waiting, "the queue does not have exactly the waiting tasks");
        let next = self.snapshot().next_assignment();
        assert_eq!(next, None, "a task waits while a slot for it is free");
        self.crews.check_invariants(&self.queue, &self.workers, AttemptId(self.attempts_assigned));
        self.check_waiting();
    }

    /// Whatever waits, waits for a slot that somebody will free, so nothing waits for ever.
    fn check_waiting(&self) {
        let workers = self.workers.check_invariants();
        for (id, task) in self.tasks.iter().filter(|(_, task)| matches!(task.place, Place::Waiting { .. })) {
            let able = || workers.iter().filter(|(_, worker)| worker.kinds().contains(task.kind));
            let prospects = || workers.iter().filter(|(_, worker)| worker.is_prospect(task.kind));
            // A worker in quarantine that is the last resort is released, and one that starts its prover ends that.
            if prospects().any(|(_, worker)| worker.is_starting() && !worker.is_excluded(&task.excluded)) {
                continue;
            }
            let everywhere = prospects().all(|(_, worker)| worker.is_excluded(&task.excluded));
            let excluded = if everywhere { task.excluded.lasting() } else { task.excluded.clone() };
            let mut may_take = able().filter(|(_, worker)| !worker.is_excluded(&excluded)).peekable();
            if may_take.peek().is_some() {
                let awaited = may_take.any(|(_, worker)| !worker.held().is_empty());
                assert!(awaited, "{id} waits, and nobody who may take it holds anything");
            }
        }
    }

    /// The index of stealable attempts has exactly those, and none of them waits while a worker idles.
    fn check_stealable(&self) {
        let indexed = self.stealable.check_invariants();
        let stealable = self.attempts.iter().filter(|(id, _)| self.is_stealable(**id));
        let stealable: BTreeMap<_, _> = stealable
            .map(|(id, attempt)| {
                let task = self.task(attempt.task);
                (Reverse(*id), (task.kind, &task.excluded))
            })
            .collect();
        assert_eq!(indexed, stealable, "the index of stealable attempts is wrong");
        let next = self.snapshot().next_steal();
        assert_eq!(next, None, "an attempt waits behind another while a worker is idle");
    }
}

#[cfg(test)]
impl Scheduler {
    /// How many entries each of its maps has.
    pub(crate) fn held_items(&self) -> [usize; 10] {
        [
            self.proofs.len(),
            self.tasks.len(),
            self.markers.len(),
            self.attempts.len(),
            self.queue.len(),
            self.queue.proofs(),
            self.stealable.len(),
            self.workers.len(),
            self.leases.check_invariants().count(),
            self.watch.len(),
        ]
    }
}
