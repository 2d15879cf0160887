//! Reads which shard a record describes.

use super::accesses::{count_input_reads, count_opened};
use serde::Deserialize;
use sp1_core_executor::SyscallCode;
use sp1_hypercube::air::PV_DIGEST_NUM_WORDS;
use sp1_prover::worker::{FinalVmState, PrecompileArtifactSlice};
use std::sync::Arc;

/// Start and end of a shard on the program's clock. The next shard starts where this one ends.
pub(crate) type ClockRange = (u64, u64);

/// Returns the cycles between start and end. The clock advances by 8 per cycle.
pub(super) const fn clock_cycles((start, end): ClockRange) -> u64 {
    end.saturating_sub(start) / 8
}

/// What identifies the shard of a record.
#[derive(Debug, Clone)]
pub(super) enum ShardRecord {
    /// A core shard: a part of the program's run. `opened` and `input_reads` are what [`count_opened`] and
    /// [`count_input_reads`] return for its chunk, and `accesses` is the number of accesses in the chunk.
    Core { pc: u64, clock: ClockRange, opened: u64, accesses: u64, input_reads: u64 },
    /// A precompile shard. All precompile shards have the same range, so the range does not tell them apart.
    Precompile { code: SyscallCode, events: Arc<[PrecompileArtifactSlice]> },
    /// A shard of memory before and after the run. Each pair is the last address of the previous memory shard and of
    /// this one.
    Memory {
        pc: u64,
        timestamp: u64,
        exit_code: u32,
        committed: [u32; PV_DIGEST_NUM_WORDS],
        initialized: (u64, u64),
        finalized: (u64, u64),
        initialized_pages: (u64, u64),
        finalized_pages: (u64, u64),
        /// Number of addresses that the shard initializes or finalizes.
        accesses: u64,
    },
}

/// The first fields of SP1's `TraceChunk`.
#[derive(Deserialize)]
struct ChunkHead {
    _registers: [u64; 32],
    pc_start: u64,
    clk_start: u64,
    clk_end: u64,
}

impl ChunkHead {
    /// Size of these fields and of the length of the accesses that follow.
    const BYTES: usize = 8 * 36;
}

impl ShardRecord {
    /// Reads the identity of the shard from a serialized `TraceData`. Skips the megabytes between the first and the
    /// last fields.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        // The variant of the enum, as bincode writes it.
        let (variant, rest) = data.split_first_chunk::<4>()?;
        match u32::from_le_bytes(*variant) {
            0 => {
                // The chunk is a byte string that contains the serialized chunk, so its length comes first.
                let (length, chunk) = rest.split_first_chunk::<8>()?;
                if u64::from_le_bytes(*length) != chunk.len() as u64 {
                    return None;
                }
                let head: ChunkHead = bincode::deserialize(chunk).ok()?;
                let clock = (head.clk_start, head.clk_end);
                let accesses = chunk.get(ChunkHead::BYTES..)?;
                Some(Self::Core {
                    pc: head.pc_start,
                    clock,
                    opened: count_opened(accesses, clock),
                    accesses: accesses.len() as u64 / 16,
                    input_reads: count_input_reads(accesses),
                })
            }
            1 => {
                let (events, code): (Vec<PrecompileArtifactSlice>, SyscallCode) = bincode::deserialize(rest).ok()?;
                Some(Self::Precompile { code, events: events.into() })
            }
            2 => {
                let state: FinalVmState = bincode::deserialize(rest).ok()?;
                // The last 8 fields of SP1's `GlobalMemoryShard`: 4 of the previous shard, then 4 of this shard.
                let (_, bounds) = rest.split_last_chunk::<64>()?;
                let bounds: [u64; 8] = bincode::deserialize(bounds.as_slice()).ok()?;
                let [before @ .., init, finalize, init_page, finalize_page] = bounds;
                // Nearly all of the record are events of 24 bytes: address, value and time of 8 bytes each.
                let accesses = rest.len() as u64 / 24;
                Some(Self::Memory {
                    pc: state.pc,
                    timestamp: state.timestamp,
                    exit_code: state.exit_code,
                    committed: state.public_value_digest,
                    initialized: (before[0], init),
                    finalized: (before[1], finalize),
                    initialized_pages: (before[2], init_page),
                    finalized_pages: (before[3], finalize_page),
                    accesses,
                })
            }
            _ => None,
        }
    }
}
