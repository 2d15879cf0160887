//! A runner for programs on sp1-sdk itself. Its proofs have the form that sp1-sdk decodes, and do not verify.

use crate::runner::FakeRunner;
use async_trait::async_trait;
use bytes::Bytes;
use sp1d_model::ProofMode;
use sp1d_orchestrator::{ProofFailure, ProofHandle, ProofOutput, ProofRequest, ProofRunner, ServiceRunner};
use std::io::Read;

/// Does the same as its [`FakeRunner`], but accepts every program with the form of an ELF file, and returns an
/// [`unverifiable_proof`].
#[derive(Debug, Clone)]
pub struct FakeSdkRunner {
    /// Makes the tasks of the proofs.
    pub runner: FakeRunner,
    /// Verifying key of every program, in the form that people compare. Only SP1 can compute it, so the program under
    /// test must say which one it is.
    pub key: String,
}

/// Number of shards of a proof without a cycle limit. Programs on sp1-sdk usually set none.
const SHARDS: u64 = 2;

#[async_trait]
impl ProofRunner for FakeSdkRunner {
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let mode = request.mode;
        let cycle_limit = request.cycle_limit.or(Some(SHARDS));
        let output = self.runner.run(proof, ProofRequest { cycle_limit, ..request }).await?;
        Ok(ProofOutput { proof: unverifiable_proof(mode), ..output })
    }
}

#[async_trait]
impl ServiceRunner for FakeSdkRunner {
    async fn check_program(&self, elf: Bytes) -> Result<(), ProofFailure> {
        let is_elf = elf.starts_with(b"\x7fELF");
        if is_elf { Ok(()) } else { Err(ProofFailure::Request("invalid program".into())) }
    }

    async fn program_key(&self, _: Bytes) -> Result<String, ProofFailure> {
        Ok(self.key.clone())
    }

    fn check_stdin(&self, stdin: &mut dyn Read) -> Result<(), ProofFailure> {
        self.runner.check_stdin(stdin)
    }

    fn empty_stdin(&self) -> Vec<u8> {
        self.runner.empty_stdin()
    }
}

/// Returns a proof that sp1-sdk can decode and that does not verify: SP1's `ProofFromNetwork`, serialized with
/// bincode 1.
///
/// Except for the mode and the shapes of two tensors, all of its numbers are zero and all of its lists are empty,
/// which takes zeros only. So this crate needs none of SP1's types. sp1-sdk ignores the zeros after the end.
#[must_use]
pub fn unverifiable_proof(mode: ProofMode) -> Vec<u8> {
    /// Bytes of a compressed proof (`SP1RecursionProof`) before the output of its LogUp circuit. The verifying key
    /// (`MachineVerifyingKey`) has the start of the program (3 numbers), the digest of its memory (14), a commitment
    /// (8) and a flag. The proof itself (`ShardProof`) starts with a list of public values and a commitment (8).
    const BEFORE_TENSORS: usize = (3 + 14 + 8 + 1) * 4 + 8 + 8 * 4;
    /// A tensor without elements: the number of elements, the number of dimensions, and the size of the only one. A
    /// tensor without dimensions would have one element.
    const EMPTY_TENSOR: [u64; 3] = [0, 1, 0];
    /// Longer than what follows in every mode.
    const ZEROS: usize = 512;
    // In the order of SP1's `SP1Proof`.
    let variant: u32 = match mode {
        ProofMode::Core => 0,
        ProofMode::Compressed => 1,
        ProofMode::Plonk => 2,
        ProofMode::Groth16 => 3,
    };
    let mut proof = variant.to_le_bytes().to_vec();
    if mode == ProofMode::Compressed {
        proof.resize(proof.len() + BEFORE_TENSORS, 0);
        // The numerator and the denominator.
        for number in [EMPTY_TENSOR, EMPTY_TENSOR].concat() {
            proof.extend(number.to_le_bytes());
        }
    }
    proof.resize(proof.len() + ZEROS, 0);
    proof
}
