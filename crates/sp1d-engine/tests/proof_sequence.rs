//! Runs the unit tests in `runner/proof_sequence.rs`. The file is compiled separately here, because unit tests of the
//! whole crate would link SP1's prover a second time.

#[path = "../src/runner/proof_sequence.rs"]
#[allow(dead_code, reason = "the engine uses it")]
mod proof_sequence;
