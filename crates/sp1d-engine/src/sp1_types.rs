//! SP1's generic types, with the parameters that this crate uses everywhere.

use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::{
    DIGEST_SIZE, Machine, MachineVerifyingKey, SP1PcsProofInner, SP1PcsProofOuter, SP1RecursionProof, SP1WrapProof,
    ShardProof,
};
use sp1_primitives::{SP1Field, SP1GlobalContext, SP1OuterGlobalContext};
use sp1_prover::{CpuSP1ProverComponents, SP1ProverComponents};
use sp1_prover_types::SerializableRiscvMachine;
use std::sync::LazyLock;

/// The proof of one shard of a run.
pub(crate) type CoreShardProof = ShardProof<SP1GlobalContext, SP1PcsProofInner>;

/// A proof that verifies a shard proof, an input proof, or other proofs of this kind.
pub(crate) type InnerRecursionProof = SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner>;

/// A wrapped proof, which the circuits of the on-chain proofs verify.
pub type WrapProof = SP1WrapProof<SP1OuterGlobalContext, SP1PcsProofOuter>;

/// The verifying key of a RISC-V program or of a recursion program.
pub(crate) type InnerVerifyingKey = MachineVerifyingKey<SP1GlobalContext>;

/// A digest of SP1's hash function, in field elements.
pub(crate) type FieldDigest = [SP1Field; DIGEST_SIZE];

/// SP1's core prover, without a wrapper of this crate.
pub(crate) type Sp1CoreProver = <CpuSP1ProverComponents as SP1ProverComponents>::CoreProver;

/// SP1's recursion prover, without a wrapper of this crate.
pub(crate) type Sp1RecursionProver = <CpuSP1ProverComponents as SP1ProverComponents>::RecursionProver;

/// Returns SP1's standard machine. The first call builds it, which takes a third of a second and code that needs the
/// processor features of this build. All callers share the tables, which never change.
///
/// SP1's conversion has no type parameters, so its code is not compiled again here. With `RiscvAir::machine`, each
/// crate that calls it would take about a minute longer to compile.
#[must_use]
pub fn riscv_machine() -> Machine<SP1Field, RiscvAir<SP1Field>> {
    static MACHINE: LazyLock<Machine<SP1Field, RiscvAir<SP1Field>>> = LazyLock::new(|| SerializableRiscvMachine.into());
    MACHINE.clone()
}
