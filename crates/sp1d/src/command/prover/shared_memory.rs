//! Whether the shared memory at `/dev/shm` is large enough for large programs. Containers often have only 64 MB. If the
//! memory is full, the kernel kills the executor, and its signal does not name the cause.

use sp1d_machine::shared_memory_bytes;

/// Shared memory that the execution of a large program uses: a trace of five chunks of 300 MB, SP1's default, and the
/// memory of the program.
const EXECUTION_BYTES: u64 = 1_600_000_000;

/// Shared memory that the count of a large program's gas uses: a trace of two chunks of 2.4 GB, SP1's default, and the
/// memory of the program.
const GAS_COUNT_BYTES: u64 = 4_900_000_000;

/// What the shared memory must have room for, if the programs are large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SharedMemoryDemand {
    /// This many executions at the same time, each for a proof.
    Executions(usize),
    /// The count of the gas of a proof with a gas limit. A count without room beside other executions waits until it
    /// runs alone, so their number does not matter.
    GasCount,
}

impl SharedMemoryDemand {
    const fn bytes(self) -> u64 {
        match self {
            Self::Executions(number) => EXECUTION_BYTES.saturating_mul(number as u64),
            Self::GasCount => GAS_COUNT_BYTES,
        }
    }
}

/// `/dev/shm` is too small for large programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SmallSharedMemory {
    /// Its size in MB.
    pub(super) size_mb: u64,
    /// The size in MB that `demand` needs.
    pub(super) wanted_mb: u64,
    /// What does not fit.
    pub(super) demand: SharedMemoryDemand,
}

impl SmallSharedMemory {
    /// Returns `None` if the shared memory of this machine is large enough for `executions`, some of which may be
    /// counts for gas limits, or if its size is unknown.
    pub(super) fn of_machine(executions: usize) -> Option<Self> {
        Self::first(shared_memory_bytes()?, executions)
    }

    /// Returns `None` if the shared memory of this machine is large enough for a proof with a gas limit, or if its size
    /// is unknown.
    pub(super) fn for_gas_limit() -> Option<Self> {
        Self::of(shared_memory_bytes()?, SharedMemoryDemand::GasCount)
    }

    /// Returns the first demand of a service with `executions` that a shared memory of `size_bytes` does not meet.
    fn first(size_bytes: u64, executions: usize) -> Option<Self> {
        let demands = [SharedMemoryDemand::Executions(executions), SharedMemoryDemand::GasCount];
        demands.into_iter().find_map(|demand| Self::of(size_bytes, demand))
    }

    fn of(size_bytes: u64, demand: SharedMemoryDemand) -> Option<Self> {
        let wanted_bytes = demand.bytes();
        let small = Self { size_mb: size_bytes / 1_000_000, wanted_mb: wanted_bytes / 1_000_000, demand };
        (size_bytes < wanted_bytes).then_some(small)
    }

    /// Returns what to do about it.
    pub(super) const fn remedy(self) -> &'static str {
        match self.demand {
            SharedMemoryDemand::Executions(_) => {
                "enlarge it with `mount -o remount,size=6G /dev/shm`, start the container with `--shm-size=6g`, or run \
                 fewer proofs at the same time (`sp1d serve --parallel-proofs`)"
            }
            SharedMemoryDemand::GasCount => {
                "enlarge it with `mount -o remount,size=6G /dev/shm`, start the container with `--shm-size=6g`, or \
                 prove large programs without a gas limit"
            }
        }
    }

    /// Logs a warning that says what does not fit, and what to do.
    pub(super) fn warn(self) {
        let Self { size_mb, wanted_mb, demand } = self;
        let remedy = self.remedy();
        match demand {
            SharedMemoryDemand::Executions(parallel_proofs) => tracing::warn!(
                size_mb,
                wanted_mb,
                parallel_proofs,
                "/dev/shm is too small for this many large programs at the same time; {remedy}"
            ),
            SharedMemoryDemand::GasCount => tracing::warn!(
                size_mb,
                wanted_mb,
                "/dev/shm is too small for a large program with a gas limit; {remedy}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SharedMemoryDemand::{Executions, GasCount};

    #[track_caller]
    fn check(size_bytes: u64, demand: SharedMemoryDemand, expected: Option<(u64, u64)>) {
        let expected = expected.map(|(size_mb, wanted_mb)| SmallSharedMemory { size_mb, wanted_mb, demand });
        assert_eq!(SmallSharedMemory::of(size_bytes, demand), expected);
    }

    #[test]
    fn each_execution_needs_shared_memory_for_its_trace() {
        // The default of container engines.
        check(64 << 20, Executions(1), Some((67, 1600)));
        check(2_000_000_000, Executions(1), None);
        check(2_000_000_000, Executions(2), Some((2000, 3200)));
        check(u64::MAX, Executions(usize::MAX), None);
    }

    #[test]
    fn half_of_the_memory_is_enough_for_the_default_number_of_proofs() {
        // By default, one proof runs for each 4 GB, and Linux gives half of the memory to /dev/shm.
        check(32_000_000_000 / 2, Executions(8), None);
    }

    #[test]
    fn a_gas_limit_needs_room_for_a_larger_trace_even_if_all_executions_have_room() {
        check(4_000_000_000, GasCount, Some((4000, 4900)));
        // What the hints of all errors and the Helm chart say.
        check(6 << 30, GasCount, None);
        let first = |size_bytes, executions| SmallSharedMemory::first(size_bytes, executions).map(|small| small.demand);
        assert_eq!(first(64 << 20, 2), Some(Executions(2)));
        assert_eq!(first(4_000_000_000, 2), Some(GasCount));
        assert_eq!(first(6 << 30, 2), None);
        assert_eq!(first(6 << 30, 8), Some(Executions(8)));
    }
}
