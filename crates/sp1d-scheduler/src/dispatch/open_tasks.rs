//! The tasks without an accepted result, by their numbers and by try.

use super::ResultKey;
use crate::{TaskId, TaskKind, TryId};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Bound,
};

/// A task without an accepted result.
#[derive(Debug, Clone, Copy)]
pub(super) struct DispatchTask {
    pub(super) try_id: TryId,
    pub(super) kind: TaskKind,
    /// True if an attempt of the task must complete a marker before a result is accepted.
    pub(super) has_marker: bool,
    /// Key of its result. `None` if its results are not cached.
    pub(super) key: Option<ResultKey>,
}

/// The open tasks of all tries.
#[derive(Debug, Default)]
pub(super) struct OpenTaskTable {
    tasks: BTreeMap<TaskId, DispatchTask>,
    /// The tasks of each try that has open tasks. A try with many tasks must not make queries about other tries slow.
    by_try: BTreeMap<TryId, BTreeSet<TaskId>>,
}

impl OpenTaskTable {
    pub(super) fn get(&self, task: TaskId) -> Option<&DispatchTask> {
        self.tasks.get(&task)
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns all tasks, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &DispatchTask)> {
        self.tasks.iter().map(|(task, open)| (*task, open))
    }

    /// Returns the number of tasks of `try_id`.
    pub(super) fn count_of(&self, try_id: TryId) -> usize {
        self.by_try.get(&try_id).map_or(0, BTreeSet::len)
    }

    /// Returns the tasks of `try_id` whose numbers are above `after`, in the order of their numbers.
    pub(super) fn of_try(&self, try_id: TryId, after: TaskId) -> impl Iterator<Item = (TaskId, &DispatchTask)> {
        let later: (Bound<TaskId>, Bound<TaskId>) = (Bound::Excluded(after), Bound::Unbounded);
        let numbers = self.by_try.get(&try_id).into_iter().flat_map(move |tasks| tasks.range(later));
        numbers.filter_map(move |task| Some((*task, self.get(*task)?)))
    }

    pub(super) fn insert(&mut self, task: TaskId, open: DispatchTask) {
        self.by_try.entry(open.try_id).or_default().insert(task);
        self.tasks.insert(task, open);
    }

    pub(super) fn remove(&mut self, task: TaskId) {
        let Some(DispatchTask { try_id, .. }) = self.tasks.remove(&task) else { return };
        if let Entry::Occupied(mut of_try) = self.by_try.entry(try_id) {
            of_try.get_mut().remove(&task);
            if of_try.get().is_empty() {
                of_try.remove();
            }
        }
    }

    /// Removes all tasks of `try_id`.
    pub(super) fn remove_try(&mut self, try_id: TryId) {
        for task in self.by_try.remove(&try_id).unwrap_or_default() {
            self.tasks.remove(&task);
        }
    }

    /// Checks that both maps contain the same tasks.
    pub(super) fn check_invariants(&self) {
        let mut by_try: BTreeMap<TryId, BTreeSet<TaskId>> = BTreeMap::new();
        for (task, open) in self.iter() {
            by_try.entry(open.try_id).or_default().insert(task);
        }
        assert_eq!(self.by_try, by_try, "the index of open tasks by try is wrong");
    }
}
