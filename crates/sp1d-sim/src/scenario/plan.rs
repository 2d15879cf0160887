//! The work of a world: proofs, their tasks, and the correct result of each task.

use super::{
    dice::{Dice, Purpose, mixed},
    parameters::WorldParameters,
};
use sp1d_scheduler::{TaskId, TaskKind, TryId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How many proofs one reduce task combines.
const ARITY: usize = 4;

/// A result, reduced to what the simulation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) u64);

impl Value {
    /// Returns the correct result of `task`.
    pub(crate) const fn of(task: TaskId) -> Self {
        Self(mixed(task.0))
    }
}

/// A task before it is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskPlan {
    pub(crate) try_id: TryId,
    pub(crate) kind: TaskKind,
    pub(crate) marker: Option<TaskId>,
    /// The task fails on every worker.
    pub(crate) poison: bool,
    /// Duration on a machine of usual speed.
    pub(crate) work: Duration,
    /// The memory that the task needs, in units. Every worker has at least one unit.
    pub(crate) memory: u64,
    /// Number of input results. The task is submitted when the last of them is accepted.
    pub(crate) inputs: usize,
    /// The task that needs this task's result.
    pub(crate) parent: Option<TaskId>,
}

/// A proof before it is accepted. In the simulation, a proof has one try.
#[derive(Debug, Clone, Default)]
pub(crate) struct TryPlan {
    /// Time since the start of the world.
    pub(crate) starts: Duration,
    /// When each shard leaves the executor, counted from the start of the proof.
    pub(crate) shards: Vec<(Duration, TaskId)>,
    /// All tasks of the proof: shards, reduce tasks and wrap tasks.
    pub(crate) tasks: BTreeSet<TaskId>,
    pub(crate) poisoned: bool,
    /// Claims are compared: a marker is complete only if workers of two origins make the same claims, or if one worker
    /// is alone.
    pub(crate) compares: bool,
    /// Only trusted workers may get its tasks.
    pub(crate) trusted_only: bool,
    /// When the user cancels the proof, counted from its start.
    pub(crate) cancelled: Option<Duration>,
}

/// All work of a world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) tries: BTreeMap<TryId, TryPlan>,
    pub(crate) tasks: BTreeMap<TaskId, TaskPlan>,
}

impl Plan {
    pub(crate) fn draw(seed: u64, parameters: &WorldParameters) -> Self {
        let mut dice = Dice::new(seed, Purpose::Plan);
        let tasks = parameters.tasks as u64;
        let tries = dice.number(1..=(tasks / 5).clamp(1, 6));
        let share = (tasks / tries).max(2);
        let mut builder = Builder { plan: Self::default(), parameters, dice, ids: 0 };
        for try_id in 1..=tries {
            builder.add_try(TryId(try_id), share);
        }
        builder.plan
    }

    /// Returns the duration of all work on one machine of usual speed.
    pub(crate) fn work(&self) -> Duration {
        self.tasks.values().map(|task| task.work).sum()
    }
}

/// A plan under construction.
struct Builder<'a> {
    plan: Plan,
    parameters: &'a WorldParameters,
    dice: Dice,
    /// The last task or marker number that was used.
    ids: u64,
}

impl Builder<'_> {
    /// Adds a proof of at most about `share` tasks.
    fn add_try(&mut self, try_id: TryId, share: u64) {
        let safety_ms = u64::try_from(self.parameters.safety.as_millis()).expect("a phase lasts two minutes at most");
        // The first proof starts early, so that faults have something to strike.
        let latest_start = if try_id.0 == 1 { 3000 } else { safety_ms * 6 / 10 };
        let mut entry = TryPlan { starts: self.dice.ms(0..=latest_start), ..TryPlan::default() };
        // A compressed proof has about one reduce task for every three shards.
        let shards = self.dice.number(share / 2..=share) * 3 / 4 + 1;
        let compressed = self.dice.chance(600);
        let kind = if compressed { TaskKind::NormalizeShard } else { TaskKind::ProveShard };
        let mut level = self.add_shards(try_id, kind, shards, safety_ms / 2, &mut entry);
        if compressed {
            while level.len() > 1 {
                let mut next = Vec::new();
                for inputs in level.chunks(ARITY) {
                    next.push(match inputs {
                        // A single remaining input passes unchanged to the next level.
                        [alone] => *alone,
                        _ => self.add_fold(try_id, TaskKind::RecursionReduce, inputs, &mut entry),
                    });
                }
                level = next;
            }
            if self.dice.chance(300) {
                for kind in [TaskKind::ShrinkWrap, TaskKind::Groth16Wrap] {
                    level = vec![self.add_fold(try_id, kind, &level, &mut entry)];
                }
            }
        }
        if self.dice.chance(150) {
            let at = self.dice.index(entry.tasks.len());
            let poison = entry.tasks.iter().nth(at).expect("the index is in range");
            self.plan.tasks.get_mut(poison).expect("every task of a proof has a plan").poison = true;
            entry.poisoned = true;
        }
        entry.compares = self.dice.chance(250);
        // One proof in six. Without the dice, which would change the rest of the plan.
        entry.trusted_only = mixed(share ^ (try_id.0 << 32)).is_multiple_of(6);
        if self.dice.chance(120) {
            entry.cancelled = Some(self.dice.ms(0..=safety_ms / 2));
        }
        self.plan.tries.insert(try_id, entry);
    }

    /// Adds shards that leave the executor within about `within_ms` milliseconds.
    fn add_shards(
        &mut self,
        try_id: TryId,
        kind: TaskKind,
        shards: u64,
        within_ms: u64,
        entry: &mut TryPlan,
    ) -> Vec<TaskId> {
        let max_gap = (within_ms / shards).max(1);
        let marked_per_mille = if self.dice.chance(400) { 500 } else { 0 };
        let large_shards = self.parameters.large_shards;
        let mut emitted = Duration::ZERO;
        let mut added = Vec::new();
        for _ in 0..shards {
            emitted += self.dice.ms(0..=max_gap);
            let marker = if self.dice.chance(marked_per_mille) { Some(self.next_id()) } else { None };
            let task = self.next_id();
            let work = self.dice.ms(self.parameters.work_ms.clone());
            // Few worlds have large shards, and few shards of those worlds are large.
            let memory = if large_shards && self.dice.chance(120) { self.dice.number(2..=3) } else { 1 };
            let plan = TaskPlan { try_id, kind, marker, poison: false, work, memory, inputs: 0, parent: None };
            self.plan.tasks.insert(task, plan);
            entry.tasks.insert(task);
            entry.shards.push((emitted, task));
            added.push(task);
        }
        added
    }

    fn add_fold(&mut self, try_id: TryId, kind: TaskKind, inputs: &[TaskId], entry: &mut TryPlan) -> TaskId {
        let task = self.next_id();
        let work = self.dice.ms(self.parameters.work_ms.clone()) / 2;
        let inputs_len = inputs.len();
        let plan =
            TaskPlan { try_id, kind, marker: None, poison: false, work, memory: 1, inputs: inputs_len, parent: None };
        self.plan.tasks.insert(task, plan);
        entry.tasks.insert(task);
        for input in inputs {
            self.plan.tasks.get_mut(input).expect("inputs are planned first").parent = Some(task);
        }
        task
    }

    const fn next_id(&mut self) -> TaskId {
        self.ids += 1;
        TaskId(self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_task_of_a_compressed_proof_has_no_parent() {
        for seed in 0..100 {
            let plan = Plan::draw(seed, &WorldParameters::draw(seed));
            for entry in plan.tries.values() {
                let ends = entry.tasks.iter().filter(|task| plan.tasks[task].parent.is_none()).count();
                assert!(ends == 1 || ends == entry.shards.len(), "seed {seed}: {ends} tasks without a parent");
                for task in &entry.tasks {
                    let inputs = plan.tasks.values().filter(|other| other.parent == Some(*task)).count();
                    assert_eq!(inputs, plan.tasks[task].inputs, "seed {seed}: {task}");
                }
            }
        }
    }
}
