//! Attempts: numbered assignments.

use crate::{TaskId, Timestamp, WorkerId};

/// One assignment of a task to a worker.
///
/// ```text
///            ┌───────────► Lapsed ─────────┐
///            │ lost, failed, taken back    │ reported after all
///   Held ────┤                             ▼
///            └─────── reported ───────► Reported ──verified──► Accepted
///                                          │
///                                          └───rejected──► (forgotten)
/// ```
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) task: TaskId,
    pub(crate) worker: WorkerId,
    pub(crate) assigned: Timestamp,
    pub(crate) state: State,
}

/// Where an attempt is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// On its worker, which has a slot for it and a lease on it: the one live attempt of its task.
    Held {
        /// When its worker began to prove it.
        started: Option<Timestamp>,
    },
    /// Its result is being verified; it has no slot and no lease.
    Reported,
    /// Lost, failed or taken back. It is known so that its result counts if it arrives nevertheless.
    Lapsed,
    /// Its result is its task's. It is known so that a second report of it isn't taken for a stranger's.
    Accepted,
}

impl State {
    pub(crate) const fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }
}
