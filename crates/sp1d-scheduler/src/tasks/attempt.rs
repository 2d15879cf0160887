//! Attempts: numbered assignments of tasks to workers.

use crate::{SessionId, TaskId, TaskKind, Timestamp, WorkerId};
use std::time::Duration;

/// One assignment of a task to a worker.
///
/// ```text
///         ┌────────── continued ──────────┐
///         ▼                               │
///       Held ─ lost, failed, cancelled ► Lapsed
///         │                               │
///     delivered                    delivered late
///         │                               │
///         └─────────► Delivered ◄─────────┘
///                      │     │
///               verified     rejected
///                      │     │
///                      ▼     ▼
///               Accepted     (forgotten)
/// ```
///
/// The folder `scheduler/` has the transitions:
///
/// | transition | file | function |
/// |---|---|---|
/// | assigned | `slots` | `assign` |
/// | started | `reports` | `on_attempt_started` |
/// | delivered | `reports` | `on_result_delivered` |
/// | lapsed | `outcomes` | `lapse` |
/// | continued | `session_events` | `continue_attempt` |
/// | overdue | `slow_attempts` | `on_overdue` |
/// | cancelled because it hangs | `slow_attempts` | `cancel_overdue` |
/// | accepted | `outcomes` | `accept` |
/// | rejected after the delivery | `reports` | `reject_delivered` |
/// | ended and forgotten | `tries` | `end_attempt` |
#[derive(Debug)]
pub(crate) struct ScheduledAttempt {
    pub(crate) task: TaskId,
    pub(crate) kind: TaskKind,
    pub(crate) session: SessionId,
    /// The worker of that session.
    pub(crate) worker: WorkerId,
    pub(crate) assigned: Timestamp,
    /// When proving started, on the lease clock. Kept when the attempt lapses, because it may be continued later.
    pub(crate) proving_since: Option<Timestamp>,
    /// True if the attempt has run for too long, so its task no longer relies on it.
    pub(crate) overdue: bool,
    /// True if its worker reported a failure, or if its deferred events or its claim were rejected.
    pub(crate) failed: bool,
    /// How the loss of its worker was counted, if the worker was lost.
    pub(crate) lost: Loss,
    /// True if its worker had started the task before the orchestrator restarted. The attempt then looks quicker than
    /// it is.
    pub(crate) resumed: bool,
    /// How long proving took, set when the result is delivered. `None` if unknown: the attempt reported no start, or
    /// was resumed.
    pub(crate) took: Option<Duration>,
    pub(crate) state: AttemptState,
}

impl ScheduledAttempt {
    /// Returns true if its worker holds it and has started to prove it.
    pub(crate) const fn is_started(&self) -> bool {
        matches!(self.state, AttemptState::Held { started: Some(_) })
    }
}

/// How the loss of an attempt's worker affects its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Loss {
    /// The worker was not lost, or came back with the attempt.
    #[default]
    None,
    /// The worker was lost while it proved another task, so this task did not cause the loss.
    Bystander,
    /// The task may have caused the loss. The loss is counted, and the task excludes the worker.
    Counted,
}

/// The life cycle of an attempt.
///
/// - *Cancel* stops it on its worker. A live attempt that is cancelled either lapses or ends.
/// - *Lapse* frees its slot. The attempt is kept, because its result may arrive.
/// - *End* cancels it if it is live, *discards* its uploads, and forgets it.
///
/// The last column is the published [`AttemptStep`](crate::AttemptStep). `Dropped` is the step of a discarded attempt.
///
/// | what happens | slot | uploads | can its result count? | step |
/// |---|---|---|---|---|
/// | it is cancelled and lapses | freed | kept | yes | `TakenBack` |
/// | its session ends | freed | kept | yes | `Interrupted` |
/// | its worker reports a failure | freed | kept | yes | `Failed` |
/// | its deferred events or claim are rejected while it is live | freed | kept | no | `Failed` |
/// | the same while its worker is disconnected | freed before | kept | if its worker continues it | `Failed` |
/// | its delivered result, its events or its claim are rejected | freed before | deleted | no | `Failed` |
/// | it is overdue | kept | kept | yes | none |
/// | it is overdue and hangs, so it is cancelled and lapses | freed | kept | yes | `TakenBack` |
/// | it ends: its task is done, its try ended, or too many have lapsed | freed | deleted | no | `Dropped` |
/// | its result is accepted | freed before | some move to the try, the others are deleted | final | `Done` |
///
/// `Dropped` is not published after `Interrupted`, `TakenBack` or `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptState {
    /// The worker holds the attempt in one of its slots, under its lease.
    Held {
        /// When the worker started to prove it.
        started: Option<Timestamp>,
    },
    /// Its result is being verified, or waits for the check of its deferred events. It has no slot, and the end of its
    /// session does not end it.
    Delivered,
    /// Lost, failed or cancelled. It has no slot, and is kept because its result may still arrive.
    Lapsed,
    /// Its result is final. Kept so that a second report of it is not treated as unknown.
    Accepted,
}

impl AttemptState {
    pub(crate) const fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }
}
