//! The order in which waiting tasks get slots.

use super::{exclusion_buckets::ExclusionBuckets, exclusions::Exclusions};
use crate::{AttemptId, TaskId, TaskKind};
use std::collections::{BTreeMap, BTreeSet};

/// The waiting tasks, in fair-share order of their tries: the try with the fewest attempts on workers comes first.
/// Tries therefore share the slots evenly, and a short try ends soon beside a long one.
#[derive(Debug, Default)]
pub(crate) struct TaskQueue {
    /// Tries that have or had waiting or held tasks, by position. A try stays until it is forgotten.
    tries: BTreeMap<u64, TryShare>,
    /// The turns of the tries that have waiting tasks.
    turns: BTreeSet<FairShareTurn>,
    /// Number of waiting tasks by kind.
    len: [usize; TaskKind::ALL.len()],
}

/// The queue entry of one try.
#[derive(Debug)]
struct TryShare {
    waiting: ExclusionBuckets<Rank>,
    turn: FairShareTurn,
}

/// The position of a try in fair-share order. The lowest turn gets the next slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FairShareTurn {
    /// Number of attempts that workers hold, without overdue ones.
    held: usize,
    /// The latest attempt of the try, as a tie-breaker. Without it, with more tries than slots, a try that has
    /// just delivered would always be first again.
    last: AttemptId,
    /// The position of the try among all tries.
    try_order: u64,
}

impl TaskQueue {
    /// Returns the number of waiting tasks.
    pub(crate) fn len(&self) -> usize {
        self.len.iter().sum()
    }

    /// Returns the number of waiting tasks of `kind`.
    pub(crate) const fn len_of(&self, kind: TaskKind) -> usize {
        self.len[kind.index()]
    }

    /// Changes the entry of a try and updates its turn.
    fn change<T>(&mut self, try_order: u64, change: impl FnOnce(&mut TryShare) -> T) -> T {
        let new = || TryShare {
            waiting: ExclusionBuckets::new(),
            turn: FairShareTurn { held: 0, last: AttemptId(0), try_order },
        };
        let share = self.tries.entry(try_order).or_insert_with(new);
        let before = share.turn;
        let outcome = change(share);
        let waits = share.waiting.len() > 0;
        // Usually the turn stays the same.
        if share.turn != before || !waits {
            self.turns.remove(&before);
        }
        if waits {
            self.turns.insert(share.turn);
        }
        outcome
    }

    /// Adds a task that is not in the queue.
    pub(crate) fn insert(&mut self, kind: TaskKind, excluded: &Exclusions, rank: Rank) {
        self.change(rank.try_order, |share| share.waiting.insert(kind, excluded, rank));
        self.len[kind.index()] += 1;
    }

    /// Removes a task. Does nothing if the task is not in the queue.
    pub(crate) fn remove(&mut self, kind: TaskKind, excluded: &Exclusions, rank: Rank) {
        if self.change(rank.try_order, |share| share.waiting.remove(kind, excluded, rank)) {
            self.len[kind.index()] -= 1;
        }
    }

    /// Counts `attempt` at the task of `rank` in the try's share.
    pub(crate) fn hold(&mut self, rank: Rank, attempt: AttemptId) {
        self.change(rank.try_order, |share| {
            share.turn.held += 1;
            share.turn.last = share.turn.last.max(attempt);
        });
    }

    /// Stops counting an attempt at the task of `rank`: it ended, or it is overdue.
    pub(crate) fn release(&mut self, rank: Rank) {
        self.change(rank.try_order, |share| share.turn.held -= 1);
    }

    /// Forgets a try that has no waiting or held tasks.
    pub(crate) fn forget(&mut self, try_order: u64) {
        self.tries.remove(&try_order);
    }

    /// Returns the waiting tasks of each try, in fair-share order of the tries.
    pub(crate) fn turns(&self) -> impl Iterator<Item = &ExclusionBuckets<Rank>> {
        self.turns.iter().map(|turn| &self.tries[&turn.try_order].waiting)
    }

    /// Returns the waiting tasks of a try, by the try's position.
    pub(crate) fn waiting_of(&self, try_order: u64) -> Option<&ExclusionBuckets<Rank>> {
        self.tries.get(&try_order).map(|share| &share.waiting)
    }

    /// Checks the turns against the waiting tasks and `held`, the number of held attempts by try position. Returns
    /// every waiting task.
    pub(crate) fn check_invariants(&self, held: &BTreeMap<u64, usize>) -> BTreeMap<Rank, (TaskKind, &Exclusions)> {
        let counted = self.tries.iter().map(|(try_order, share)| (*try_order, share.turn.held));
        let counted: BTreeMap<u64, usize> = counted.filter(|(_, held)| *held > 0).collect();
        assert_eq!(counted, *held, "the number of held attempts of a try is wrong");
        let waiting = self.tries.values().filter(|share| share.waiting.len() > 0);
        let turns: BTreeSet<FairShareTurn> = waiting.map(|share| share.turn).collect();
        assert_eq!(self.turns, turns, "the index of turns is wrong");
        let mut tasks = BTreeMap::new();
        for (try_order, TryShare { waiting, turn }) in &self.tries {
            let of_try = waiting.check_invariants();
            assert_eq!(turn.try_order, *try_order, "a try has the turn of another try");
            assert!(of_try.keys().all(|rank| rank.try_order == *try_order), "a task waits under another try");
            tasks.extend(of_try);
        }
        for kind in TaskKind::ALL {
            let of_kind = tasks.values().filter(|(found, _)| *found == kind).count();
            assert_eq!(self.len_of(kind), of_kind, "the number of tasks of {kind} is wrong");
        }
        tasks
    }

    /// Returns the number of tries with an entry.
    #[cfg(test)]
    pub(crate) fn tries(&self) -> usize {
        self.tries.len()
    }
}

/// How useful a task is among the tasks of its try, the most useful first.
///
/// A task keeps its rank when it is retried or requeued, so it comes before every task submitted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The position of the try among all tries.
    try_order: u64,
    /// Recursion comes before shards: it frees the memory of its inputs and shrinks the tree of proofs, while shards
    /// only add to both.
    urgency: Urgency,
    /// Then the order of submission. It is unique, so `task` never decides the order.
    submission: u64,
    /// The task that has this rank.
    task: TaskId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Recursion,
    Shard,
}

impl Rank {
    pub(crate) const fn new(try_order: u64, kind: TaskKind, submission: u64, task: TaskId) -> Self {
        let urgency = match kind {
            TaskKind::ProveShard | TaskKind::NormalizeShard => Urgency::Shard,
            TaskKind::RecursionReduce
            | TaskKind::RecursionDeferred
            | TaskKind::ShrinkWrap
            | TaskKind::PlonkWrap
            | TaskKind::Groth16Wrap => Urgency::Recursion,
        };
        Self { try_order, urgency, submission, task }
    }

    pub(crate) const fn task(self) -> TaskId {
        self.task
    }
}
