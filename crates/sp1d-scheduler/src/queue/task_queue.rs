//! The order in which waiting tasks get slots.

use super::{exclusion_buckets::ExclusionBuckets, exclusions::Exclusions};
use crate::{AttemptId, ShareGroup, TaskId, TaskKind};
use std::collections::{BTreeMap, BTreeSet};

/// The waiting tasks, in fair-share order: the group with the fewest attempts on workers comes first, and in a group the
/// try with the fewest. Groups therefore share the slots evenly, and the tries of a group do too, so that a short try
/// ends soon beside a long one.
#[derive(Debug, Default)]
pub(crate) struct TaskQueue {
    /// Tries that have or had waiting or held tasks, by position. A try stays until it is forgotten.
    tries: BTreeMap<u64, TryShare>,
    /// The groups of the tries by position. A try without an entry is in the common group.
    group_of: BTreeMap<u64, ShareGroup>,
    /// Groups with tries that have or had waiting or held tasks.
    groups: BTreeMap<ShareGroup, GroupEntry>,
    /// The turns of the groups that have waiting tasks.
    group_turns: BTreeSet<GroupTurn>,
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

/// The queue entry of one group.
#[derive(Debug)]
struct GroupEntry {
    turn: GroupTurn,
    /// The turns of its tries that have waiting tasks.
    turns: BTreeSet<FairShareTurn>,
}

/// The position of a group in fair-share order. The lowest turn gets the next slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupTurn {
    /// Number of attempts of all tries of the group that workers hold, without overdue ones.
    held: usize,
    /// The latest attempt of the group, as a tie-breaker like that of a try.
    last: AttemptId,
    group: ShareGroup,
}

impl GroupEntry {
    const fn new(group: ShareGroup) -> Self {
        Self { turn: GroupTurn { held: 0, last: AttemptId(0), group }, turns: BTreeSet::new() }
    }

    /// Follows a change of a try of the group, from the turn `before` to the turn `after`. The try has waiting tasks
    /// afterwards if it `waits`.
    fn follow(&mut self, before: FairShareTurn, after: FairShareTurn, waits: bool) {
        self.turn.held = self.turn.held + after.held - before.held;
        self.turn.last = self.turn.last.max(after.last);
        // Usually the turn stays the same.
        if after != before || !waits {
            self.turns.remove(&before);
        }
        if waits {
            self.turns.insert(after);
        }
    }

    /// Returns the turn of the group, if one of its tries has waiting tasks.
    fn waiting_turn(&self) -> Option<GroupTurn> {
        (!self.turns.is_empty()).then_some(self.turn)
    }
}

impl TaskQueue {
    /// Puts a new try into `group`. It has no waiting or held tasks yet.
    pub(crate) fn join(&mut self, try_order: u64, group: ShareGroup) {
        if group != ShareGroup::default() {
            self.group_of.insert(try_order, group);
        }
    }

    fn group(&self, try_order: u64) -> ShareGroup {
        self.group_of.get(&try_order).copied().unwrap_or_default()
    }

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
        let group = self.group(try_order);
        let share = self.tries.entry(try_order).or_insert_with(new);
        let before = share.turn;
        let outcome = change(share);
        let (after, waits) = (share.turn, share.waiting.len() > 0);
        let entry = self.groups.entry(group).or_insert_with(|| GroupEntry::new(group));
        let group_before = entry.waiting_turn();
        entry.follow(before, after, waits);
        let group_after = entry.waiting_turn();
        if group_after != group_before {
            if let Some(turn) = group_before {
                self.group_turns.remove(&turn);
            }
            self.group_turns.extend(group_after);
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
        let group = self.group(try_order);
        self.group_of.remove(&try_order);
        // The other tries of the group may have nothing at the moment. Then the group starts anew with their next task.
        if self.groups.get(&group).is_some_and(|entry| entry.turn.held == 0 && entry.turns.is_empty()) {
            self.groups.remove(&group);
        }
    }

    /// Returns the waiting tasks of each try, in fair-share order of the groups and of their tries.
    pub(crate) fn turns(&self) -> impl Iterator<Item = &ExclusionBuckets<Rank>> {
        let turns = self.group_turns.iter().flat_map(|turn| &self.groups[&turn.group].turns);
        turns.map(|turn| &self.tries[&turn.try_order].waiting)
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
        let mut groups: BTreeMap<ShareGroup, (usize, BTreeSet<FairShareTurn>)> = BTreeMap::new();
        for (try_order, share) in &self.tries {
            let (held, turns) = groups.entry(self.group(*try_order)).or_default();
            *held += share.turn.held;
            if share.waiting.len() > 0 {
                turns.insert(share.turn);
            }
        }
        groups.retain(|_, (held, turns)| *held > 0 || !turns.is_empty());
        let indexed = self.groups.iter().map(|(group, entry)| (*group, (entry.turn.held, entry.turns.clone())));
        let indexed: BTreeMap<_, _> = indexed.filter(|(_, (held, turns))| *held > 0 || !turns.is_empty()).collect();
        assert_eq!(indexed, groups, "the index of groups is wrong");
        let turns: BTreeSet<GroupTurn> = self.groups.values().filter_map(GroupEntry::waiting_turn).collect();
        assert_eq!(self.group_turns, turns, "the index of the turns of groups is wrong");
        assert!(self.groups.iter().all(|(group, entry)| entry.turn.group == *group), "a group has a foreign turn");
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
