//! How the placement policies distribute tasks over workers that take equally long for each attempt.

use super::*;
use crate::{Placement, WaitReason};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Workers that each prove one attempt per round, while their other attempts wait. The workers of a round finish one
/// after the other, as if they were almost equally fast.
struct World {
    table: Table,
    /// The attempts that each worker holds, in proving order. The first has started.
    held: BTreeMap<SessionId, VecDeque<AttemptId>>,
    started: BTreeSet<AttemptId>,
    /// Number of results that each worker has delivered. Lost workers are included.
    delivered: BTreeMap<SessionId, usize>,
    rounds: usize,
}

impl World {
    fn new(placement: Placement) -> Self {
        Self {
            table: Table::with(SchedulerConfig { placement, ..plain() }),
            held: BTreeMap::new(),
            started: BTreeSet::new(),
            delivered: BTreeMap::new(),
            rounds: 0,
        }
    }

    fn send(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::WorkerReady { session, .. } => drop(self.delivered.insert(session, 0)),
                Event::SessionEnded { session } => drop(self.held.remove(&session)),
                Event::ResultDelivered { session, attempt } => {
                    self.forget(session, attempt);
                    *self.delivered.get_mut(&session).expect("only ready workers report") += 1;
                }
                Event::AttemptFailed { session, attempt, .. } => self.forget(session, attempt),
                _ => {}
            }
            for command in self.table.send([event]) {
                match command {
                    Command::Assign { session, attempt, .. } => {
                        self.held.entry(session).or_default().push_back(attempt)
                    }
                    Command::Cancel { session, attempt } => self.forget(session, attempt),
                    Command::AcceptResult { .. } | Command::Discard { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            for (session, held) in &self.held {
                if let Some(attempt) = held.front()
                    && self.started.insert(*attempt)
                {
                    let commands = self.table.send([started(session.0, attempt.0)]);
                    assert_eq!(commands, [], "the start of an attempt leads to no command");
                }
            }
        }
    }

    fn forget(&mut self, session: SessionId, attempt: AttemptId) {
        let held = self.held.get_mut(&session).expect("only known workers hold attempts");
        let before = held.len();
        held.retain(|other| *other != attempt);
        assert_eq!(held.len(), before - 1, "{session} does not hold {attempt}");
    }

    /// Every worker ends its started attempt. The workers in `failing` fail.
    fn round(&mut self, failing: &[u64]) {
        let ending: Vec<_> = self.held.iter().filter_map(|(session, held)| Some((*session, *held.front()?))).collect();
        for (SessionId(session), AttemptId(attempt)) in ending {
            if failing.contains(&session) {
                self.send([failed(session, attempt)]);
            } else {
                self.send([delivered(session, attempt), passed(attempt)]);
            }
        }
        self.rounds += 1;
    }

    /// Returns how many attempts each worker holds, in order of worker ids.
    fn holding(&self) -> Vec<usize> {
        self.delivered.keys().map(|session| self.held.get(session).map_or(0, VecDeque::len)).collect()
    }

    fn finish(&mut self) {
        while self.table.scheduler.counts().open_tasks > 0 {
            assert!(self.holding().iter().any(|held| *held > 0), "tasks are open, but no worker holds an attempt");
            self.round(&[]);
        }
    }

    /// Runs until all tasks are done. Checks the number of rounds, and the number of results that each worker
    /// delivered, in order of worker ids.
    #[track_caller]
    fn check(&mut self, rounds: usize, delivered: &[usize]) {
        self.finish();
        let actual: Vec<usize> = self.delivered.values().copied().collect();
        assert_eq!((self.rounds, &*actual), (rounds, delivered));
    }
}

fn workers(count: u64, slots: u32) -> impl Iterator<Item = Event> {
    (1..=count).map(move |session| ready(session, slots))
}

fn tasks(try_id: u64, count: u64) -> impl Iterator<Item = Event> {
    (1..=count).map(move |id| task(try_id, 100 * try_id + id, SHARD))
}

/// Workers that become ready after all tasks were submitted.
fn known_before(placement: Placement, task_count: u64, worker_count: u64, slots: u32) -> World {
    let mut world = World::new(placement);
    world.send([new_try(1)].into_iter().chain(tasks(1, task_count)).chain(workers(worker_count, slots)));
    world
}

/// Tasks that arrive one by one after the workers, all of them before the first attempt ends.
fn one_by_one(placement: Placement, task_count: u64, worker_count: u64, slots: u32) -> World {
    let mut world = World::new(placement);
    world.send(workers(worker_count, slots).chain([new_try(1)]).chain(tasks(1, task_count)));
    world
}

#[test]
fn spread_uses_every_worker() {
    for slots in [1, 2] {
        for arrival in [known_before, one_by_one] {
            arrival(Placement::Spread, 40, 12, slots).check(4, &[4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3]);
            arrival(Placement::Spread, 15, 7, slots).check(3, &[3, 2, 2, 2, 2, 2, 2]);
        }
    }
}

#[test]
fn pack_leaves_workers_free_and_finishes_as_early() {
    for slots in [1, 2] {
        known_before(Placement::Pack, 40, 12, slots).check(4, &[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 0]);
        known_before(Placement::Pack, 15, 7, slots).check(3, &[3, 3, 3, 3, 3, 0, 0]);
    }
}

#[test]
fn pack_needs_the_rounds_of_spread_with_the_fewest_workers() {
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
fn pack_uses_every_worker_while_tasks_arrive() {
    // With as many tasks as workers, every worker proves one.
    let mut world = one_by_one(Placement::Pack, 7, 7, 2);
    assert_eq!(world.holding(), [1; 7]);
    world.check(1, &[1; 7]);
    // After the last task has arrived, every worker may take one more task. After that 5 and 10 workers are enough, and
    // the workers that continue are those that were already at work.
    one_by_one(Placement::Pack, 15, 7, 1).check(3, &[2, 2, 3, 2, 2, 2, 2]);
    one_by_one(Placement::Pack, 40, 12, 1).check(4, &[2, 2, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3]);
    // Workers keep the attempts that they already hold.
    one_by_one(Placement::Pack, 15, 7, 2).check(3, &[3, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn pack_uses_idle_workers_first_while_tasks_arrive() {
    let mut world = World::new(Placement::Pack);
    world.send(workers(3, 2).chain([new_try(1)]).chain(tasks(1, 4)));
    // With the fourth task two rounds are needed, for which two workers are enough. The third worker is already at
    // work.
    assert_eq!(world.holding(), [2, 1, 1]);
    world.check(2, &[2, 1, 1]);
}

#[test]
fn pack_fills_second_slots_before_using_more_workers() {
    let world = known_before(Placement::Pack, 15, 7, 2);
    assert_eq!(world.holding(), [2, 2, 2, 2, 2, 0, 0]);
    assert_eq!(world.table.scheduler.counts().queued_tasks, 5);
    let reason = WaitReason::OutsidePackPlan { kind: SHARD, plan_size: 5, free: 2 };
    assert_eq!(world.table.scheduler.wait_reason(TaskId(115)), Some(reason));
}

#[test]
fn pack_steals_for_a_worker_that_saves_a_round() {
    let mut world = known_before(Placement::Pack, 8, 7, 2);
    assert_eq!(world.holding(), [2, 2, 2, 2, 0, 0, 0]);
    // With the eighth worker one round is enough.
    world.send([ready(8, 2)]);
    assert_eq!(world.holding(), [1; 8]);
    world.check(1, &[1; 8]);
}

#[test]
fn pack_uses_a_new_worker_only_if_that_saves_a_round() {
    let mut world = known_before(Placement::Pack, 9, 4, 1);
    assert_eq!(world.holding(), [1, 1, 1, 0]);
    world.send([ready(5, 1)]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1]);
    world.send([ready(6, 1)]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 0]);
    world.check(2, &[2, 2, 2, 2, 1, 0]);
}

#[test]
fn pack_replaces_a_lost_worker_with_a_free_one() {
    let mut world = known_before(Placement::Pack, 15, 7, 1);
    world.round(&[]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 0, 0]);
    world.send([lost(3)]);
    assert_eq!(world.holding(), [1, 1, 0, 1, 1, 1, 0]);
    world.check(3, &[3, 3, 1, 3, 3, 2, 0]);
}

#[test]
fn pack_uses_a_free_worker_after_a_failed_attempt() {
    let mut world = known_before(Placement::Pack, 15, 7, 1);
    // The failed attempt makes 16 attempts, too many for three rounds of five workers.
    world.round(&[1]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 1, 0]);
    world.check(3, &[1, 3, 3, 3, 3, 2, 0]);
}

#[test]
fn pack_gives_an_idle_worker_a_task_all_holders_failed() {
    let mut table = Table::with(SchedulerConfig { placement: Placement::Pack, ..plain() });
    table.check(
        [new_try(1)].into_iter().chain(tasks(1, 4)).chain(workers(3, 2)),
        [assign(1, 1, 1, 101), assign(1, 2, 1, 102), assign(2, 3, 1, 103), assign(2, 4, 1, 104)],
    );
    // Two workers are enough. The task therefore waits for worker 2, although worker 3 is idle and has not tried it.
    table.check([failed(1, 1)], []);
    let reason = WaitReason::OutsidePackPlan { kind: SHARD, plan_size: 2, free: 1 };
    assert_eq!(table.scheduler.wait_reason(TaskId(101)), Some(reason));
    table.check([failed(2, 3)], [assign(2, 5, 1, 101), assign(1, 6, 1, 103)]);
    // Now the task has failed on both workers.
    table.check([failed(2, 5)], [assign(3, 7, 1, 101)]);
}

#[test]
fn pack_gives_an_idle_worker_a_task_full_holders_failed() {
    let mut table = Table::with(SchedulerConfig { placement: Placement::Pack, ..plain() });
    let events = [new_try(1)].into_iter().chain(tasks(1, 4)).chain([ready(1, 2), ready(2, 1), ready(3, 1)]);
    table.check(events, [assign(1, 1, 1, 101), assign(1, 2, 1, 102), assign(2, 3, 1, 103)]);
    table.check([failed(1, 1)], [assign(1, 4, 1, 104)]);
    table.check([started(1, 2), started(1, 4)], []);
    table.check([delivered(2, 3), passed(3)], [assign(2, 5, 1, 101), accept(2, 3, 1, 103)]);
    table.check([delivered(2, 5), task(1, 105, SHARD)], [assign(2, 6, 1, 105)]);
    // Workers 1 and 2 hold three attempts and are full. They would be enough for the fourth task, but both have failed
    // at it.
    table.check([rejected(5)], [discard(5), assign(3, 7, 1, 101)]);
}

#[test]
fn pack_uses_the_only_worker_that_supports_a_kind() {
    let mut world = World::new(Placement::Pack);
    world.send([ready_for(1, 2, SHARD), ready_for(2, 2, SHARD), ready_for(3, 1, SHARD), ready_for(4, 1, REDUCE)]);
    world.send([new_try(1)].into_iter().chain(tasks(1, 4)).chain([task(1, 50, REDUCE), task(1, 51, REDUCE)]));
    assert_eq!(world.holding(), [2, 1, 1, 1]);
    world.check(2, &[2, 1, 1, 2]);
}

#[test]
fn pack_plans_each_kind_for_the_workers_that_support_it() {
    for slots in [1, 2] {
        let mut world = World::new(Placement::Pack);
        world.send([new_try(1)].into_iter().chain(tasks(1, 6)));
        world.send([task(1, 50, REDUCE), task(1, 51, REDUCE), task(1, 52, REDUCE), task(1, 53, REDUCE)]);
        // Six shards on four workers are two rounds of three. Four reductions on three workers are two rounds of two.
        world.send((1..=4).map(|session| ready_for(session, slots, SHARD)));
        world.send((5..=7).map(|session| ready_for(session, slots, REDUCE)));
        world.check(2, &[2, 2, 2, 0, 2, 2, 0]);
    }
}

#[test]
fn pack_does_not_wait_for_workers_busy_with_another_kind() {
    let mut world = known_before(Placement::Pack, 15, 7, 1);
    world.send([task(1, 50, REDUCE)]);
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 1, 0]);
    world.check(3, &[3, 3, 3, 3, 3, 1, 0]);
}

#[test]
fn pack_plans_for_the_tasks_of_all_tries() {
    for slots in [1, 2] {
        let mut world = World::new(Placement::Pack);
        let events =
            [new_try(1), new_try(2)].into_iter().chain(tasks(1, 8)).chain(tasks(2, 7)).chain(workers(7, slots));
        world.send(events);
        world.check(3, &[3, 3, 3, 3, 3, 0, 0]);
    }
}

#[test]
fn pack_plans_again_when_a_try_ends() {
    let mut world = World::new(Placement::Pack);
    world.send([new_try(1), new_try(2)].into_iter().chain(tasks(1, 8)).chain(tasks(2, 7)).chain(workers(7, 1)));
    assert_eq!(world.holding(), [1, 1, 1, 1, 1, 0, 0]);
    world.send([ended(1)]);
    assert_eq!(world.holding(), [1; 7]);
    world.check(1, &[1; 7]);
}

#[test]
fn pack_prefers_workers_at_work_to_lower_ids() {
    let mut world = World::new(Placement::Pack);
    world.send([new_try(1)].into_iter().chain(tasks(1, 9)).chain((3..=5).map(|session| ready(session, 1))));
    world.round(&[]);
    // For the six open tasks, five workers need as many rounds as three.
    world.send([ready(1, 1), ready(2, 1)]);
    assert_eq!(world.holding(), [0, 0, 1, 1, 1]);
    world.check(3, &[0, 0, 3, 3, 3]);
}

#[test]
fn a_placement_parses_from_its_name() {
    for placement in Placement::ALL {
        assert_eq!(placement.to_string().parse(), Ok(placement));
    }
    let unknown = "Pack".parse::<Placement>().expect_err("names are case-sensitive");
    assert_eq!(unknown.to_string(), "unknown placement \"Pack\": expected \"spread\" or \"pack\"");
}
