//! Runs the unit tests in `task_lists.rs`. The file is compiled separately here, because unit tests of the whole crate
//! would link SP1's prover a second time.

#[path = "../src/task_lists.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod task_lists;
