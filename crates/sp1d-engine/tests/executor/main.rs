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
#[path = "../../src/executor/gas_bound.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod gas_bound;
#[path = "../../src/executor/line_limit.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod line_limit;
#[path = "../../src/executor/shared_memory.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod shared_memory;
#[path = "../../src/executor/shared_memory_share.rs"]
#[allow(dead_code, reason = "the engine uses them")]
mod shared_memory_share;

mod children;
mod shares;

/// In place of the engine's file: a machine whose shared memory a test sets.
mod machine_check {
    use crate::shared_memory::SharedMemorySize;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The free shared memory of the machine.
    pub(crate) static FREE_BYTES: AtomicU64 = AtomicU64::new(64 << 20);

    pub(crate) fn shared_memory_size() -> Option<SharedMemorySize> {
        Some(SharedMemorySize { total_bytes: 64 << 20, free_bytes: FREE_BYTES.load(Ordering::Relaxed) })
    }
}
