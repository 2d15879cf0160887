//! Tests for the limits of executions: those of the child process, and the shares of the shared memory. They execute no
//! program. The files are compiled separately here, because tests of the whole crate would link SP1's prover again.

#[path = "../../src/executor/child_limits.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod child_limits;
#[path = "../../src/executor/child_use.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod child_use;
#[path = "../../src/executor/control_group.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod control_group;
#[path = "../../src/executor/shared_memory.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod shared_memory;

mod children;
mod shares;
