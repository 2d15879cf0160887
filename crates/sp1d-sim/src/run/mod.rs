//! Runs worlds: the main loop, the faults that strike, and the report.
//!
//! This folder connects the others. It knows no invariant by name.

mod report;
mod seed;
mod strike;
mod world;

pub use report::{Broken, SimReport};
pub use seed::run;
#[cfg(test)]
pub(crate) use seed::run_with;
