//! Chooses how the run of a proof is cut into shards.

use crate::{
    memory::{ShardCells, choose_cut, has_refusing_worker, shard_size, task_bytes, too_small_for},
    options::CutOptions,
    program::ProgramShape,
};
use sp1d_model::TaskKind;
use sp1d_orchestrator::{ProofEvent, ProofFailure, ProofHandle, ProofMode, ShardSize, ShardWorker};

pub(super) const fn shard_kind(mode: ProofMode) -> TaskKind {
    match mode {
        ProofMode::Core => TaskKind::ProveShard,
        ProofMode::Compressed | ProofMode::Groth16 | ProofMode::Plonk => TaskKind::NormalizeShard,
    }
}

/// Returns the cut that would be chosen for a program with this number of instructions on these workers, and the
/// reason. The cut is the number of trace cells after which a shard ends. Returns `None` if the program is too large
/// for any shard.
#[must_use]
pub fn preview_cut(mode: ProofMode, instructions: u64, workers: &[ShardWorker]) -> Option<(u64, String)> {
    choose_cut(shard_kind(mode), instructions, workers).map(|choice| (choice.threshold, choice.reason))
}

/// Chooses the cut of a run by the memory of the workers. Waits until a worker that supports the shard task is
/// connected. The wait counts as a wait for this task kind, so the proof fails after the patience of the orchestrator.
pub(super) async fn choose_for_workers(
    proof: &ProofHandle,
    options: CutOptions,
    mode: ProofMode,
    shape: ProgramShape,
) -> Result<CutOptions, ProofFailure> {
    let kind = shard_kind(mode);
    let workers = proof.wait_for_capability(kind).await?;
    let Some(choice) = choose_cut(kind, shape.instructions as u64, &workers) else {
        return Err(ProofFailure::Request(format!(
            "the program has {} instructions, which is too many for any shard",
            shape.instructions
        )));
    };
    let mut options = options.chosen(choice.threshold);
    if choice.excludes_small_workers {
        options = options.excluding_small_workers();
    }
    tracing::info!(
        proof_id = proof.label(),
        trace_cells = options.threshold(),
        reason = %choice.reason,
        "cut chosen"
    );
    let setting = options.threshold_setting();
    proof.publish(ProofEvent::Cut { setting, reason: choice.reason, options: options.encode() });
    Ok(options)
}

/// Returns `options` with a cut that was set, or chosen earlier. GPUs that refuse its shards are excluded if another
/// worker takes them.
pub(super) fn exclude_refusing_workers(proof: &ProofHandle, options: CutOptions, mode: ProofMode) -> CutOptions {
    let workers = proof.shard_workers(shard_kind(mode));
    if has_refusing_worker(options.threshold(), &workers) { options.excluding_small_workers() } else { options }
}

/// Excludes the workers that are too small for full shards, if `options` say so.
pub(super) async fn exclude_small_workers(
    proof: &ProofHandle,
    options: &CutOptions,
    mode: ProofMode,
    shape: ProgramShape,
) {
    if !options.excludes_small_workers() {
        return;
    }
    let kind = shard_kind(mode);
    let full = shard_size(kind, shape.instructions as u64, options.threshold());
    // The shards of a cut that a user has set may be small, so workers on processors try them.
    let size = if options.is_set() { ShardSize { memory_bytes: 0, ..full } } else { full };
    for ShardWorker { name, .. } in proof.shard_workers(kind).iter().filter(|worker| !worker.fits(size)) {
        let worker = name.as_str();
        tracing::info!(proof_id = proof.label(), worker, "worker excluded from the shards of a proof: it is too small");
    }
    proof.exclude_small_workers(size).await;
}

/// Logs a warning if the user has set a cut whose full shards fit no connected worker. This is no error yet: a program
/// may be too short to fill a shard. The proof fails before a shard that does not fit is assigned.
pub(super) fn warn_of_large_cut(proof: &ProofHandle, options: &CutOptions, mode: ProofMode, shape: ProgramShape) {
    let kind = shard_kind(mode);
    let (instructions, workers) = (shape.instructions as u64, proof.shard_workers(kind));
    let bytes = task_bytes(kind, Some(ShardCells::full(instructions, options.threshold())));
    let Some(largest) = too_small_for(bytes, options.threshold(), &workers).filter(|_| options.is_set()) else {
        return;
    };
    let fitting = choose_cut(kind, instructions, &workers).map(|choice| choice.threshold);
    tracing::warn!(
        proof_id = proof.label(),
        cut = options.threshold_setting(),
        shard_gb = bytes as f64 / 1e9,
        largest_worker_gb = largest as f64 / 1e9,
        fitting,
        "full shards of this cut fit no worker"
    );
}
