//! Whether the full shards of a try fit into a worker.

/// What bounds the shards of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardRoom {
    /// No bound is known.
    Unknown,
    /// A prover on processors has this many bytes of memory for each shard.
    Memory(u64),
    /// A prover on GPUs takes shards of at most this many trace cells, whatever the memory of its machine is.
    Cells(u64),
}

/// The full shards of a try. Which of the two numbers counts for a worker depends on its [`ShardRoom`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardSize {
    /// Trace cells after which a shard ends.
    pub cells: u64,
    /// The least memory for a shard on processors, in bytes. 0 if every such worker may try.
    pub memory_bytes: u64,
}

impl ShardRoom {
    /// Returns true if a worker with this room gets the shards of a try that excludes small workers.
    #[must_use]
    pub const fn fits(self, size: ShardSize) -> bool {
        match self {
            Self::Unknown => true,
            Self::Memory(bytes) => bytes >= size.memory_bytes,
            Self::Cells(cells) => cells >= size.cells,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_bound_gpus_and_the_memory_bounds_processors() {
        let size = ShardSize { cells: 100, memory_bytes: 8 };
        assert!(ShardRoom::Unknown.fits(size));
        assert!(ShardRoom::Memory(8).fits(size) && !ShardRoom::Memory(7).fits(size));
        assert!(ShardRoom::Cells(100).fits(size) && !ShardRoom::Cells(99).fits(size));
    }
}
