//! The state of each open task of a try, and why some wait, in the words that people see.

use crate::state::shared_state::SharedState;
use sp1d_model::{OpenTask, OpenTaskState, OpenTasks, WaitingTasks};
use sp1d_scheduler::{DispatchState, SessionId, TaskId, TaskStatus, Timestamp, TryId};
use std::{cmp::Reverse, collections::BTreeMap};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of open tasks in one reply. The dispatcher does nothing else while it makes the reply.
    const MAX_LISTED_TASKS: usize = 1000; Count by Client;
}

/// Describes the open tasks of a try. Lists at most `limit` of them, from the first one whose number is above `after`.
pub(super) fn open_tasks(
    state: &DispatchState,
    shared: &SharedState,
    now: Timestamp,
    try_id: TryId,
    after: TaskId,
    limit: usize,
) -> OpenTasks {
    let scheduler = state.scheduler();
    let waiting = scheduler.waiting_of(try_id).into_iter();
    let counted = waiting.map(|(reason, tasks)| WaitingTasks {
        code: reason.code(),
        reason: reason.to_string(),
        tasks: tasks as u64,
    });
    let mut reasons: Vec<WaitingTasks> = counted.collect();
    reasons.sort_by_key(|waiting| Reverse(waiting.tasks));
    let kinds: BTreeMap<_, _> = state.open_tasks(try_id, after).take(limit.min(MAX_LISTED_TASKS)).collect();
    let statuses = scheduler.task_statuses(kinds.keys().copied());
    let described = statuses.into_iter().filter_map(|(task, status)| {
        Some(OpenTask { task, kind: *kinds.get(&task)?, state: open_state(status, shared, now)? })
    });
    OpenTasks { reasons, count: state.count_open_tasks(try_id) as u64, tasks: described.collect() }
}

/// Returns the state of a task with this status, as people see it. `None` if its result is accepted or its try has
/// failed.
fn open_state(status: TaskStatus, shared: &SharedState, now: Timestamp) -> Option<OpenTaskState> {
    let seconds = |since: Timestamp| now.saturating_since(since).as_secs();
    let name = |session: SessionId| match shared.worker(session) {
        Some(worker) => worker.name.to_string(),
        // The worker has just disconnected, and its name is forgotten.
        None => "a disconnected worker".to_owned(),
    };
    match status {
        TaskStatus::Waiting { since, reason } => {
            Some(OpenTaskState::Waiting { seconds: seconds(since), code: reason.code(), reason: reason.to_string() })
        }
        TaskStatus::Held { session, assigned, started: None, .. } => {
            Some(OpenTaskState::Assigned { worker: name(session), seconds: seconds(assigned) })
        }
        TaskStatus::Held { session, started: Some(started), .. } => {
            Some(OpenTaskState::Proving { worker: name(session), seconds: seconds(started) })
        }
        TaskStatus::Verifying { session, .. } => Some(OpenTaskState::Verifying { worker: name(session) }),
        TaskStatus::TryFailed | TaskStatus::Accepted { .. } => None,
    }
}
