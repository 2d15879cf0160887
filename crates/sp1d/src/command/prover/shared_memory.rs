//! Whether the shared memory at `/dev/shm` is large enough for large programs. Containers often have only 64 MB. If the
//! memory is full, the kernel kills the executor, and its signal does not name the cause.

use sp1d_machine::shared_memory_bytes;

/// Shared memory that the execution of a large program uses: a trace of five chunks of 300 MB, SP1's default, and the
/// memory of the program.
const EXECUTION_BYTES: u64 = 1_600_000_000;

/// What to do about [`SmallSharedMemory`].
pub(super) const REMEDY: &str = "enlarge it with `mount -o remount,size=6G /dev/shm`, start the container with \
                                 `--shm-size=6g`, or run fewer proofs at the same time (`sp1d serve --parallel-proofs`)";

/// `/dev/shm` is too small for the executions that may run at the same time, if their programs are large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SmallSharedMemory {
    /// Its size in MB.
    pub(super) size_mb: u64,
    /// The size in MB that the executions need.
    pub(super) wanted_mb: u64,
}

impl SmallSharedMemory {
    /// Returns `None` if the shared memory of this machine is large enough for `executions`, or if its size is unknown.
    pub(super) fn of_machine(executions: usize) -> Option<Self> {
        Self::of(shared_memory_bytes()?, executions)
    }

    /// The same for a shared memory of `size_bytes`.
    fn of(size_bytes: u64, executions: usize) -> Option<Self> {
        let wanted_bytes = EXECUTION_BYTES.saturating_mul(executions as u64);
        let small = Self { size_mb: size_bytes / 1_000_000, wanted_mb: wanted_bytes / 1_000_000 };
        (size_bytes < wanted_bytes).then_some(small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size_bytes: u64, executions: usize, expected: Option<(u64, u64)>) {
        let expected = expected.map(|(size_mb, wanted_mb)| SmallSharedMemory { size_mb, wanted_mb });
        assert_eq!(SmallSharedMemory::of(size_bytes, executions), expected);
    }

    #[test]
    fn each_execution_needs_shared_memory_for_its_trace() {
        // The default of container engines.
        check(64 << 20, 1, Some((67, 1600)));
        check(2_000_000_000, 1, None);
        check(2_000_000_000, 2, Some((2000, 3200)));
        check(u64::MAX, usize::MAX, None);
    }

    #[test]
    fn half_of_the_memory_is_enough_for_the_default_number_of_proofs() {
        // By default, one proof runs for each 4 GB, and Linux gives half of the memory to /dev/shm.
        check(32_000_000_000 / 2, 8, None);
    }
}
