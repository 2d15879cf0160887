//! Runs the unit tests in `executor/helper.rs`. The file is compiled separately here, because unit tests of the whole
//! crate would link SP1's prover a second time.

#[path = "../src/executor/helper.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod helper;
