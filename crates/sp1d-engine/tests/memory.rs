//! Runs the unit tests in `memory.rs`. The file is compiled separately here, because unit tests of the whole crate
//! would link SP1's prover a second time.

#[path = "../src/memory.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod memory;
