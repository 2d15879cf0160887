//! Runs the unit tests in `runner/setup_place.rs`. The file is compiled separately here, because unit tests of the
//! whole crate would link SP1's prover a second time.

#[path = "../src/runner/setup_place.rs"]
#[allow(dead_code, reason = "the engine uses it")]
mod setup_place;
