//! Fuzz targets for the code that reads untrusted bytes with SP1: programs, inputs, deferred events and results.
//!
//! The crate `sp1d-fuzz` has what all targets have in common, and the targets without SP1. They are separate, so that
//! those targets do not compile SP1.

mod targets;

pub use targets::{ELF, EVENTS, RESULT, STDIN};
