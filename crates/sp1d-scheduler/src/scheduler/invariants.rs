//! Facts that hold between the scheduler's maps after every event.

use super::state_machine::Scheduler;
use crate::{
    AttemptId, TaskId,
    tasks::{AttemptState, MAX_HISTORY, MAX_LAPSED, ScheduledTry, TaskState, WorkerCounts},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

impl Scheduler {
    /// Computes every index again and compares. Takes time proportional to everything that the scheduler holds, so it
    /// is meant for tests.
    ///
    /// # Panics
    /// Panics with a description if an invariant does not hold.
    pub fn check_invariants(&self) {
        self.check_tries();
        self.check_tasks();
        self.check_attempts();
        self.check_workers();
        self.check_queue();
        self.check_stealable();
        self.check_pace_and_standing();
        self.check_memory_waits();
    }

    /// The watched attempts are exactly those that have started and are not overdue, and the overdue ones will be
    /// cancelled. Sessions and standing match the ready workers.
    fn check_pace_and_standing(&self) {
        let started = self.attempts.iter().filter(|(_, attempt)| {
            let started = attempt.is_started();
            started && !attempt.overdue && self.config.pace.is_some()
        });
        assert!(
            self.watch.check_invariants().eq(started.map(|(id, _)| *id)),
            "the watched attempts are not exactly the running ones"
        );
        let overdue = self.attempts.iter().filter(|(_, attempt)| attempt.state.is_held() && attempt.overdue);
        assert!(
            self.watch.to_cancel().eq(overdue.map(|(id, _)| *id)),
            "the attempts to cancel are not exactly the overdue ones"
        );
        let sessions = self.sessions.check_invariants().iter().map(|(id, session)| (*id, session.worker()));
        assert_eq!(self.workers.check_invariants(), sessions.collect(), "sessions and workers do not match");
        for (id, session) in self.sessions.check_invariants() {
            let worker = self.workers.get(session.worker()).expect("ready workers are known");
            let standing = (worker.quarantined(), worker.on_probation());
            let shown = (session.quarantined(), session.on_probation());
            assert_eq!(shown, standing, "the standing of {id} does not match that of its worker");
            let waits = |id: &&AttemptId| self.attempts[*id].state == AttemptState::Held { started: None };
            let mut waiting = session.held().iter().filter(waits).map(|id| self.attempts[id].kind);
            assert!(
                waiting.all(|kind| session.available_kinds().contains(kind)),
                "{id} gets no task of a kind and holds an attempt of it that has not started"
            );
        }
        assert_eq!(self.next_speculative(), None, "an attempt straggles while a worker is idle");
        assert_eq!(self.next_overtaken(), None, "an attempt runs on a slow worker while a fast one is idle");
    }

    /// Every task and marker belongs to a try that lists it, so none outlives its try.
    fn check_tries(&self) {
        let of_tries = |own: fn(&ScheduledTry) -> &BTreeSet<TaskId>| -> BTreeMap<_, _> {
            self.tries.iter().flat_map(|(id, running)| own(running).iter().map(|task| (*task, *id))).collect()
        };
        let tasks: BTreeMap<_, _> = self.tasks.iter().map(|(id, task)| (*id, task.try_id)).collect();
        assert_eq!(of_tries(|running| &running.tasks), tasks, "tries and tasks do not match");
        let markers: BTreeMap<_, _> = self.markers.iter().map(|(id, marker)| (*id, marker.try_id)).collect();
        assert_eq!(of_tries(|running| &running.markers), markers, "tries and markers do not match");
        if let Some(both) = self.tasks.keys().find(|id| self.markers.contains_key(id)) {
            panic!("{both} is a task and a marker");
        }
        let orders: BTreeSet<_> = self.tries.values().map(|running| running.order).collect();
        assert_eq!(orders.len(), self.tries.len(), "two tries have the same position");
    }

    /// The state of a task agrees with the states of its attempts and of its try.
    fn check_tasks(&self) {
        let open = self.tasks.values().filter(|task| !matches!(task.state, TaskState::Accepted(_))).count();
        assert_eq!(self.open_tasks, open, "the number of open tasks is wrong");
        for (id, task) in &self.tasks {
            let state = |attempt| self.attempts.get(&attempt).map(|found| found.state);
            let count = |wanted: fn(AttemptState) -> bool| {
                task.attempts.iter().filter(|attempt| state(**attempt).is_some_and(wanted)).count()
            };
            let (held, accepted) = (count(AttemptState::is_held), count(|state| state == AttemptState::Accepted));
            let failed = self.tries.get(&task.try_id).is_some_and(|running| running.failed);
            match task.state {
                TaskState::Waiting { .. } => assert!(!failed, "{id} waits though its try has failed"),
                TaskState::Held(attempt) => {
                    assert!(
                        state(attempt).is_some_and(AttemptState::is_held),
                        "{id} is held by {attempt}, which is not live"
                    );
                }
                TaskState::Verifying(attempt) => assert_eq!(
                    state(attempt),
                    Some(AttemptState::Delivered),
                    "{id} waits for the verification of {attempt}, which has not reported"
                ),
                TaskState::TryFailed => assert!(failed, "{id} has failed with its try, but the try has not failed"),
                TaskState::Accepted(attempt) => {
                    assert!(
                        task.attempts.iter().eq([&attempt]),
                        "{id} is accepted and keeps other attempts than {attempt}"
                    );
                    assert_eq!(accepted, 1, "{id} is accepted with {attempt}, which is not accepted");
                }
            }
            if let Some(other) = task.second_live {
                assert_ne!(task.state, TaskState::Held(other), "{other} is both live attempts of {id}");
                assert!(
                    state(other).is_some_and(AttemptState::is_held),
                    "{other}, on which {id} does not rely, is not live"
                );
                assert!(!matches!(task.state, TaskState::Accepted(_)), "{id} is accepted and has the live {other}");
            }
            let live = usize::from(matches!(task.state, TaskState::Held(_))) + usize::from(task.second_live.is_some());
            assert_eq!(held, live, "{id} has {held} live attempts");
            assert_eq!(
                accepted,
                usize::from(matches!(task.state, TaskState::Accepted(_))),
                "{id} was accepted {accepted} times"
            );
            assert!(count(|state| state == AttemptState::Lapsed) <= MAX_LAPSED, "{id} keeps too many lapsed attempts");
            assert!(task.history().len() <= MAX_HISTORY, "the history of {id} is too long");
            // A task can also fail for good because a worker left. The scheduler notices that only when an attempt of
            // the task ends, or after `memory_patience`. This check therefore uses only counts that do not depend on
            // the ready workers.
            let spent = |counts: &WorkerCounts, max: u32| counts.distinct() >= max as usize;
            let exhausted =
                spent(task.failures(), self.config.max_failures) || spent(task.losses(), self.config.max_losses);
            assert!(failed || !exhausted, "{id} has failed for good, but its try has not failed");
            let is_open = !matches!(task.state, TaskState::Accepted(_));
            assert_eq!(
                self.tasks_excluding_by_memory.contains(id),
                task.excluded.excludes_by_memory() && is_open,
                "the index of tasks that exclude workers by memory is wrong for {id}"
            );
            if let Some(marker) = task.marker {
                let try_id = self.markers.get(&marker).map(|found| found.try_id);
                assert_eq!(try_id, Some(task.try_id), "the marker {marker} of {id} belongs to another try");
            }
        }
    }

    /// Exactly the waiting tasks that lack memory have a wait, and no wait has lasted too long.
    fn check_memory_waits(&self) {
        let waiting = self.tasks.iter().filter(|(_, task)| matches!(task.state, TaskState::Waiting { .. }));
        let lacking = waiting.filter(|(_, task)| self.lacks_memory(task)).map(|(id, _)| id);
        assert!(self.memory_waits.keys().eq(lacking), "the index of tasks that wait for memory is wrong");
        let now = self.clock.attended_time();
        for (id, since) in &self.memory_waits {
            assert!(*since <= now, "the wait of {id} for memory starts in the future");
            assert!(now.saturating_since(*since) < self.config.memory_patience, "{id} has waited too long for memory");
        }
    }

    /// Every attempt belongs to a task that lists it, so none outlives its task.
    fn check_attempts(&self) {
        let of_attempts: BTreeSet<_> = self.attempts.iter().map(|(id, attempt)| (attempt.task, *id)).collect();
        let of_tasks: BTreeSet<_> =
            self.tasks.iter().flat_map(|(id, task)| task.attempts.iter().map(|attempt| (*id, *attempt))).collect();
        assert_eq!(of_attempts, of_tasks, "tasks and attempts do not match");
    }

    /// Workers hold exactly the live attempts, and each worker has a lease.
    fn check_workers(&self) {
        let sessions = self.sessions.check_invariants();
        let of_sessions: BTreeSet<_> =
            sessions.iter().flat_map(|(id, session)| session.held().iter().map(|attempt| (*id, *attempt))).collect();
        let live = self.attempts.iter().filter(|(_, attempt)| attempt.state.is_held());
        let live: BTreeSet<_> = live.map(|(id, attempt)| (attempt.session, *id)).collect();
        assert_eq!(of_sessions, live, "the held attempts are not exactly the live ones");
        assert!(self.leases.check_invariants().eq(sessions.keys().copied()), "leases and workers do not match");
        if let Some((expiry, session)) = self.leases.earliest() {
            assert!(expiry > self.clock.lease_time(), "the lease of {session} has ended, but the session has not");
        }
        for (id, session) in sessions {
            let is_started = |id: &AttemptId| self.attempts[id].is_started();
            let waits = !session.held().is_empty() && !session.held().iter().any(is_started);
            assert_eq!(session.start_deadline().is_some(), waits, "{id} has a wrong start deadline");
        }
        for (id, attempt) in &self.attempts {
            if attempt.state.is_held() {
                let kinds = sessions[&attempt.session].supported_kinds();
                assert!(
                    kinds.contains(self.task(attempt.task).kind),
                    "{} does not support the kind of {id}",
                    attempt.session
                );
                assert_eq!(sessions[&attempt.session].worker(), attempt.worker, "{id} is held by another worker");
                let trusted_only = self.try_of(self.task(attempt.task)).trusted_only;
                assert!(
                    !trusted_only || sessions[&attempt.session].is_trusted(),
                    "{id} is only for trusted workers, and {} is not trusted",
                    attempt.session
                );
            }
            assert_eq!(attempt.kind, self.task(attempt.task).kind, "{id} and its task are of different kinds");
        }
    }

    /// The queue contains exactly the waiting tasks, and none of them could use a free slot.
    fn check_queue(&self) {
        let mut held = BTreeMap::new();
        for attempt in self.attempts.values().filter(|attempt| attempt.state.is_held() && !attempt.overdue) {
            *held.entry(self.try_of(self.task(attempt.task)).order).or_default() += 1;
        }
        let queued = self.queue.check_invariants(&held);
        let waiting = self.tasks.values().filter(|task| matches!(task.state, TaskState::Waiting { .. }));
        let waiting: BTreeMap<_, _> = waiting.map(|task| (task.rank, (task.kind, &task.excluded))).collect();
        assert_eq!(queued, waiting, "the queue does not contain exactly the waiting tasks");
        let next = self.placement_inputs().next_assignment();
        assert_eq!(next, None, "a task waits while a slot for it is free");
        self.pack_plans.check_invariants(&self.queue, &self.sessions, AttemptId(self.attempts_assigned));
        self.check_waiting();
    }

    /// Every waiting task waits for a slot that some worker will free, so no task waits forever.
    fn check_waiting(&self) {
        let sessions = self.sessions.check_invariants();
        for (id, task) in self.tasks.iter().filter(|(_, task)| matches!(task.state, TaskState::Waiting { .. })) {
            let available = || sessions.iter().filter(|(_, session)| session.available_kinds().contains(task.kind));
            let eligible = || sessions.iter().filter(|(_, session)| session.is_eligible(task.kind));
            // A quarantined worker that is the last resort gets tasks, unless it was proven wrong. A worker that
            // starts its prover will be ready later.
            if eligible().any(|(_, session)| session.is_starting() && !session.is_excluded(&task.excluded)) {
                continue;
            }
            let excludes_all = eligible().all(|(_, session)| session.is_excluded(&task.excluded));
            let excluded = if excludes_all { task.excluded.lasting() } else { task.excluded.clone() };
            let mut may_take = available().filter(|(_, session)| !session.is_excluded(&excluded)).peekable();
            if may_take.peek().is_some() {
                let awaited = may_take.any(|(_, session)| !session.held().is_empty());
                assert!(awaited, "{id} waits, but no worker that may take it holds an attempt");
            }
        }
    }

    /// The index contains exactly the stealable attempts, and none of them waits while an idle worker may take it.
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
        let next = self.placement_inputs().next_steal();
        assert_eq!(next, None, "an attempt waits behind another while a worker is idle");
    }
}

#[cfg(test)]
impl Scheduler {
    /// Handles `event` and returns true if it makes the scheduler look for the tasks that wait for memory. Some tasks
    /// must wait for memory before and after the event.
    pub(crate) fn finds_memory_waits_again(&mut self, now: crate::Timestamp, event: crate::Event) -> bool {
        let waits = std::mem::take(&mut self.memory_waits);
        let _commands = self.handle(now, event);
        let is_found = !self.memory_waits.is_empty();
        self.memory_waits = waits;
        is_found
    }

    /// Returns the number of entries of each map.
    pub(crate) fn held_items(&self) -> [usize; 10] {
        [
            self.tries.len(),
            self.tasks.len(),
            self.markers.len(),
            self.attempts.len(),
            self.queue.len(),
            self.queue.tries(),
            self.stealable.len(),
            self.sessions.len(),
            self.leases.check_invariants().count(),
            self.watch.len(),
        ]
    }
}
