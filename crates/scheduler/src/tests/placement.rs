//! How the policies distribute work over workers that take equally long for each attempt.

use super::*;
use crate::{Placement, TaskStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Workers that prove one attempt at a time, each within one round; what else they hold waits. All workers of a round
/// end it one after the other, as they would if they were almost equally fast.
struct World {
    table: Table,
    /// What each worker holds, in the order in which it is proved. The first has started.
    held: BTreeMap<WorkerId, VecDeque<AttemptId>>,
    started: BTreeSet<AttemptId>,
    /// Results delivered by each worker, lost ones included.
    delivered: BTreeMap<WorkerId, usize>,
    rounds: usize,
}

impl World {
    fn new(placement: Placement) -> Self {
        Self {
            table: Table::with(Config { placement, ..plain() }),
            held: BTreeMap::new(),
            started: BTreeSet::new(),
            delivered: BTreeMap::new(),
            rounds: 0,
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::WorkerJoined { worker, .. } => drop(self.delivered.insert(worker, 0)),
                Event::WorkerLost { worker } => drop(self.held.remove(&worker)),
                Event::AttemptReported { worker, attempt } => {
                    self.forget(worker, attempt);
                    *self.delivered.get_mut(&worker).expect("only workers report") += 1;
                }
                Event::AttemptFailed { worker, attempt, .. } => self.forget(worker, attempt),
                _ => {}
            }
            for command in self.table.tell([event]) {
                match command {
                    Command::Assign { worker, attempt, .. } => self.held.entry(worker).or_default().push_back(attempt),
                    Command::Cancel { worker, attempt } => self.forget(worker, attempt),
                    Command::AcceptResult { .. } | Command::Discard { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            for (worker, held) in &self.held {
                if let Some(attempt) = held.front()
                    && self.started.insert(*attempt)
                {
                    let commands = self.table.tell([started(worker.0, attempt.0)]);
                    assert_eq!(commands, [], "that something starts leads to nothing");
                }
            }
        }
    }

    fn forget(&mut self, worker: WorkerId, attempt: AttemptId) {
        let held = self.held.get_mut(&worker).expect("who holds an attempt is known");
        let before = held.len();
        held.retain(|other| *other != attempt);
        assert_eq!(held.len(), before - 1, "{worker} does not hold {attempt}");
    }

    /// Every worker ends what it has started. Those of `failing` fail.
    fn round(&mut self, failing: &[u64]) {
        let ending: Vec<_> = self.held.iter().filter_map(|(worker, held)| Some((*worker, *held.front()?))).collect();
        for (WorkerId(worker), AttemptId(attempt)) in ending {
            if failing.contains(&worker) {
                self.tell([failed(worker, attempt)]);
            } else {
                self.tell([reported(worker, attempt), verified(attempt)]);
            }
        }
        self.rounds += 1;
    }

    /// How many attempts each worker holds, by its id.
    fn holding(&self) -> Vec<usize> {
        self.delivered.keys().map(|worker| self.held.get(worker).map_or(0, VecDeque::len)).collect()
    }

    fn finish(&mut self) {
        while self.table.scheduler.counts().open_tasks > 0 {
            assert!(self.holding().iter().any(|held| *held > 0), "something is open and nobody holds anything");
            self.round(&[]);
        }
    }

    /// Goes on until everything is done; then so many rounds have passed, and each worker, by its id, has delivered so
    /// many results.
    #[track_caller]
    fn check(&mut self, rounds: usize, delivered: &[usize]) {
        self.finish();
        let actual: Vec<usize> = self.delivered.values().copied().collect();
        assert_eq!((self.rounds, &*actual), (rounds, delivered));
    }
}

fn workers(count: u64, slots: u32) -> impl Iterator<Item = Event> {
    (1..=count).map(move |worker| joined(worker, slots))
}

fn tasks(proof: u64, count: u64) -> impl Iterator<Item = Event> {
    (1..=count).map(move |id| task(proof, 100 * proof + id, SHARD))
}

/// Workers that join when all tasks are known.
fn known_before(placement: Placement, task_count: u64, worker_count: u64, slots: u32) -> World {
    let mut world = World::new(placement);
    world.tell([proof(1)].into_iter().chain(tasks(1, task_count)).chain(workers(worker_count, slots)));
    world
}

/// Tasks that come one by one, the last before the first attempt ends.
fn one_by_one(placement: Placement, task_count: u64, worker_count: u64, slots: u32) -> World {
    let mut world = World::new(placement);
    world.tell(workers(worker_count, slots).chain([proof(1)]).chain(tasks(1, task_count)));
    world
}

#[test]
fn spread_puts_everybody_to_work_however_tasks_come() {
    for slots in [1, 2] {
        for arrival in [known_before, one_by_one] {
            arrival(Placement::Spread, 40, 12, slots).check(4, &[4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3]);
            arrival(Placement::Spread, 15, 7, slots).check(3, &[3, 2, 2, 2, 2, 2, 2]);
        }
    }
}

#[test]
fn pack_leaves_workers_free_and_ends_at_the_same_time() {
    for slots in [1, 2] {
        known_before(Placement::Pack, 40, 12, slots).check(4, &[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 0]);
        known_before(Placement::Pack, 15, 7, slots).check(3, &[3, 3, 3, 3, 3, 0, 0]);
    }
}

#[test]
fn pack_needs_as_many_rounds_as_spread_and_no_worker_too_many() {
    for slots in [1, 2] {
        for workers in 1..=7 {
            for tasks in 1..=22_u64 {
                let rounds = tasks.div_ceil(workers);
                let enough = tasks.div_ceil(rounds);
                for (placement, used) in [(Placement::Spread, workers.min(tasks)), (Placement::Pack, enough)] {
                    let mut world = known_before(placement, tasks, workers, slots);
                    world.finish();
                    let case = format!("{placement}: {tasks} on {workers} with {slots} slots: {:?}", world.delivered);
                    assert_eq!(world.rounds as u64, rounds, "{case}");
                    assert_eq!(
                        world.delivered.values().filter(|delivered| **delivered > 0).count() as u64,
                        used,
                        "{case}"
                    );
                }
            }
        }
    }
}

#[test]
fn pack_puts_everybody_to_work_while_tasks_come_and_lets_go_when_they_have_come() {
    // As many tasks as workers: each works.
    let mut world = one_by_one(Placement::Pack, 7, 7, 2);
    assert_eq!(world.holding(), [1; 7]);
    world.check(1, &[1; 7]);
    // All go on once after the last has come. Then 5 and 10 are enough, and those that go on are those that were at
    // work.
    one_by_one(Placement::Pack, 15, 7, 1).check(3, &[2, 2, 3, 2, 2, 2, 2]);
    one_by_one(Placement::Pack, 40, 12, 1).check(4, &[2, 2, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3]);
    // What they hold already they keep.
    one_by_one(Placement::Pack, 15, 7, 2).check(3, &[3, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn pack_fills_idle_workers_before_second_slots() {
    let mut world = World::new(Placement::Pack);
    world.tell(workers(3, 2).chain([proof(1)]).chain(tasks(1, 4)));
    // The fourth makes two rounds of it, for which two are enough; but the third is at work already.
    assert_eq!(world.holding(), [2, 1, 1]);
    world.check(2, &[2, 1, 1]);
}

#[test]
fn pack_fills_second_slots_before_further_workers() {
    let world = known_before(Placement::Pack, 15, 7, 2);
    assert_eq!(world.holding(), [2, 2, 2, 2, 2, 0, 0]);
    assert_eq!(world.table.scheduler.counts().queued_tasks, 5);
    let since = world.table.now;
    assert_eq!(world.table.scheduler.task_status(TaskId(115)), Some(TaskStatus::Packed { since }));
}

#[test]
fn pack_lets_idle_workers_take_what_waits_behind_another_only_while_more_are_needed() {
    let mut world = known_before(Placement::Pack, 8, 7, 2);
    assert_eq!(world.holding(), [2, 2, 2, 2, 0, 0, 0]);
    // With the eighth, one round is enough.
    world.tell([joined(8, 2)]);
    assert_eq!(world.holding(), [1; 8]);
    world.check(1, &[1; 8]);
}

#[test]
fn a_newcomer_joins_in_only_if_that_saves_a_round() {
    let mut world = known_before(Placement::Pack, 9, 4, 1);
    assert_eq!(world.holding(), [1, 1, 1, 0]);
    world.tell([joined(5, 1)]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1]);
    world.tell([joined(6, 1)]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 0]);
    world.check(2, &[2, 2, 2, 2, 1, 0]);
}

#[test]
fn under_pack_a_spare_takes_over_from_a_lost_worker() {
    let mut world = known_before(Placement::Pack, 15, 7, 1);
    world.round(&[]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 0, 0]);
    world.tell([lost(3)]);
    assert_eq!(world.holding(), [1, 1, 0, 1, 1, 1, 0]);
    world.check(3, &[3, 3, 1, 3, 3, 2, 0]);
}

#[test]
fn under_pack_a_spare_helps_when_an_attempt_was_in_vain() {
    let mut world = known_before(Placement::Pack, 15, 7, 1);
    // 16 attempts are too many for three rounds of five.
    world.round(&[1]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 1, 0]);
    world.check(3, &[1, 3, 3, 3, 3, 2, 0]);
}

#[test]
fn under_pack_an_idle_worker_takes_what_failed_on_all_that_work() {
    let mut table = Table::with(Config { placement: Placement::Pack, ..plain() });
    table.check(
        [proof(1)].into_iter().chain(tasks(1, 4)).chain(workers(3, 2)),
        [assign(1, 1, 1, 101), assign(1, 2, 1, 102), assign(2, 3, 1, 103), assign(2, 4, 1, 104)],
    );
    // Two are enough. So it waits for the other of them, though the third is idle and has not tried it.
    table.check([failed(1, 1)], []);
    let since = table.now;
    assert_eq!(table.scheduler.task_status(TaskId(101)), Some(TaskStatus::Packed { since }));
    table.check([failed(2, 3)], [assign(2, 5, 1, 101), assign(1, 6, 1, 103)]);
    // Now both have tried it.
    table.check([failed(2, 5)], [assign(3, 7, 1, 101)]);
}

#[test]
fn under_pack_an_idle_worker_takes_what_all_that_work_did_wrong_while_they_are_full() {
    let mut table = Table::with(Config { placement: Placement::Pack, ..plain() });
    let events = [proof(1)].into_iter().chain(tasks(1, 4)).chain([joined(1, 2), joined(2, 1), joined(3, 1)]);
    table.check(events, [assign(1, 1, 1, 101), assign(1, 2, 1, 102), assign(2, 3, 1, 103)]);
    table.check([failed(1, 1)], [assign(1, 4, 1, 104)]);
    table.check([started(1, 2), started(1, 4)], []);
    table.check([reported(2, 3), verified(3)], [assign(2, 5, 1, 101), accept(2, 3, 1, 103)]);
    table.check([reported(2, 5), task(1, 105, SHARD)], [assign(2, 6, 1, 105)]);
    // Two hold three, and are full. They are enough for the fourth, were it not for their failures.
    table.check([rejected(5)], [discard(5), assign(3, 7, 1, 101)]);
}

#[test]
fn under_pack_an_idle_worker_takes_what_nobody_else_can_do() {
    let mut world = World::new(Placement::Pack);
    world.tell([joined_for(1, 2, SHARD), joined_for(2, 2, SHARD), joined_for(3, 1, SHARD), joined_for(4, 1, REDUCE)]);
    world.tell([proof(1)].into_iter().chain(tasks(1, 4)).chain([task(1, 50, REDUCE), task(1, 51, REDUCE)]));
    assert_eq!(world.holding(), [2, 1, 1, 1]);
    world.check(2, &[2, 1, 1, 2]);
}

#[test]
fn pack_counts_each_kind_with_the_workers_that_can_do_it() {
    for slots in [1, 2] {
        let mut world = World::new(Placement::Pack);
        world.tell([proof(1)].into_iter().chain(tasks(1, 6)));
        world.tell([task(1, 50, REDUCE), task(1, 51, REDUCE), task(1, 52, REDUCE), task(1, 53, REDUCE)]);
        // Six shards for four are two rounds of three; four reductions for three are two rounds of two.
        world.tell((1..=4).map(|worker| joined_for(worker, slots, SHARD)));
        world.tell((5..=7).map(|worker| joined_for(worker, slots, REDUCE)));
        world.check(2, &[2, 2, 2, 0, 2, 2, 0]);
    }
}

#[test]
fn under_pack_a_task_does_not_wait_for_those_that_work_at_another_kind() {
    let mut world = known_before(Placement::Pack, 15, 7, 1);
    world.tell([task(1, 50, REDUCE)]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 1, 0]);
    world.check(3, &[3, 3, 3, 3, 3, 1, 0]);
}

#[test]
fn pack_counts_the_tasks_of_all_proofs_together() {
    for slots in [1, 2] {
        let mut world = World::new(Placement::Pack);
        let events = [proof(1), proof(2)].into_iter().chain(tasks(1, 8)).chain(tasks(2, 7)).chain(workers(7, slots));
        world.tell(events);
        world.check(3, &[3, 3, 3, 3, 3, 0, 0]);
    }
}

#[test]
fn pack_counts_anew_when_a_proof_ends() {
    let mut world = World::new(Placement::Pack);
    world.tell([proof(1), proof(2)].into_iter().chain(tasks(1, 8)).chain(tasks(2, 7)).chain(workers(7, 1)));
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 0, 0]);
    world.tell([ended(1)]);
    assert_eq!(world.holding(), [1; 7]);
    world.check(1, &[1; 7]);
}

#[test]
fn whoever_is_at_work_goes_on_before_those_with_lower_ids() {
    let mut world = World::new(Placement::Pack);
    world.tell([proof(1)].into_iter().chain(tasks(1, 9)).chain((3..=5).map(|worker| joined(worker, 1))));
    world.round(&[]);
    // For the six that are open, five workers are no faster than three.
    world.tell([joined(1, 1), joined(2, 1)]);
    assert_eq!(world.holding(), [0, 0, 1, 1, 1]);
    world.check(3, &[0, 0, 3, 3, 3]);
}

#[test]
fn a_policy_is_read_by_its_name() {
    for placement in Placement::ALL {
        assert_eq!(placement.to_string().parse(), Ok(placement));
    }
    let unknown = "Pack".parse::<Placement>().expect_err("names are exact");
    assert_eq!(unknown.to_string(), "\"Pack\" is no placement: choose \"spread\" or \"pack\"");
}
