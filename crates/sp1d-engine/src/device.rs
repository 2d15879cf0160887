//! What a prover computes on, and what a GPU needs for it.

/// What a prover computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProverDevice {
    /// The processor, with SP1's CPU provers.
    #[default]
    Processor,
    /// The first GPU that the process sees, with SP1's CUDA provers.
    Gpu,
}

/// The cut for a GPU with little memory, as SP1's own GPU prover chooses it.
const SMALL_GPU_CUT: u64 = sp1_core_executor::ELEMENT_THRESHOLD - (1 << 26) - (1 << 25) - (1 << 24);

/// Cells of the pinned buffers of SP1's recursion, shrink and wrap provers together, each for one proof. The GPU build
/// compares them with SP1's constants.
pub(crate) const RECURSION_CELLS: u64 = 1 << 27;
pub(crate) const SHRINK_CELLS: u64 = 1 << 25;
pub(crate) const WRAP_CELLS: u64 = 85_376_340;

/// Pinned buffers of each of SP1's provers. With them, the next traces are made while the GPU proves.
pub(crate) const PINNED_BUFFERS: u64 = 4;

/// Cells by which a shard can exceed its cut: SP1 commits to columns of this many cells.
pub(crate) const COLUMN_CELLS: u64 = 1 << 21;

/// The smallest memory of a GPU, in GiB and rounded up, that SP1 proves with. SP1 compares it with 4 GiB more: it
/// refuses less than 24, and takes the smaller cut up to 30.
const MIN_GPU_GIB: u64 = 20;
const MAX_SMALL_GPU_GIB: u64 = 26;

/// Bytes of memory that a GPU needs at least.
pub const MIN_GPU_BYTES: u64 = ((MIN_GPU_GIB - 1) << 30) + 1;

/// Free bytes of memory that a GPU needs at least before a prover is loaded. With less, another program uses most of
/// the memory of even the smallest GPU that SP1 supports. A loaded prover takes little memory until its first shard,
/// which would then fail.
pub const MIN_FREE_GPU_BYTES: u64 = MIN_GPU_BYTES / 2;

/// Host memory of a shard in a GPU prover: its record, its events and its proof. The traces are in the pinned buffers.
/// An estimate that has not been measured.
pub const GPU_ATTEMPT_BYTES: u64 = 6_000_000_000;

/// Returns the largest cut whose shards a GPU with `memory_bytes` proves. `None` if it has too little memory for any.
#[must_use]
pub fn largest_gpu_cut(memory_bytes: u64) -> Option<u64> {
    match memory_bytes.div_ceil(1 << 30) {
        0..MIN_GPU_GIB => None,
        MIN_GPU_GIB..=MAX_SMALL_GPU_GIB => Some(SMALL_GPU_CUT),
        _ => Some(sp1_core_executor::ELEMENT_THRESHOLD),
    }
}

/// Returns the host memory that a GPU prover for shards of at most `largest_cut` pins while it loads. Pinned memory
/// cannot be swapped.
#[must_use]
pub const fn pinned_bytes(largest_cut: u64) -> u64 {
    const CELL_BYTES: u64 = 4;
    let cells = largest_cut + COLUMN_CELLS + RECURSION_CELLS + SHRINK_CELLS + WRAP_CELLS;
    PINNED_BUFFERS * CELL_BYTES * cells
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[track_caller]
    fn check(memory_bytes: u64, expected: Option<u64>) {
        assert_eq!(largest_gpu_cut(memory_bytes), expected);
    }

    #[test]
    fn small_gpus_get_smaller_shards() {
        check(0, None);
        check(16 * GIB, None);
        check(MIN_GPU_BYTES - 1, None);
        check(MIN_GPU_BYTES, Some(285_212_672));
        // A card of 24 GB reports slightly less.
        check(25_300_000_000, Some(285_212_672));
        check(26 * GIB, Some(285_212_672));
        check(32 * GIB, Some(402_653_184));
        check(80 * GIB, Some(402_653_184));
        check(u64::MAX, Some(402_653_184));
    }

    #[test]
    fn pinned_memory_follows_the_cut() {
        assert_eq!(pinned_bytes(402_653_184) / 100_000_000, 105);
        assert_eq!(pinned_bytes(285_212_672) / 100_000_000, 86);
    }
}
