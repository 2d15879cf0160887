//! The limits of programs, inputs and results, for the table of limits.

use crate::{
    executor::{CHILD_LIMITS, CHILD_OUTPUT_LIMITS, OUTPUT_LIMITS, SHARE_LIMITS},
    program,
    runner::{INPUT_LIMITS, KEY_LIMITS, MARKER_LIMITS},
    verify::{EVENT_LIMITS, LIST_LIMITS},
};
use sp1d_model::Limit;

/// Returns the limits that programs, workers and clients can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    let of_requests = [program::LIMITS, INPUT_LIMITS, KEY_LIMITS];
    let of_executions = [CHILD_LIMITS, CHILD_OUTPUT_LIMITS, SHARE_LIMITS, OUTPUT_LIMITS];
    let of_results = [EVENT_LIMITS, LIST_LIMITS, MARKER_LIMITS];
    of_requests.into_iter().chain(of_executions).chain(of_results).flatten()
}
