//! Reads and combines the public values of recursion proofs.

use slop_algebra::AbstractField;
use sp1_hypercube::PROOF_MAX_NUM_PVS;
use sp1_primitives::SP1Field;
use sp1_recursion_executor::RecursionPublicValues;
use std::borrow::Borrow;

pub(super) type RecursionValues = RecursionPublicValues<SP1Field>;

/// Checks the number of public values. SP1 indexes them without checking.
pub(super) fn check_count(values: &[SP1Field]) -> Result<(), String> {
    match values.len() {
        PROOF_MAX_NUM_PVS => Ok(()),
        count => Err(format!("it has {count} public values instead of {PROOF_MAX_NUM_PVS}")),
    }
}

pub(super) fn recursion_values(values: &[SP1Field]) -> Result<&RecursionValues, String> {
    check_count(values)?;
    Ok(values.borrow())
}

/// Returns the public values that a reduction of `parts` must have, except for the digest. They are combined as in
/// `SP1CompressVerifier` of sp1-recursion-circuit. Returns `None` if `parts` is empty or cannot be summed up.
pub(super) fn reduction(parts: &[RecursionValues], complete: bool) -> Option<RecursionValues> {
    let (first, last) = (parts.first()?, parts.last()?);
    let mut sum = first.global_cumulative_sum;
    for part in &parts[1..] {
        sum = sum.checked_add(part.global_cumulative_sum)?;
    }
    Some(RecursionValues {
        committed_value_digest: last.committed_value_digest,
        deferred_proofs_digest: last.deferred_proofs_digest,
        deferred_proof: last.deferred_proof,
        next_pc: last.next_pc,
        last_timestamp: last.last_timestamp,
        last_init_addr: last.last_init_addr,
        last_finalize_addr: last.last_finalize_addr,
        last_init_page_idx: last.last_init_page_idx,
        last_finalize_page_idx: last.last_finalize_page_idx,
        end_reconstruct_deferred_digest: last.end_reconstruct_deferred_digest,
        global_cumulative_sum: sum,
        contains_first_shard: parts.iter().map(|part| part.contains_first_shard).sum(),
        num_included_shard: parts.iter().map(|part| part.num_included_shard).sum(),
        is_complete: SP1Field::from_bool(complete),
        exit_code: last.exit_code,
        commit_syscall: last.commit_syscall,
        commit_deferred_syscall: last.commit_deferred_syscall,
        ..*first
    })
}
