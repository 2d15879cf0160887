//! Records which worker holds which attempt, based only on events and commands.

use scheduler::{AttemptId, Command, Event, TaskId, Timestamp, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// The live attempts: those that occupy a slot of a worker.
#[derive(Debug, Default)]
pub(crate) struct Books {
    live: BTreeMap<AttemptId, WorkerId>,
    of_task: BTreeMap<TaskId, BTreeSet<AttemptId>>,
    of_worker: BTreeMap<WorkerId, BTreeSet<AttemptId>>,
    /// The task of every attempt that was ever assigned.
    tasks: BTreeMap<AttemptId, TaskId>,
    /// When each attempt was first reported as started.
    began: BTreeMap<AttemptId, Timestamp>,
}

impl Books {
    /// Records an event, before its commands.
    pub(crate) fn on_event(&mut self, event: &Event, now: Timestamp) {
        match *event {
            Event::AttemptStarted { worker, attempt } if self.holder(attempt) == Some(worker) => {
                self.began.entry(attempt).or_insert(now);
            }
            Event::AttemptReported { worker, attempt } | Event::AttemptFailed { worker, attempt, .. }
                if self.holder(attempt) == Some(worker) =>
            {
                self.remove(attempt);
            }
            Event::WorkerLost { worker } => self.remove_worker(worker),
            _ => {}
        }
    }

    pub(crate) fn on_command(&mut self, command: &Command) {
        match *command {
            Command::Assign { worker, attempt, task, .. } => {
                self.tasks.insert(attempt, task);
                self.insert(worker, attempt, task);
            }
            Command::Adopt { worker, attempt } => {
                if let Some(task) = self.task_of(attempt) {
                    self.insert(worker, attempt, task);
                }
            }
            Command::Cancel { worker, attempt } if self.holder(attempt) == Some(worker) => self.remove(attempt),
            Command::ExpireWorker { worker } => self.remove_worker(worker),
            _ => {}
        }
    }

    fn insert(&mut self, worker: WorkerId, attempt: AttemptId, task: TaskId) {
        self.live.insert(attempt, worker);
        self.of_task.entry(task).or_default().insert(attempt);
        self.of_worker.entry(worker).or_default().insert(attempt);
    }

    fn remove(&mut self, attempt: AttemptId) {
        let Some(worker) = self.live.remove(&attempt) else { return };
        if let Some(attempts) = self.of_worker.get_mut(&worker) {
            attempts.remove(&attempt);
        }
        if let Some(attempts) = self.tasks.get(&attempt).and_then(|task| self.of_task.get_mut(task)) {
            attempts.remove(&attempt);
        }
    }

    fn remove_worker(&mut self, worker: WorkerId) {
        for attempt in self.of_worker.remove(&worker).unwrap_or_default() {
            self.remove(attempt);
        }
    }

    /// Returns the number of live attempts.
    pub(crate) fn live(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn live_of(&self, task: TaskId) -> impl Iterator<Item = AttemptId> {
        self.of_task.get(&task).into_iter().flatten().copied()
    }

    /// Returns how many attempts `worker` holds.
    pub(crate) fn held_by(&self, worker: WorkerId) -> usize {
        self.of_worker.get(&worker).map_or(0, BTreeSet::len)
    }

    /// Returns the worker that holds `attempt`, if the attempt is live.
    pub(crate) fn holder(&self, attempt: AttemptId) -> Option<WorkerId> {
        self.live.get(&attempt).copied()
    }

    /// Returns the task of an attempt, live or not.
    pub(crate) fn task_of(&self, attempt: AttemptId) -> Option<TaskId> {
        self.tasks.get(&attempt).copied()
    }

    pub(crate) fn began(&self, attempt: AttemptId) -> Option<Timestamp> {
        self.began.get(&attempt).copied()
    }
}
