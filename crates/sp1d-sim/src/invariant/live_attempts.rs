//! Records which worker has which live attempt, based only on events and commands.

use sp1d_scheduler::{AttemptId, Command, Event, SessionId, TaskId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The live attempts: those that occupy a slot of a worker. Also has facts about all attempts that were assigned.
#[derive(Debug, Default)]
pub(crate) struct LiveAttempts {
    live: BTreeMap<AttemptId, SessionId>,
    of_task: BTreeMap<TaskId, BTreeSet<AttemptId>>,
    of_session: BTreeMap<SessionId, BTreeSet<AttemptId>>,
    /// The task of every attempt that was ever assigned.
    tasks: BTreeMap<AttemptId, TaskId>,
    /// When each attempt was first reported as started.
    started_at: BTreeMap<AttemptId, Timestamp>,
    /// When each attempt was assigned.
    assigned_at: BTreeMap<AttemptId, Timestamp>,
    /// Time of the latest event.
    now: Timestamp,
}

impl LiveAttempts {
    /// Records an event, before its commands.
    pub(crate) fn on_event(&mut self, event: &Event, now: Timestamp) {
        self.now = now;
        match *event {
            Event::AttemptStarted { session, attempt } if self.holder(attempt) == Some(session) => {
                self.started_at.entry(attempt).or_insert(now);
            }
            Event::ResultDelivered { session, attempt } | Event::AttemptFailed { session, attempt, .. }
                if self.holder(attempt) == Some(session) =>
            {
                self.remove(attempt);
            }
            Event::SessionEnded { session } => self.remove_worker(session),
            _ => {}
        }
    }

    pub(crate) fn on_command(&mut self, command: &Command) {
        match *command {
            Command::Assign { session, attempt, task, .. } => {
                self.tasks.insert(attempt, task);
                self.insert(session, attempt, task);
            }
            Command::Continue { session, attempt } => {
                if let Some(task) = self.task_of(attempt) {
                    self.insert(session, attempt, task);
                }
            }
            Command::Cancel { session, attempt } if self.holder(attempt) == Some(session) => self.remove(attempt),
            Command::EndSession { session } => self.remove_worker(session),
            _ => {}
        }
    }

    fn insert(&mut self, session: SessionId, attempt: AttemptId, task: TaskId) {
        self.live.insert(attempt, session);
        self.assigned_at.entry(attempt).or_insert(self.now);
        self.of_task.entry(task).or_default().insert(attempt);
        self.of_session.entry(session).or_default().insert(attempt);
    }

    fn remove(&mut self, attempt: AttemptId) {
        let Some(session) = self.live.remove(&attempt) else { return };
        if let Some(attempts) = self.of_session.get_mut(&session) {
            attempts.remove(&attempt);
        }
        if let Some(attempts) = self.tasks.get(&attempt).and_then(|task| self.of_task.get_mut(task)) {
            attempts.remove(&attempt);
        }
    }

    fn remove_worker(&mut self, session: SessionId) {
        for attempt in self.of_session.remove(&session).unwrap_or_default() {
            self.remove(attempt);
        }
    }

    /// Returns the number of live attempts.
    pub(crate) fn count(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn of_task(&self, task: TaskId) -> impl Iterator<Item = AttemptId> {
        self.of_task.get(&task).into_iter().flatten().copied()
    }

    /// Returns how many attempts `session` holds.
    pub(crate) fn held_by(&self, session: SessionId) -> usize {
        self.of_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// Returns the tasks whose attempts `session` holds.
    pub(crate) fn tasks_on(&self, session: SessionId) -> impl Iterator<Item = TaskId> {
        let held = self.of_session.get(&session).into_iter().flatten();
        held.filter_map(|attempt| self.task_of(*attempt))
    }

    /// Returns the worker that holds `attempt`, if the attempt is live.
    pub(crate) fn holder(&self, attempt: AttemptId) -> Option<SessionId> {
        self.live.get(&attempt).copied()
    }

    /// Returns the task of an attempt, live or not.
    pub(crate) fn task_of(&self, attempt: AttemptId) -> Option<TaskId> {
        self.tasks.get(&attempt).copied()
    }

    pub(crate) fn assigned_at(&self, attempt: AttemptId) -> Option<Timestamp> {
        self.assigned_at.get(&attempt).copied()
    }

    pub(crate) fn started_at(&self, attempt: AttemptId) -> Option<Timestamp> {
        self.started_at.get(&attempt).copied()
    }
}
