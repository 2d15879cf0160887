//! Names of tasks and artifacts where SP1 sees them.
//!
//! On a worker every artifact is named after the attempt that uses it, `a17/NAME`: SP1's recursion prover is shared by
//! all attempts, and only the name tells it whose artifact it is.

use protocol::made_prefix;
use scheduler::{AttemptId, TaskId};

/// A task's id for SP1.
pub(crate) fn task_to_sp1(task: TaskId) -> sp1_prover::worker::TaskId {
    sp1_prover::worker::TaskId::new(task.to_string())
}

/// A task's id from SP1; `None` for a text that is none of ours.
pub(crate) fn task_from_text(text: &str) -> Option<TaskId> {
    text.strip_prefix('t')?.parse().ok().map(TaskId)
}

/// `name` as `attempt` uses it.
pub(crate) fn scoped(attempt: AttemptId, name: &str) -> String {
    format!("{attempt}/{name}")
}

/// The attempt and the name in a scoped name.
pub(crate) fn unscoped(text: &str) -> Option<(AttemptId, &str)> {
    let (attempt, name) = text.split_once('/')?;
    Some((AttemptId(attempt.strip_prefix('a')?.parse().ok()?), name))
}

/// Name of the `number`th artifact that `attempt` makes on its own account. Unique within a proof, as attempts are.
pub(crate) fn made(attempt: AttemptId, number: u64) -> String {
    format!("{}{number}", made_prefix(attempt))
}

/// The attempt that made an artifact of that name.
pub(crate) fn maker(name: &str) -> Option<AttemptId> {
    let (attempt, _) = name.strip_prefix("made-a")?.split_once('-')?;
    attempt.parse().ok().map(AttemptId)
}
