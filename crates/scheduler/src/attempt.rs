//! Attempts: numbered assignments.

use crate::{PeerId, TaskId, TaskKind, Timestamp, WorkerId};
use std::time::Duration;

/// One assignment of a task to a worker.
///
/// ```text
///            ┌───────────► Lapsed ─────────┐
///            │ lost, failed, taken back    │ reported after all, or adopted: Held
///   Held ────┤                             ▼
///            └─────── reported ───────► Reported ──verified──► Accepted
///                                          │
///                                          └───rejected──► (forgotten)
/// ```
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) task: TaskId,
    pub(crate) kind: TaskKind,
    pub(crate) worker: WorkerId,
    /// Who is behind `worker`.
    pub(crate) peer: PeerId,
    pub(crate) assigned: Timestamp,
    /// When proving began, by the leases' clock. Kept when it lapses: it may be adopted.
    pub(crate) began: Option<Timestamp>,
    /// It has run for too long, and its task no longer counts on it.
    pub(crate) overdue: bool,
    /// Its worker said that it failed, or what it delivered on the way was wrong.
    pub(crate) failed: bool,
    /// Whether its worker was lost with it.
    pub(crate) lost: Loss,
    /// Its worker had begun it before: from here it looks quicker than it is.
    pub(crate) resumed: bool,
    /// What proving took, once it has delivered; nothing where that says nothing.
    pub(crate) took: Option<Duration>,
    pub(crate) state: State,
}

/// What the loss of an attempt's worker did to its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Loss {
    /// The worker was not lost, or came back with the attempt.
    #[default]
    None,
    /// The worker was lost while it proved something else, so the task did not cause it.
    Bystander,
    /// The task may have caused the loss. It is counted, and the task excludes the worker.
    Counted,
}

/// Where an attempt is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// On its worker, which has a slot for it and a lease on it.
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
