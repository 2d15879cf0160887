//! The parts of the bench.

pub(crate) mod artifacts;
mod cost_model;
pub(crate) mod counts;
pub(crate) mod dispatch;
mod flames;
mod head_of_line;
pub(crate) mod hub;
pub(crate) mod recovery;
pub(crate) mod simulate;
pub(crate) mod tls;
