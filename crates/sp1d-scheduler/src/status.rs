//! The status of tasks and workers.

use crate::{AttemptId, KindSet, SessionId, TaskKind, Timestamp, WaitReason, WorkerId};
use std::{collections::BTreeMap, time::Duration};

/// The status of a task. Times are on the driver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// The task waits for a worker.
    Waiting {
        /// When the task entered the queue.
        since: Timestamp,
        /// Why it waits.
        reason: WaitReason,
    },
    /// A worker holds the task.
    Held {
        /// The session that holds the task.
        session: SessionId,
        /// The number of the attempt.
        attempt: AttemptId,
        /// When the task was assigned.
        assigned: Timestamp,
        /// When proving started; `None` while the task waits on its worker.
        started: Option<Timestamp>,
    },
    /// The result is being checked, or waits for the check of the attempt's deferred events.
    Verifying {
        /// The session that delivered the result.
        session: SessionId,
        /// The attempt that delivered the result.
        attempt: AttemptId,
    },
    /// The try has failed: the task is not assigned any more.
    TryFailed,
    /// The task is done.
    Accepted {
        /// The session that delivered the final result.
        session: SessionId,
        /// The attempt whose result is final.
        attempt: AttemptId,
    },
}

/// The status of a worker in a session in which its prover was loaded, or whose drain was requested before its prover
/// was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// True while a prover of the worker is loaded. A ready worker stays ready while it restarts its provers.
    pub has_loaded_prover: bool,
    /// Maximum number of attempts that the worker may hold.
    pub slots: usize,
    /// The task kinds that the worker may get now, without those for which it is quarantined. Empty while it is
    /// draining or starting its prover.
    pub available_kinds: KindSet,
    /// The task kinds of which the worker gets one task at a time. It may continue several attempts that it has
    /// started.
    pub on_probation: KindSet,
    /// Number of attempts that the worker holds.
    pub held: usize,
    /// True if the worker is draining or drained: it finishes the attempts that it has started and gets no others.
    pub draining: bool,
    /// By [index](TaskKind::index) of the kind: the expected duration of a task, as learned. `None` for kinds that the
    /// worker has not proven.
    pub paces: [Option<Duration>; TaskKind::ALL.len()],
}

impl WorkerStatus {
    /// Returns the status of a worker that is drained before it is ready. It has no slot yet.
    pub(crate) fn draining_before_ready() -> Self {
        let (available_kinds, on_probation) = (KindSet::default(), KindSet::default());
        Self {
            has_loaded_prover: false,
            slots: 0,
            available_kinds,
            on_probation,
            held: 0,
            draining: true,
            paces: [None; TaskKind::ALL.len()],
        }
    }
}

/// Whether the scheduler gives a worker tasks, after its faults in all its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WorkerStanding {
    /// The worker gets tasks.
    #[default]
    Normal,
    /// The worker gets no tasks of some or all kinds until a time that the scheduler has set, because it had too many
    /// faults or was proven wrong.
    Quarantined {
        /// The kinds for which the worker is quarantined.
        kinds: KindSet,
        /// The last fault, or what was proven wrong, for people.
        reason: String,
    },
    /// The worker was quarantined for some kinds and gets one task of each of them at a time. An accepted result makes
    /// its standing for the kind normal, and a fault starts the next quarantine.
    Probation {
        /// The kinds for which the worker is on probation. The worker is quarantined for no kind.
        kinds: KindSet,
    },
}

/// What changed about the workers between two calls of
/// [`Scheduler::take_worker_changes`](crate::Scheduler::take_worker_changes).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerChanges {
    /// The present status of each session that changed, once for each of them. `None` if the session has ended, or if
    /// the worker's prover was never loaded in it and the worker is not draining.
    pub sessions: Vec<(SessionId, Option<WorkerStatus>)>,
    /// The present standing of each worker whose standing changed, ready or not.
    pub standings: BTreeMap<WorkerId, WorkerStanding>,
}

impl WorkerChanges {
    /// Returns true if nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.standings.is_empty()
    }
}

/// How many items the scheduler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedulerCounts {
    /// Tries that have not ended.
    pub tries: usize,
    /// Tasks without a final result.
    pub open_tasks: usize,
    /// Tasks that wait for a slot.
    pub queued_tasks: usize,
    /// Attempts that workers hold.
    pub live_attempts: usize,
    /// Ready workers: those whose prover was loaded in their session.
    pub workers: usize,
}
