//! The order in which waiting tasks get slots.

use super::{exclusion_buckets::ExclusionBuckets, exclusions::Exclusions};
use crate::{AttemptId, ShareGroup, TaskId, TaskKind};
use std::collections::{BTreeMap, BTreeSet};

/// The waiting tasks, in fair-share order: the group with the fewest attempts on workers comes first, and in a group
/// the try with the fewest. Groups therefore share the slots evenly, and the tries of a group do too, so that a short
/// try ends soon beside a long one.
#[derive(Debug, Default)]
pub(crate) struct TaskQueue {
    /// Tries that have or had waiting or held tasks, by the order of their start. A try stays until it is forgotten.
    tries: BTreeMap<u64, TryEntry>,
    /// The groups of the tries by the order of their start. A try without an entry is in the common group.
    group_of: BTreeMap<u64, ShareGroup>,
    /// Groups with tries that have or had waiting or held tasks.
    groups: BTreeMap<ShareGroup, GroupEntry>,
    /// The positions of the groups that have waiting tasks.
    group_positions: BTreeSet<GroupPosition>,
    /// The newest attempt of all groups, those without an entry included. `None` before the first attempt.
    newest: Option<AttemptId>,
    /// Number of waiting tasks by kind.
    len: [usize; TaskKind::ALL.len()],
}

/// The queue entry of one try.
#[derive(Debug)]
struct TryEntry {
    waiting: ExclusionBuckets<Rank>,
    position: TryPosition,
}

/// The position of a try in fair-share order. The lowest position gets the next slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TryPosition {
    /// Number of attempts that workers hold, without overdue ones.
    held: usize,
    /// The latest attempt of the try, as a tie-breaker. Without it, with more tries than slots, a try that has
    /// just delivered would always be first again.
    last: AttemptId,
    /// The order of the try's start among all tries.
    try_order: u64,
}

/// The queue entry of one group.
#[derive(Debug)]
struct GroupEntry {
    position: GroupPosition,
    /// The positions of its tries that have waiting tasks.
    positions: BTreeSet<TryPosition>,
}

/// The position of a group in fair-share order. The lowest position gets the next slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupPosition {
    /// Number of attempts of all tries of the group that workers hold, without overdue ones.
    held: usize,
    /// The latest attempt of the group, as a tie-breaker like that of a try. For a new group without attempts, the
    /// newest attempt of all groups when it came.
    last: AttemptId,
    group: ShareGroup,
}

impl GroupEntry {
    /// Creates the entry of a group without tasks. `newest` is the newest attempt of all groups and counts as its own.
    /// So the group comes after the groups that already wait. Otherwise, groups whose tries are short would always be
    /// first.
    const fn new(group: ShareGroup, newest: AttemptId) -> Self {
        Self { position: GroupPosition { held: 0, last: newest, group }, positions: BTreeSet::new() }
    }

    /// Updates the entry after a try of the group has moved from the position `before` to `after`. `has_waiting` is
    /// true if the try has waiting tasks now.
    fn update(&mut self, before: TryPosition, after: TryPosition, has_waiting: bool) {
        self.position.held = self.position.held + after.held - before.held;
        self.position.last = self.position.last.max(after.last);
        // Usually the position stays the same.
        if after != before || !has_waiting {
            self.positions.remove(&before);
        }
        if has_waiting {
            self.positions.insert(after);
        }
    }

    /// Returns the position of the group, if one of its tries has waiting tasks.
    fn waiting_position(&self) -> Option<GroupPosition> {
        (!self.positions.is_empty()).then_some(self.position)
    }
}

impl TaskQueue {
    /// Puts a new try into `group`. It has no waiting or held tasks yet.
    pub(crate) fn add_try(&mut self, try_order: u64, group: ShareGroup) {
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

    /// Changes the entry of a try, and updates its position and that of its group.
    fn change<T>(&mut self, try_order: u64, change: impl FnOnce(&mut TryEntry) -> T) -> T {
        let new = || TryEntry {
            waiting: ExclusionBuckets::new(),
            position: TryPosition { held: 0, last: AttemptId(0), try_order },
        };
        let group = self.group(try_order);
        let try_entry = self.tries.entry(try_order).or_insert_with(new);
        let before = try_entry.position;
        let outcome = change(try_entry);
        let (after, has_waiting) = (try_entry.position, try_entry.waiting.len() > 0);
        let newest = self.newest.unwrap_or(AttemptId(0));
        let group_entry = self.groups.entry(group).or_insert_with(|| GroupEntry::new(group, newest));
        let group_before = group_entry.waiting_position();
        group_entry.update(before, after, has_waiting);
        let group_after = group_entry.waiting_position();
        if group_after != group_before {
            if let Some(position) = group_before {
                self.group_positions.remove(&position);
            }
            self.group_positions.extend(group_after);
        }
        outcome
    }

    /// Adds a task that is not in the queue.
    pub(crate) fn insert(&mut self, kind: TaskKind, excluded: &Exclusions, rank: Rank) {
        self.change(rank.try_order, |entry| entry.waiting.insert(kind, excluded, rank));
        self.len[kind.index()] += 1;
    }

    /// Removes a task. Does nothing if the task is not in the queue.
    pub(crate) fn remove(&mut self, kind: TaskKind, excluded: &Exclusions, rank: Rank) {
        if self.change(rank.try_order, |entry| entry.waiting.remove(kind, excluded, rank)) {
            self.len[kind.index()] -= 1;
        }
    }

    /// Counts `attempt` at the task of `rank` as held by a worker.
    pub(crate) fn add_held(&mut self, rank: Rank, attempt: AttemptId) {
        self.newest = self.newest.max(Some(attempt));
        self.change(rank.try_order, |entry| {
            entry.position.held += 1;
            entry.position.last = entry.position.last.max(attempt);
        });
    }

    /// Stops counting an attempt at the task of `rank`: it has lost its slot, or it is overdue.
    pub(crate) fn remove_held(&mut self, rank: Rank) {
        self.change(rank.try_order, |entry| entry.position.held -= 1);
    }

    /// Forgets a try that has no waiting or held tasks.
    pub(crate) fn remove_try(&mut self, try_order: u64) {
        self.tries.remove(&try_order);
        let group = self.group(try_order);
        self.group_of.remove(&try_order);
        // The other tries of the group may have nothing at the moment. Then their next task creates the entry again,
        // behind the groups that wait.
        if self.groups.get(&group).is_some_and(|entry| entry.position.held == 0 && entry.positions.is_empty()) {
            self.groups.remove(&group);
        }
    }

    /// Returns the waiting tasks of each try, in fair-share order of the groups and of their tries.
    pub(crate) fn waiting_by_fair_share(&self) -> impl Iterator<Item = &ExclusionBuckets<Rank>> {
        let positions = self.group_positions.iter().flat_map(|position| &self.groups[&position.group].positions);
        positions.map(|position| &self.tries[&position.try_order].waiting)
    }

    /// Returns the waiting tasks of a try, by the order of the try's start.
    pub(crate) fn waiting_of(&self, try_order: u64) -> Option<&ExclusionBuckets<Rank>> {
        self.tries.get(&try_order).map(|entry| &entry.waiting)
    }

    /// Checks the positions against the waiting tasks and `held`, the number of held attempts by the order of the
    /// tries' start. Returns every waiting task.
    pub(crate) fn check_invariants(&self, held: &BTreeMap<u64, usize>) -> BTreeMap<Rank, (TaskKind, &Exclusions)> {
        let counted = self.tries.iter().map(|(try_order, entry)| (*try_order, entry.position.held));
        let counted: BTreeMap<u64, usize> = counted.filter(|(_, held)| *held > 0).collect();
        assert_eq!(counted, *held, "the number of held attempts of a try is wrong");
        let mut groups: BTreeMap<ShareGroup, (usize, BTreeSet<TryPosition>)> = BTreeMap::new();
        for (try_order, entry) in &self.tries {
            let (held, positions) = groups.entry(self.group(*try_order)).or_default();
            *held += entry.position.held;
            if entry.waiting.len() > 0 {
                positions.insert(entry.position);
            }
        }
        groups.retain(|_, (held, positions)| *held > 0 || !positions.is_empty());
        let indexed = self.groups.iter().map(|(group, entry)| (*group, (entry.position.held, entry.positions.clone())));
        let indexed: BTreeMap<_, _> =
            indexed.filter(|(_, (held, positions))| *held > 0 || !positions.is_empty()).collect();
        assert_eq!(indexed, groups, "the index of groups is wrong");
        let positions: BTreeSet<GroupPosition> =
            self.groups.values().filter_map(GroupEntry::waiting_position).collect();
        assert_eq!(self.group_positions, positions, "the index of the positions of groups is wrong");
        assert!(
            self.groups.iter().all(|(group, entry)| entry.position.group == *group),
            "a group has a foreign position"
        );
        let newest = self.newest.unwrap_or(AttemptId(0));
        assert!(
            self.groups.values().all(|entry| entry.position.last <= newest),
            "a group has a newer attempt than the newest one"
        );
        let mut tasks = BTreeMap::new();
        for (try_order, TryEntry { waiting, position }) in &self.tries {
            let of_try = waiting.check_invariants();
            assert_eq!(position.try_order, *try_order, "a try has the position of another try");
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
    /// The order of the try's start among all tries.
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
