//! Compares the public values of the proof of a part with the values that they must be.

use super::recursion_values::RecursionValues;
use crate::sp1_types::FieldDigest;
use slop_algebra::AbstractField;
use sp1_hypercube::{
    DIGEST_SIZE,
    air::{PV_DIGEST_NUM_WORDS, SP1CorePublicValues, ShardRange},
};
use sp1_primitives::SP1Field;

/// The values that the proof of a part must have, as far as they are known in advance.
pub(super) struct PartValues {
    pub(super) range: ShardRange,
    /// The program counter before the part.
    pub(super) pc: [SP1Field; 3],
    /// The state of the program for a part that does not execute it and so leaves its state unchanged. `None` for a
    /// core shard.
    pub(super) idle: Option<ProgramState>,
    /// Digests of the input proofs that were verified before and after the part.
    pub(super) input_digests: [FieldDigest; 2],
}

/// The state of a program.
#[derive(Clone, Copy)]
pub(super) struct ProgramState {
    pub(super) exit_code: SP1Field,
    pub(super) committed: [[SP1Field; 4]; PV_DIGEST_NUM_WORDS],
    pub(super) input_digest: FieldDigest,
    /// Whether the program has committed its public values and the digest of its input proofs: 0 or 1.
    pub(super) committed_all: SP1Field,
}

impl ProgramState {
    pub(super) fn initial() -> Self {
        Self {
            exit_code: SP1Field::zero(),
            committed: [[SP1Field::zero(); 4]; PV_DIGEST_NUM_WORDS],
            input_digest: [SP1Field::zero(); DIGEST_SIZE],
            committed_all: SP1Field::zero(),
        }
    }
}

/// The public values that core proofs and recursion proofs have in common. Each pair is the value before and after the
/// part.
pub(super) struct CommonValues {
    range: ShardRange,
    pc: [[SP1Field; 3]; 2],
    exit_code: [SP1Field; 2],
    committed: [[[SP1Field; 4]; PV_DIGEST_NUM_WORDS]; 2],
    input_digest: [FieldDigest; 2],
    commit_syscall: [SP1Field; 2],
    commit_deferred_syscall: [SP1Field; 2],
    nonce: [SP1Field; 4],
}

/// Makes a [`CommonValues`] of core or of recursion public values. The two types share field names but no trait.
macro_rules! common_values {
    ($values:ident) => {
        CommonValues {
            range: $values.range(),
            pc: [$values.pc_start, $values.next_pc],
            exit_code: [$values.prev_exit_code, $values.exit_code],
            committed: [$values.prev_committed_value_digest, $values.committed_value_digest],
            input_digest: [$values.prev_deferred_proofs_digest, $values.deferred_proofs_digest],
            commit_syscall: [$values.prev_commit_syscall, $values.commit_syscall],
            commit_deferred_syscall: [$values.prev_commit_deferred_syscall, $values.commit_deferred_syscall],
            nonce: $values.proof_nonce,
        }
    };
}

impl CommonValues {
    pub(super) fn of_core(values: &SP1CorePublicValues<SP1Field>) -> Self {
        common_values!(values)
    }

    pub(super) fn of_recursion(values: &RecursionValues) -> Self {
        common_values!(values)
    }
}

impl PartValues {
    /// Returns true for the shard that contains the program's first cycle.
    pub(super) fn is_first(&self) -> bool {
        self.idle.is_none() && self.range.timestamp_range.0 == 1
    }

    pub(super) fn check(&self, found: &CommonValues, nonce: [SP1Field; 4]) -> Result<(), String> {
        if found.range != self.range {
            return Err(other_range(found.range, self.range));
        }
        agree("nonce", found.nonce, nonce)?;
        agree("first instruction", found.pc[0], self.pc)?;
        let Some(state) = &self.idle else {
            // The effect of the shard is unknown until it is traced. But the shard executes cycles, so the program had
            // not ended before.
            return agree("exit code before the shard", found.exit_code[0], SP1Field::zero());
        };
        agree("next instruction", found.pc[1], self.pc)?;
        agree("exit code", found.exit_code, [state.exit_code; 2])?;
        agree("digest of committed values", found.committed, [state.committed; 2])?;
        agree("digest of input proofs", found.input_digest, [state.input_digest; 2])?;
        agree("flag for committed values", found.commit_syscall, [state.committed_all; 2])?;
        agree("flag for verified input proofs", found.commit_deferred_syscall, [state.committed_all; 2])
    }
}

/// Returns an address as public values contain it: three limbs of 16 bits, lowest limb first.
pub(super) fn limbs(address: u64) -> [SP1Field; 3] {
    std::array::from_fn(|at| SP1Field::from_canonical_u16((address >> (16 * at)) as u16))
}

pub(super) fn other_range(found: ShardRange, expected: ShardRange) -> String {
    format!("it does not prove what its task asks for: its range is {found:?}, the range of the task is {expected:?}")
}

pub(super) fn agree<T: PartialEq>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it does not prove what its task asks for: unexpected {what}")) }
}
