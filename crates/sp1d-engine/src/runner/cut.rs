//! Chooses how the run of a proof is cut into shards.

use crate::{
    memory::{LeftOutWorkers, ShardCells, choose_cut, refusing_workers, task_bytes, too_small_for},
    options::CutOptions,
    program::ProgramShape,
};
use sp1d_model::TaskKind;
use sp1d_orchestrator::{ProofEvent, ProofFailure, ProofHandle, ProofMode, ShardWorker};

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
    let options = options.chosen(choice.threshold);
    let name = options.threshold_name();
    tracing::info!(proof_id = proof.label(), %name, reason = %choice.reason, "cut chosen");
    if let Some(left_out) = choice.left_out {
        leave_out(proof, &left_out).await;
    }
    proof.report(ProofEvent::Cut { name, reason: choice.reason, options: options.encode() });
    Ok(options)
}

/// Leaves out workers whose GPUs refuse the shards of a cut that was set, or chosen before the service restarted.
pub(super) async fn leave_out_refusing(proof: &ProofHandle, options: &CutOptions, mode: ProofMode) {
    if let Some(left_out) = refusing_workers(options.threshold(), &proof.shard_workers(shard_kind(mode))) {
        leave_out(proof, &left_out).await;
    }
}

async fn leave_out(proof: &ProofHandle, left_out: &LeftOutWorkers) {
    for worker in &left_out.names {
        tracing::info!(proof_id = proof.label(), %worker, "worker left out of the shards of a proof: it is too small");
    }
    proof.leave_out_small_workers(left_out.compared_bytes).await;
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
        cut = options.threshold_name(),
        shard_gb = bytes as f64 / 1e9,
        largest_worker_gb = largest as f64 / 1e9,
        fitting,
        "full shards of this cut fit no worker"
    );
}
