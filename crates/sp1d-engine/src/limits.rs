//! The limits of programs, inputs and results, for the table of limits.

use crate::{
    executor::OUTPUT_LIMITS,
    program,
    runner::{INPUT_LIMITS, KEY_LIMITS, MARKER_LIMITS},
    verify::{EVENT_LIMITS, LIST_LIMITS},
};
use sp1d_model::Limit;

/// Returns the limits that programs, workers and clients can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    [program::LIMITS, INPUT_LIMITS, EVENT_LIMITS, LIST_LIMITS, MARKER_LIMITS, KEY_LIMITS, OUTPUT_LIMITS]
        .into_iter()
        .flatten()
}
