//! What a task takes of a worker's memory.
//!
//! The formula follows the allocations of SP1's CPU prover (`docs/concepts/memory.md` has it in words, with what was
//! measured). All bytes are live bytes: an allocator may keep freed ones beyond, which the kernel takes when it needs
//! them.

use sp1d_model::TaskKind;
use sp1d_orchestrator::AttemptMemory;

/// Resident bytes of a loaded prover that has no key and proves nothing: measured 0.96 GB.
pub const REST_BYTES: u64 = 1_000_000_000;

/// Bytes that must be free for a prover to load.
pub const LOAD_BYTES: u64 = 2_000_000_000;

/// SP1 commits to columns of this many cells, and fills up the last one.
const COLUMN: u64 = 1 << 21;

/// Two Merkle trees of 2^23 leaves each, whatever the size of the shard.
const TREES_BYTES: u64 = 1_100_000_000;

/// The program's proving key: its trees, and bytes for each preprocessed cell, with the decoded program. Fits 0.6 GB
/// that were measured for a small program, and the shards of one of 2.5 million instructions, of which the largest took
/// 15.7 GB in all. The key stays in the prover, but a prover may get its first shard while it has none.
const KEY_BYTES: u64 = 570_000_000;
const KEY_CELL_BYTES: u64 = 50;

/// The shard's record, its compressed proof, and what is allocated between: the measured rest.
const RECORD_BYTES: u64 = 500_000_000;

/// Interactions per 100 cells: the maximum measured in ordinary code.
const INTERACTIONS_PERCENT: u64 = 61;

/// Codewords and trees of FRI.
const FRI_BYTES: u64 = 900_000_000;

/// Cells of tables that every shard has, for a program of so many instructions: `Byte`, `Range` and `Program`.
const fn fixed(instructions: u64) -> ShardCells {
    const BYTE_ROWS: u64 = 1 << 16;
    const RANGE_ROWS: u64 = 1 << 17;
    ShardCells {
        main: 6 * BYTE_ROWS + RANGE_ROWS + instructions,
        preprocessed: 7 * BYTE_ROWS + 2 * RANGE_ROWS + 16 * instructions,
    }
}

/// Cells of a shard's traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ShardCells {
    main: u64,
    preprocessed: u64,
}

impl ShardCells {
    /// A shard with `variable` cells beside the fixed tables, of a run that is cut at `threshold` cells.
    pub(crate) fn new(instructions: u64, variable: u64, threshold: u64) -> Self {
        let Self { main, preprocessed } = fixed(instructions);
        let room = threshold.saturating_sub(main + preprocessed);
        Self { main: main + variable.min(room), preprocessed }
    }

    /// A shard that is cut at `threshold` cells.
    pub(crate) fn full(instructions: u64, threshold: u64) -> Self {
        Self::new(instructions, u64::MAX, threshold)
    }

    /// The most bytes that proving the shard takes beside a loaded prover.
    pub(crate) fn peak_bytes(self) -> u64 {
        let cells = self.main.next_multiple_of(COLUMN) + self.preprocessed.next_multiple_of(COLUMN);
        let padded = cells.next_power_of_two();
        let interactions = cells * INTERACTIONS_PERCENT / 100;
        let gkr = 24 * cells + 52 * interactions;
        let jagged = 20 * cells + 32 * padded;
        let key = KEY_BYTES + KEY_CELL_BYTES * self.preprocessed;
        key + RECORD_BYTES + TREES_BYTES + gkr.max(jagged).max(20 * cells + FRI_BYTES)
    }
}

/// Bytes that a worker needs for the smallest shards.
#[must_use]
pub fn smallest_worker_bytes() -> u64 {
    LOAD_BYTES.max(REST_BYTES + task_bytes(TaskKind::ProveShard, None))
}

/// Cells of the fixed tables of every shard.
pub(crate) fn fixed_cells(instructions: u64) -> u64 {
    let ShardCells { main, preprocessed } = fixed(instructions);
    main + preprocessed
}

/// The most bytes that a task takes beside a loaded prover; `shard` for those that prove one, without it the smallest
/// that a run is cut into.
pub(crate) fn task_bytes(kind: TaskKind, shard: Option<ShardCells>) -> u64 {
    /// Proving a normalize program, its key included. By then the shard's own memory is free.
    const NORMALIZE_BYTES: u64 = 9_200_000_000;
    /// Normalize programs are compiled while their shards are proven.
    const COMPILE_BYTES: u64 = 300_000_000;
    let shard = || shard.unwrap_or_else(|| ShardCells::full(0, CUTS[CUTS.len() - 1])).peak_bytes();
    match kind {
        TaskKind::ProveShard => shard(),
        TaskKind::NormalizeShard => NORMALIZE_BYTES.max(shard() + COMPILE_BYTES),
        // With the keys of the last two programs.
        TaskKind::RecursionReduce | TaskKind::RecursionDeferred => 9_200_000_000,
        TaskKind::ShrinkWrap => 9_500_000_000,
        // The weights that sp1-cluster uses.
        TaskKind::Groth16Wrap => 14_000_000_000,
        TaskKind::PlonkWrap => 60_000_000_000,
    }
}

/// Values of `ELEMENT_THRESHOLD` that a run is cut by, the largest first: SP1's default, and those just below a power
/// of two. Rounding lifts the cells of a shard to a power of two at most, where one cell more would double what a
/// sumcheck takes.
pub(crate) const CUTS: [u64; 5] = [
    sp1_core_executor::ELEMENT_THRESHOLD,
    (1 << 28) - (1 << 22),
    (1 << 27) - (1 << 22),
    (1 << 26) - (1 << 22),
    (1 << 25) - (1 << 22),
];

/// Cuts that may be chosen, the largest first: those of [`CUTS`], and each of them less an eighth and a quarter. These
/// take less memory than the full cut, and hardly more time for each cycle.
fn choices() -> impl DoubleEndedIterator<Item = u64> {
    /// Cuts are multiples of this.
    const STEP: u64 = 1 << 22;
    let [.., least] = CUTS;
    let parts = CUTS.into_iter().flat_map(|cut| [cut, cut - cut / 8, cut - cut / 4]);
    parts.map(|cut| cut / STEP * STEP).filter(move |cut| *cut >= least)
}

/// The next smaller cut that may be chosen; `None` if `threshold` is not above the smallest.
#[must_use]
pub fn smaller_cut(threshold: u64) -> Option<u64> {
    CUTS.into_iter().find(|cut| *cut < threshold)
}

/// A chosen cut, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutChoice {
    pub(crate) threshold: u64,
    pub(crate) reason: String,
}

/// Returns the memory of the largest of `workers` in bytes if it is too small for a shard that takes `bytes`. `None` if
/// the shard may fit, or if no worker is connected. The estimate may be a third too high, so three quarters of it are
/// enough.
pub(crate) fn too_small_for(bytes: u64, workers: &[Option<AttemptMemory>]) -> Option<u64> {
    let largest = workers.iter().map(|memory| memory.map_or(u64::MAX, |memory| memory.alone_bytes)).max();
    largest.filter(|largest| *largest < bytes / 4 * 3)
}

/// Chooses the largest cut of which shards fit into the memory of each of `workers` while all their provers prove, for
/// tasks of `kind`. Workers with too little memory for the smallest cut do not count. `None` if a program of so many
/// instructions fits into no shard.
pub(crate) fn choose_cut(kind: TaskKind, instructions: u64, workers: &[Option<AttemptMemory>]) -> Option<CutChoice> {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let needed = |threshold| task_bytes(kind, Some(ShardCells::full(instructions, threshold)));
    // At least as much room for the run as for the fixed tables.
    let possible = || choices().filter(|threshold| *threshold >= 2 * fixed_cells(instructions));
    let smallest = possible().next_back()?;
    let known = workers.iter().flatten().map(|memory| memory.each_bytes);
    let Some(least) = known.clone().filter(|bytes| *bytes >= needed(smallest)).min() else {
        let reason = match known.max() {
            Some(most) => format!(
                "the largest worker has {} for each shard, and shards of this cut, the smallest, take up to {}",
                gigabytes(most),
                gigabytes(needed(smallest))
            ),
            None => "no worker says how much memory it has".to_owned(),
        };
        let threshold = if workers.iter().all(Option::is_none) { possible().next()? } else { smallest };
        return Some(CutChoice { threshold, reason });
    };
    let threshold = possible().find(|threshold| needed(*threshold) <= least)?;
    let reason = format!(
        "the smallest of {} workers has {} for each shard, and shards of this cut take up to {}",
        workers.len(),
        gigabytes(least),
        gigabytes(needed(threshold))
    );
    Some(CutChoice { threshold, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: f64 = 1e9;

    /// A loaded prover with a full shard inside takes at least what was measured, and at most 30 % more.
    #[track_caller]
    fn check_peak(instructions: u64, threshold: u64, measured_gb: f64) {
        let estimate = (REST_BYTES + ShardCells::full(instructions, threshold).peak_bytes()) as f64 / GB;
        assert!(estimate >= measured_gb && estimate <= 1.3 * measured_gb, "{estimate} GB for {measured_gb} GB");
    }

    #[test]
    fn a_shard_is_not_estimated_below_what_was_measured() {
        check_peak(EVM_INSTRUCTIONS, CUTS[2], 10.5);
    }

    /// Instructions of the guest `evm`.
    const EVM_INSTRUCTIONS: u64 = 365_167;

    fn workers(each_gb: &[f64]) -> Vec<Option<AttemptMemory>> {
        let of = |gb: &f64| {
            let bytes = (gb * GB) as u64;
            Some(AttemptMemory { each_bytes: bytes, alone_bytes: bytes })
        };
        each_gb.iter().map(of).collect()
    }

    #[track_caller]
    fn check_cut(kind: TaskKind, instructions: u64, workers: &[Option<AttemptMemory>], expected: (u64, &str)) {
        let CutChoice { threshold, reason } = choose_cut(kind, instructions, workers).unwrap();
        assert_eq!(threshold, expected.0, "{reason}");
        assert!(reason.contains(expected.1), "{reason}");
    }

    #[test]
    fn the_largest_cut_that_every_worker_can_prove_is_chosen() {
        let core = TaskKind::ProveShard;
        check_cut(core, 30_000, &workers(&[100.0]), (CUTS[0], "of 1 workers has 100.0 GB"));
        check_cut(core, 30_000, &workers(&[100.0, 20.0]), (CUTS[1], "of 2 workers has 20.0 GB"));
        check_cut(core, 30_000, &workers(&[10.8]), (CUTS[2], "10.8 GB"));
        check_cut(core, 30_000, &workers(&[7.0]), (CUTS[3], "7.0 GB"));
        check_cut(core, 30_000, &workers(&[4.5]), (CUTS[4], "4.5 GB"));
        // A recursion proof follows, and takes more than the shard.
        check_cut(TaskKind::NormalizeShard, 30_000, &workers(&[9.5]), (113_246_208, "9.5 GB"));
        // Two provers of a machine of 24 GB: a shard of the next larger cut takes 9.9 GB.
        check_cut(core, EVM_INSTRUCTIONS, &workers(&[9.7]), (113_246_208, "9.7 GB"));
    }

    #[test]
    fn workers_that_can_prove_nothing_do_not_count() {
        let core = TaskKind::ProveShard;
        check_cut(core, 30_000, &workers(&[1.0, 10.8]), (CUTS[2], "10.8 GB"));
        check_cut(core, 30_000, &workers(&[1.0, 2.0]), (CUTS[4], "the largest worker has 2.0 GB"));
        check_cut(core, 30_000, &[None], (CUTS[0], "no worker says"));
        check_cut(core, 30_000, &[None, workers(&[10.8])[0]], (CUTS[2], "10.8 GB"));
    }

    #[test]
    fn a_shard_is_too_large_if_the_largest_worker_is_smaller_than_three_quarters_of_it() {
        let bytes = 16_000_000_000;
        assert_eq!(too_small_for(bytes, &workers(&[4.0, 11.9])), Some(11_900_000_000));
        assert_eq!(too_small_for(bytes, &workers(&[4.0, 12.0])), None);
        assert_eq!(
            too_small_for(bytes, &[None, workers(&[4.0])[0]]),
            None,
            "a worker that reports nothing may be large"
        );
        assert_eq!(too_small_for(bytes, &[]), None);
    }

    #[test]
    fn half_of_a_shard_is_left_for_the_run() {
        // 18 million fixed cells.
        check_cut(TaskKind::ProveShard, 1_000_000, &workers(&[2.0]), (46_137_344, "the smallest"));
        assert_eq!(choose_cut(TaskKind::ProveShard, 20_000_000, &workers(&[100.0])), None);
    }
}
