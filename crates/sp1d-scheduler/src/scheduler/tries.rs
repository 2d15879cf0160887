//! How tries, tasks and markers start and end.

use super::state_machine::Scheduler;
use crate::{
    AttemptId, Command, ShardSize, ShareGroup, TaskId, TaskKind, TryId,
    queue::Rank,
    tasks::{AttemptState, ScheduledMarker, ScheduledTask, ScheduledTry, TaskState},
};
use std::{
    collections::{BTreeSet, btree_map::Entry},
    mem,
};

impl Scheduler {
    pub(super) fn on_try_started(&mut self, try_id: TryId, group: ShareGroup, trusted_only: bool) {
        if let Entry::Vacant(entry) = self.tries.entry(try_id) {
            self.queue.add_try(self.tries_started, group);
            entry.insert(ScheduledTry {
                order: self.tries_started,
                failed: false,
                shard_size: None,
                trusted_only,
                tasks: BTreeSet::new(),
                markers: BTreeSet::new(),
            });
            self.tries_started += 1;
        }
    }

    /// Excludes small workers: those into which shards of `size` do not fit get no shard of the try, even if they
    /// connect later. Only the first size counts.
    pub(super) fn on_small_workers_excluded(&mut self, try_id: TryId, size: ShardSize) {
        let Some(running) = self.tries.get_mut(&try_id).filter(|running| running.shard_size.is_none()) else { return };
        running.shard_size = Some(size);
        for task in running.tasks.clone() {
            let scheduled = self.task(task);
            if scheduled.kind.is_shard() && !matches!(scheduled.state, TaskState::Accepted(_)) {
                self.change_exclusions(task, |scheduled| scheduled.excluded.set_shard_size(size));
                self.tasks_excluding_by_memory.insert(task);
            }
        }
    }

    pub(super) fn on_marker_submitted(&mut self, try_id: TryId, marker: TaskId) {
        if self.tasks.contains_key(&marker) || self.markers.contains_key(&marker) {
            return;
        }
        let Some(running) = self.tries.get_mut(&try_id).filter(|running| !running.failed) else { return };
        running.markers.insert(marker);
        self.markers.insert(marker, ScheduledMarker { try_id, completed: false });
    }

    pub(super) fn on_task_submitted(&mut self, try_id: TryId, task: TaskId, kind: TaskKind, marker: Option<TaskId>) {
        if self.tasks.contains_key(&task) || self.markers.contains_key(&task) || marker == Some(task) {
            return;
        }
        let running = self.tries.get(&try_id).filter(|running| !running.failed);
        let Some(running) = running else { return };
        let (order, shard_size, trusted_only) = (running.order, running.shard_size, running.trusted_only);
        if let Some(marker) = marker {
            // A marker that arrives after its task is registered here. If the marker were dropped, the task could be
            // accepted without it.
            self.on_marker_submitted(try_id, marker);
            if self.markers.get(&marker).is_none_or(|known| known.try_id != try_id) {
                return; // The id belongs to a task or to another try.
            }
        }
        let rank = Rank::new(order, kind, self.tasks_submitted, task);
        self.tasks_submitted += 1;
        let mut scheduled = ScheduledTask::new(try_id, kind, rank, marker, self.clock.now());
        if trusted_only {
            scheduled.excluded.set_trusted_only();
        }
        if let Some(size) = shard_size.filter(|_| kind.is_shard()) {
            scheduled.excluded.set_shard_size(size);
            self.tasks_excluding_by_memory.insert(task);
        }
        self.tasks.insert(task, scheduled);
        self.tries.get_mut(&try_id).expect("it was found above").tasks.insert(task);
        self.open_tasks += 1;
        self.enqueue(task);
    }

    pub(super) fn on_try_ended(&mut self, try_id: TryId, commands: &mut Vec<Command>) {
        let Some(ScheduledTry { tasks, markers, .. }) = self.tries.get_mut(&try_id) else { return };
        let (tasks, markers) = (mem::take(tasks), mem::take(markers));
        for task in tasks {
            self.tasks_excluding_by_memory.remove(&task);
            self.leave_queue(task);
            for attempt in self.task(task).attempts.clone() {
                self.end_attempt(attempt, commands);
            }
            let removed = self.tasks.remove(&task).expect("tries name only known tasks");
            self.open_tasks -= usize::from(!matches!(removed.state, TaskState::Accepted(_)));
        }
        for marker in markers {
            self.markers.remove(&marker);
        }
        if let Some(running) = self.tries.remove(&try_id) {
            self.queue.remove_try(running.order);
        }
    }

    /// Fails the try of `task`, unless it has already failed. None of its tasks is assigned any more. Workers keep
    /// its attempts until the try ends. `lacks_large_worker` is true if the task failed only because no ready worker
    /// is large enough.
    pub(super) fn fail_try(&mut self, task: TaskId, lacks_large_worker: bool, commands: &mut Vec<Command>) {
        let ScheduledTask { try_id, kind, .. } = *self.task(task);
        if self.stop_try(try_id) {
            let history = self.task(task).history().to_vec();
            commands.push(Command::FailTry { try_id, task, kind, history, lacks_large_worker });
        }
    }

    /// Fails the try of attempt `id`, which the driver could not give to its worker. The attempt ends, but it counts
    /// neither as a failure nor as a loss: no worker can prove the task.
    pub(super) fn on_assignment_failed(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (task, is_held) = (attempt.task, attempt.state.is_held());
        self.stop_try(self.task(task).try_id);
        if is_held {
            self.end_attempt(id, commands);
            self.retry_uncounted(task, id, commands);
        }
    }

    /// Assigns none of the tasks of `try_id` any more. Returns false if the try had failed before.
    fn stop_try(&mut self, try_id: TryId) -> bool {
        let running = self.tries.get_mut(&try_id).expect("the tasks of a try are forgotten together with the try");
        if running.failed {
            return false;
        }
        running.failed = true;
        for other in running.tasks.clone() {
            self.leave_queue(other);
            match self.task(other).state {
                TaskState::Waiting { .. } => self.task_mut(other).state = TaskState::TryFailed,
                TaskState::Held(attempt) => self.update_stealable(attempt),
                TaskState::Verifying(_) | TaskState::TryFailed | TaskState::Accepted(_) => {}
            }
        }
        true
    }

    /// Forgets attempt `id`, cancels it on its worker if it is live, and lets the driver discard its uploads.
    pub(super) fn end_attempt(&mut self, id: AttemptId, commands: &mut Vec<Command>) {
        let attempt = self.attempt(id);
        let (task, session, state) = (attempt.task, attempt.session, attempt.state);
        if state.is_held() {
            self.free_slot(id);
            commands.push(Command::Cancel { session, attempt: id });
        }
        // The uploads of an accepted attempt belong to its try.
        if state != AttemptState::Accepted {
            commands.push(Command::Discard { attempt: id });
        }
        self.attempts.remove(&id);
        self.task_mut(task).attempts.remove(&id);
    }
}
