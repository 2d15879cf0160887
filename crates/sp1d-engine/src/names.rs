//! Translates names of tasks and artifacts between SP1 and this project.
//!
//! On a worker, every artifact name starts with the attempt that uses it: `a17/NAME`. All attempts share SP1's
//! recursion prover, and the name is the only thing that tells it which attempt an artifact belongs to.

use sp1d_model::{AttemptId, TaskId};
use sp1d_protocol::made_prefix;

/// Converts a task id into SP1's type.
pub(crate) fn task_to_sp1(task: TaskId) -> sp1_prover::worker::TaskId {
    sp1_prover::worker::TaskId::new(task.to_string())
}

/// Parses a task id from SP1. Returns `None` if the text is not a task id of this project (`t17`).
pub(crate) fn task_from_text(text: &str) -> Option<TaskId> {
    text.strip_prefix('t')?.parse().ok().map(TaskId)
}

/// Returns the artifact `name`, scoped to `attempt`.
pub(crate) fn scoped(attempt: AttemptId, name: &str) -> String {
    format!("{attempt}/{name}")
}

/// Splits a scoped name into the attempt and the plain name.
pub(crate) fn unscoped(text: &str) -> Option<(AttemptId, &str)> {
    let (attempt, name) = text.split_once('/')?;
    Some((AttemptId(attempt.strip_prefix('a')?.parse().ok()?), name))
}

/// Returns the name of the artifact with this number among those that `attempt` creates itself. The name is unique
/// within a proof because attempt ids are.
pub(crate) fn made(attempt: AttemptId, number: u64) -> String {
    format!("{}{number}", made_prefix(attempt))
}

/// Returns the attempt that created the artifact `name`. Returns `None` if no attempt created it.
pub(crate) fn maker(name: &str) -> Option<AttemptId> {
    let (attempt, _) = name.strip_prefix("made-a")?.split_once('-')?;
    attempt.parse().ok().map(AttemptId)
}
