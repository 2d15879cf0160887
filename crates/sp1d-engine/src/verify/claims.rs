//! Compares what the proof of a part claims with what it must claim.

use super::recursion_values::RecursionValues;
use crate::sp1_types::FieldDigest;
use slop_algebra::AbstractField;
use sp1_hypercube::{
    DIGEST_SIZE,
    air::{PV_DIGEST_NUM_WORDS, SP1CorePublicValues, ShardRange},
};
use sp1_primitives::SP1Field;

/// What the proof of a part must claim, as far as it is known in advance.
pub(super) struct PartClaims {
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

/// The claims that core proofs and recursion proofs have in common. Each pair is the value before and after the part.
pub(super) struct ClaimedValues {
    range: ShardRange,
    pc: [[SP1Field; 3]; 2],
    exit_code: [SP1Field; 2],
    committed: [[[SP1Field; 4]; PV_DIGEST_NUM_WORDS]; 2],
    input_digest: [FieldDigest; 2],
    commit_syscall: [SP1Field; 2],
    commit_deferred_syscall: [SP1Field; 2],
    nonce: [SP1Field; 4],
}

/// Makes a [`ClaimedValues`] of core or of recursion public values. The two types share field names but no trait.
macro_rules! claimed_values {
    ($values:ident) => {
        ClaimedValues {
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

impl ClaimedValues {
    pub(super) fn of_core(values: &SP1CorePublicValues<SP1Field>) -> Self {
        claimed_values!(values)
    }

    pub(super) fn of_recursion(values: &RecursionValues) -> Self {
        claimed_values!(values)
    }
}

impl PartClaims {
    /// Returns true for the shard that contains the program's first cycle.
    pub(super) fn is_first(&self) -> bool {
        self.idle.is_none() && self.range.timestamp_range.0 == 1
    }

    pub(super) fn check(&self, claimed: &ClaimedValues, nonce: [SP1Field; 4]) -> Result<(), String> {
        if claimed.range != self.range {
            return Err(other_range(claimed.range, self.range));
        }
        agree("nonce", claimed.nonce, nonce)?;
        agree("first instruction", claimed.pc[0], self.pc)?;
        let Some(state) = &self.idle else {
            // The effect of the shard is unknown until it is traced. But the shard executes cycles, so the program had
            // not ended before.
            return agree("exit code before the shard", claimed.exit_code[0], SP1Field::zero());
        };
        agree("next instruction", claimed.pc[1], self.pc)?;
        agree("exit code", claimed.exit_code, [state.exit_code; 2])?;
        agree("digest of committed values", claimed.committed, [state.committed; 2])?;
        agree("digest of input proofs", claimed.input_digest, [state.input_digest; 2])?;
        agree("flag for committed values", claimed.commit_syscall, [state.committed_all; 2])?;
        agree("flag for verified input proofs", claimed.commit_deferred_syscall, [state.committed_all; 2])
    }
}

/// Returns an address as public values contain it: three limbs of 16 bits, lowest limb first.
pub(super) fn limbs(address: u64) -> [SP1Field; 3] {
    std::array::from_fn(|at| SP1Field::from_canonical_u16((address >> (16 * at)) as u16))
}

pub(super) fn other_range(claimed: ShardRange, expected: ShardRange) -> String {
    format!("it does not prove what its task asks for: its range is {claimed:?}, the range of the task is {expected:?}")
}

pub(super) fn agree<T: PartialEq>(what: &str, claimed: T, expected: T) -> Result<(), String> {
    if claimed == expected {
        Ok(())
    } else {
        Err(format!("it does not prove what its task asks for: unexpected {what}"))
    }
}
