//! What a task takes of a worker's memory.
//!
//! The formula follows the allocations of SP1's CPU prover (`docs/concepts/memory.md` has it in words, with what was
//! measured). All bytes are live bytes: an allocator may keep freed ones beyond, which the kernel takes when it needs
//! them.

use sp1d_model::{TaskKind, counted};
use sp1d_orchestrator::{ShardSize, ShardWorker};

/// Resident bytes of a loaded prover that has no key and proves nothing: measured 0.96 GB.
pub const REST_BYTES: u64 = 1_000_000_000;

/// Bytes that must be free for a prover to load.
pub const LOAD_BYTES: u64 = 2_000_000_000;

/// Bytes that a full shard takes on a processor for each cell of its cut. The scheduler uses it to compare GPU workers
/// with workers on processors. SP1's default cut takes 27.4 GB by it. The formula gives 27.5 GB for a program of 30,000
/// instructions.
pub const SHARD_CELL_BYTES: u64 = 68;

/// SP1 commits to columns of this many cells, and fills up the last one.
const COLUMN: u64 = 1 << 21;

/// Two Merkle trees of 2^23 leaves each, whatever the size of the shard.
const TREES_BYTES: u64 = 1_100_000_000;

/// The program's proving key: its trees, and bytes for each preprocessed cell, with the decoded program. Measured: 0.6
/// GB for a small program, and shards of up to 15.7 GB in all for a program of 2.5 million instructions. The key stays
/// in the prover, but a prover may get its first shard while it has none.
const KEY_BYTES: u64 = 570_000_000;
const KEY_CELL_BYTES: u64 = 50;

/// The shard's record, its compressed proof, and what is allocated between: the measured rest.
const RECORD_BYTES: u64 = 500_000_000;

/// Interactions per 100 cells: the maximum measured in ordinary code.
const INTERACTIONS_PERCENT: u64 = 61;

/// Codewords and trees of FRI.
const FRI_BYTES: u64 = 900_000_000;

/// Returns the cells of the tables that every shard has: `Byte`, `Range` and `Program`. `Program` has one row for each
/// of the program's `instructions`.
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

    /// Returns the maximum number of bytes that proving the shard takes in addition to a loaded prover.
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

/// Returns the maximum number of bytes that a task of `kind` takes in addition to a loaded prover. `shard` has the
/// cells of the task's shard; `None` stands for a full shard of the smallest cut.
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
/// of two. The cells of a shard are rounded up to whole columns and padded to a power of two. A cut just above one
/// would double the memory of a sumcheck.
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

/// Returns the next smaller whole cut: SP1's default or a cut just below a power of two, and not one of their parts.
/// `None` if `threshold` is not above the smallest.
#[must_use]
pub fn smaller_cut(threshold: u64) -> Option<u64> {
    CUTS.into_iter().find(|cut| *cut < threshold)
}

/// A chosen cut, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutChoice {
    pub(crate) threshold: u64,
    pub(crate) reason: String,
    /// Workers that are too small for full shards get none: those that are excluded now, because the others finish
    /// earlier with larger shards, and those that join later. Never in a pool without GPUs.
    pub(crate) excludes_small_workers: bool,
}

/// Returns the size of full shards of a run that is cut at `threshold` cells, as the scheduler compares it with
/// workers. The estimated memory may be a third too high, so three quarters of it are enough.
pub(crate) fn shard_size(kind: TaskKind, instructions: u64, threshold: u64) -> ShardSize {
    let bytes = task_bytes(kind, Some(ShardCells::full(instructions, threshold)));
    ShardSize { cells: threshold, memory_bytes: bytes / 4 * 3 }
}

/// Returns the memory of the largest of `workers` in bytes if it is too small for a shard of `threshold` cells that
/// takes `bytes`. `None` if the shard may fit, or if no worker is connected. The estimate may be a third too high, so
/// three quarters of it are enough.
pub(crate) fn too_small_for(bytes: u64, threshold: u64, workers: &[ShardWorker]) -> Option<u64> {
    let room = |worker: &ShardWorker| match (worker.largest_cut, worker.memory) {
        (Some(largest), _) if largest < threshold => {
            largest.saturating_mul(SHARD_CELL_BYTES).min((bytes / 4 * 3).saturating_sub(1))
        }
        (Some(_), _) | (None, None) => u64::MAX,
        (None, Some(memory)) => memory.alone_bytes,
    };
    let largest = workers.iter().map(room).max();
    largest.filter(|largest| *largest < bytes / 4 * 3)
}

/// Chooses the largest cut of which shards fit into each of `workers` while all their provers prove, for tasks of
/// `kind`. Workers that are too small for the smallest cut do not count. Small workers are excluded if the others
/// finish earlier by the durations that the scheduler has learned. `None` if a program of so many instructions fits
/// into no shard.
pub(crate) fn choose_cut(kind: TaskKind, instructions: u64, workers: &[ShardWorker]) -> Option<CutChoice> {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let needed = |threshold| task_bytes(kind, Some(ShardCells::full(instructions, threshold)));
    // At least as much room for the run as for the fixed tables.
    let possible = || choices().filter(|threshold| *threshold >= 2 * fixed_cells(instructions));
    let smallest = possible().next_back()?;
    let fits = |worker: &ShardWorker, threshold: u64| match (worker.largest_cut, worker.memory) {
        (Some(largest), _) => threshold <= largest,
        (None, Some(memory)) => needed(threshold) <= memory.each_bytes,
        (None, None) => false,
    };
    let able = workers.iter().filter_map(|worker| Some((worker, possible().find(|cut| fits(worker, *cut))?)));
    let mut able: Vec<(&ShardWorker, u64)> = able.collect();
    let excludes_small_workers = able.iter().any(|(worker, _)| worker.largest_cut.is_some());
    let size = |threshold| shard_size(kind, instructions, threshold);
    let (count, mut excluded) = (workers.len(), Vec::new());
    if excludes_small_workers && let Some(size) = faster_without_small_workers(&able, size) {
        let small = able.extract_if(.., |(worker, _)| !worker.fits(size));
        excluded = small.map(|(worker, _)| worker.name.as_str()).collect();
    }
    let each_bytes = |worker: &ShardWorker| worker.memory.map_or(0, |memory| memory.each_bytes);
    let Some((least, threshold)) = able.iter().min_by_key(|(worker, cut)| (*cut, each_bytes(worker))) else {
        let most = workers.iter().filter_map(|worker| worker.memory).map(|memory| memory.each_bytes).max();
        let reason = match most {
            Some(most) => format!(
                "the largest worker has {} for each shard, and shards of this cut, the smallest, take up to {}",
                gigabytes(most),
                gigabytes(needed(smallest))
            ),
            None => "no worker says how much memory it has".to_owned(),
        };
        let threshold = if most.is_none() { possible().next()? } else { smallest };
        return Some(CutChoice { threshold, reason, excludes_small_workers: false });
    };
    let all = counted(count, "worker");
    let mut reason = match least.largest_cut {
        Some(largest) => format!("the smallest of {all} proves shards of at most {largest} cells"),
        None => format!(
            "the smallest of {all} has {} for each shard, and shards of this cut take up to {}",
            gigabytes(each_bytes(least)),
            gigabytes(needed(*threshold))
        ),
    };
    if !excluded.is_empty() {
        reason = format!(
            "{} of {all} excluded, because the others finish earlier with larger shards: {}",
            excluded.len(),
            excluded.join(", ")
        );
    }
    Some(CutChoice { threshold: *threshold, reason, excludes_small_workers })
}

/// Returns true if a GPU among `workers` refuses shards of `threshold` cells, and another worker may prove them.
pub(crate) fn has_refusing_worker(threshold: u64, workers: &[ShardWorker]) -> bool {
    let refuses = |worker: &ShardWorker| worker.largest_cut.is_some_and(|largest| largest < threshold);
    workers.iter().any(refuses) && !workers.iter().all(refuses)
}

/// Returns the size of shards with which the workers that are large enough for them finish clearly earlier than all
/// workers together. `workers` have the largest cut that fits into each. `None` if that is not so, or if it is unknown
/// how fast one of them is.
fn faster_without_small_workers(workers: &[(&ShardWorker, u64)], size: impl Fn(u64) -> ShardSize) -> Option<ShardSize> {
    /// Work that every shard has, in cells. Fits the measured times by cut (docs/concepts/memory.md) on a processor.
    const SHARD_OVERHEAD: f64 = 34e6;
    /// How much faster the others must be: learned durations are of other shards, and vary.
    const MIN_GAIN: f64 = 1.1;
    // The work of all provers in a second, in cells. The learned durations are of shards of different cuts.
    let speed = |worker: &ShardWorker| {
        let (pace, cut) = (worker.pace.filter(|pace| !pace.is_zero())?, worker.paced_cut?);
        Some(f64::from(worker.provers.max(1)) * (cut as f64 + SHARD_OVERHEAD) / pace.as_secs_f64())
    };
    let speeds: Vec<f64> = workers.iter().map(|(worker, _)| speed(worker)).collect::<Option<_>>()?;
    // The cut if only workers prove into which shards of `size` fit, and the cells of the run per second then.
    let rate = |size: Option<ShardSize>| {
        let takes_part = |worker: &ShardWorker| size.is_none_or(|size| worker.fits(size));
        let kept = || workers.iter().zip(&speeds).filter(move |((worker, _), _)| takes_part(worker));
        let least = kept().map(|((_, cut), _)| *cut).min()?;
        let cut = least as f64;
        Some((least, kept().map(|(_, speed)| speed).sum::<f64>() * cut / (cut + SHARD_OVERHEAD)))
    };
    let rated = workers.iter().filter_map(|(_, cut)| {
        let size = size(*cut);
        let (least, rate) = rate(Some(size))?;
        // A worker that takes part with a smaller cut of its own is rated with that cut.
        (least == *cut).then_some((rate, size))
    });
    let (fastest, size) = rated.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let (_, together) = rate(None)?;
    (fastest >= MIN_GAIN * together).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_orchestrator::AttemptMemory;
    use std::time::Duration;

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

    fn workers(each_gb: &[f64]) -> Vec<ShardWorker> {
        let of = |gb: &f64| {
            let bytes = (gb * GB) as u64;
            ShardWorker::with_memory(Some(AttemptMemory { each_bytes: bytes, alone_bytes: bytes }))
        };
        each_gb.iter().map(of).collect()
    }

    fn unknown() -> ShardWorker {
        ShardWorker::with_memory(None)
    }

    /// A worker that claims to prove on a GPU with this largest cut.
    fn gpu(largest_cut: u64) -> ShardWorker {
        ShardWorker { largest_cut: Some(largest_cut), ..workers(&[8.0])[0].clone() }
    }

    /// The same worker, which took `seconds` for a shard of the smallest cut.
    fn paced(worker: ShardWorker, name: &str, seconds: u64) -> ShardWorker {
        let (pace, paced_cut) = (Some(Duration::from_secs(seconds)), Some(CUTS[4]));
        ShardWorker { name: name.to_owned(), pace, paced_cut, ..worker }
    }

    #[track_caller]
    fn check_cut(kind: TaskKind, instructions: u64, workers: &[ShardWorker], expected: (u64, &str)) {
        let CutChoice { threshold, reason, .. } = choose_cut(kind, instructions, workers).unwrap();
        assert_eq!(threshold, expected.0, "{reason}");
        assert!(reason.contains(expected.1), "{reason}");
    }

    #[test]
    fn the_largest_cut_that_every_worker_can_prove_is_chosen() {
        let core = TaskKind::ProveShard;
        check_cut(core, 30_000, &workers(&[100.0]), (CUTS[0], "of 1 worker has 100.0 GB"));
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
        check_cut(core, 30_000, &[unknown()], (CUTS[0], "no worker says"));
        check_cut(core, 30_000, &[unknown(), workers(&[10.8])[0].clone()], (CUTS[2], "10.8 GB"));
    }

    #[test]
    fn a_shard_is_too_large_if_the_largest_worker_is_smaller_than_three_quarters_of_it() {
        let check = |workers: &[ShardWorker], expected: Option<u64>| {
            assert_eq!(too_small_for(16_000_000_000, CUTS[1], workers), expected);
        };
        check(&workers(&[4.0, 11.9]), Some(11_900_000_000));
        check(&workers(&[4.0, 12.0]), None);
        // A worker that reports nothing may be large.
        check(&[unknown(), workers(&[4.0])[0].clone()], None);
        check(&[], None);
        // A GPU is bounded by its cut, not by the memory of its machine.
        check(&[gpu(CUTS[1])], None);
        check(&[gpu(CUTS[1] - 1)], Some(11_999_999_999));
    }

    #[test]
    fn half_of_a_shard_is_left_for_the_run() {
        // 18 million fixed cells.
        check_cut(TaskKind::ProveShard, 1_000_000, &workers(&[2.0]), (46_137_344, "the smallest"));
        assert_eq!(choose_cut(TaskKind::ProveShard, 20_000_000, &workers(&[100.0])), None);
    }
    #[test]
    fn the_cut_fits_the_smallest_gpu() {
        let core = TaskKind::ProveShard;
        check_cut(core, 30_000, &[gpu(402_653_184)], (CUTS[0], "of 1 worker proves shards of at most 402653184 cells"));
        check_cut(core, 30_000, &[gpu(402_653_184), gpu(285_212_672)], (CUTS[1], "at most 285212672 cells"));
        let mixed = [gpu(285_212_672), workers(&[10.8])[0].clone()];
        check_cut(core, 30_000, &mixed, (CUTS[2], "the smallest of 2 workers has 10.8 GB"));
        // The memory of the machine does not bound a recursion proof on a GPU.
        check_cut(TaskKind::NormalizeShard, 30_000, &[gpu(285_212_672)], (CUTS[1], "at most 285212672 cells"));
        let too_small = [gpu(285_212_672), workers(&[1.0])[0].clone()];
        check_cut(core, 30_000, &too_small, (CUTS[1], "at most 285212672 cells"));
    }

    /// Checks which workers of a pool are excluded, and the cut.
    #[track_caller]
    fn check_excluded(workers: &[ShardWorker], names: &[&str], threshold: u64) {
        let choice = choose_cut(TaskKind::ProveShard, 30_000, workers).unwrap();
        assert_eq!(choice.threshold, threshold, "{}", choice.reason);
        assert_eq!(choice.reason.contains("excluded"), !names.is_empty(), "{}", choice.reason);
        assert!(choice.reason.ends_with(&names.join(", ")), "{}", choice.reason);
        let size = shard_size(TaskKind::ProveShard, 30_000, choice.threshold);
        let small: Vec<_> = workers.iter().filter(|worker| !worker.fits(size)).map(|worker| &worker.name).collect();
        assert_eq!(small, names, "the scheduler excludes others");
    }

    fn cpu(each_gb: f64) -> ShardWorker {
        workers(&[each_gb])[0].clone()
    }

    #[test]
    fn small_workers_are_excluded_if_the_others_finish_earlier() {
        let large = paced(gpu(402_653_184), "gpu", 4);
        // The GPU proves 15 shards while the small worker proves one, and loses a third to small shards.
        check_excluded(&[large.clone(), paced(cpu(7.0), "cpu", 60)], &["cpu"], CUTS[0]);
        // A small worker that is slow, and one that is nearly as large as the GPU.
        let pool = [large.clone(), paced(gpu(285_212_672), "card", 4), paced(cpu(4.5), "old", 300)];
        check_excluded(&pool, &["old"], CUTS[1]);
        // Slow, but with as much memory for a shard as the GPU.
        check_excluded(&[large, paced(cpu(28.0), "cpu", 60)], &[], CUTS[0]);
    }

    #[test]
    fn the_memory_for_each_shard_decides_who_is_small() {
        // 64 GB for an attempt that runs alone, and 7 GB for each of many provers.
        let memory = Some(AttemptMemory { each_bytes: 7_000_000_000, alone_bytes: 64_000_000_000 });
        let many = ShardWorker { memory, ..paced(cpu(7.0), "many", 60) };
        check_excluded(&[paced(gpu(402_653_184), "gpu", 4), many], &["many"], CUTS[0]);
    }

    #[test]
    fn the_choice_does_not_depend_on_the_cut_of_the_learned_durations() {
        let small = paced(cpu(7.0), "cpu", 60);
        // The GPU has proven large shards since the small worker was excluded: more cells, and more seconds for each.
        let later = ShardWorker { paced_cut: Some(CUTS[0]), ..paced(gpu(402_653_184), "gpu", 28) };
        check_excluded(&[later.clone(), small.clone()], &["cpu"], CUTS[0]);
        // It has taken 28 s for small shards: the small worker helps.
        check_excluded(&[ShardWorker { paced_cut: Some(CUTS[4]), ..later }, small], &[], CUTS[3]);
    }

    #[test]
    fn a_pool_without_gpus_excludes_no_worker() {
        let pool = [paced(cpu(28.0), "large", 4), paced(cpu(7.0), "small", 300)];
        let choice = choose_cut(TaskKind::ProveShard, 30_000, &pool).unwrap();
        assert_eq!((choice.threshold, choice.excludes_small_workers), (CUTS[3], false));
        // Workers that join later may be small.
        assert!(choose_cut(TaskKind::ProveShard, 30_000, &[gpu(402_653_184)]).unwrap().excludes_small_workers);
    }

    #[test]
    fn gpus_refuse_a_cut_if_another_worker_takes_it() {
        let check = |threshold: u64, others: &[ShardWorker], expected: bool| {
            let pool = [std::slice::from_ref(&gpu(285_212_672)), others].concat();
            assert_eq!(has_refusing_worker(threshold, &pool), expected);
        };
        check(CUTS[0], &[gpu(402_653_184)], true);
        check(CUTS[0], &workers(&[16.0]), true);
        check(CUTS[0], &[], false);
        check(CUTS[0], &[gpu(300_000_000)], false);
        check(CUTS[1], &[gpu(402_653_184)], false);
    }

    #[test]
    fn no_worker_is_excluded_before_its_speed_is_known() {
        check_excluded(&[paced(gpu(402_653_184), "gpu", 4), cpu(7.0)], &[], CUTS[3]);
        check_excluded(&[gpu(402_653_184), paced(cpu(7.0), "cpu", 60)], &[], CUTS[3]);
    }

    #[test]
    fn a_pool_without_smaller_workers_is_kept() {
        check_excluded(&[paced(gpu(285_212_672), "gpu", 4)], &[], CUTS[1]);
        check_excluded(&[paced(gpu(285_212_672), "one", 4), paced(gpu(285_212_672), "two", 400)], &[], CUTS[1]);
    }
}
