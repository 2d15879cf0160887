//! The parts of the bench.

pub(crate) mod artifacts;
pub(crate) mod dispatch;
mod head_of_line;
pub(crate) mod hub;
