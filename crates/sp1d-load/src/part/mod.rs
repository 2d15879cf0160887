//! The parts of the bench.

pub(crate) mod dispatch;
