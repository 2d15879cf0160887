//! The tests of the memory model. The file is compiled here alone: unit tests of the whole crate would link the prover
//! a second time.

#[path = "../src/memory.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod memory;
