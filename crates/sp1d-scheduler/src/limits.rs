//! The limits of the state machines, for the table of limits.

use crate::{dispatch::DISPATCH_LIMITS, tasks::TASK_LIMITS, workers::WORKER_LIMITS};
use sp1d_model::Limit;

/// Returns the limits that workers can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    [DISPATCH_LIMITS, TASK_LIMITS, WORKER_LIMITS].into_iter().flatten()
}
