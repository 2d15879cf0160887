//! Making a compressed proof ready for the on-chain circuits.

use crate::controller_clients::memory_bytes;
use async_trait::async_trait;
use orchestrator::{
    Checked, Outcome, Progress, ProofController, ProofFailure, ProofHandle, ProofMode, ProofOutput, ProofRequest,
    TaskInput, TaskSpec,
};
use scheduler::TaskKind;
use sp1_hypercube::{SP1PcsProofOuter, SP1VerifyingKey, SP1WrapProof};
use sp1_primitives::SP1OuterGlobalContext;
use sp1_prover::verify::{SP1Verifier, VerifierRecursionVks};
use sp1_sdk::SP1Proof;
use std::sync::Arc;

/// What the circuits of the on-chain proofs verify.
pub type WrapProof = SP1WrapProof<SP1OuterGlobalContext, SP1PcsProofOuter>;

/// Shrinks and wraps one compressed proof on a worker: a step of the on-chain modes, by itself. The request's program, input and mode are not looked
/// at.
pub struct ShrinkWrapper {
    proof: Vec<u8>,
    key: SP1VerifyingKey,
}

impl ShrinkWrapper {
    /// For `proof`, which is of the program that `key` is of.
    ///
    /// # Errors
    /// When it is no compressed proof.
    pub fn new(proof: &SP1Proof, key: SP1VerifyingKey) -> Result<Arc<Self>, ProofFailure> {
        let SP1Proof::Compressed(proof) = proof else {
            return Err(ProofFailure::Request("only a compressed proof can be shrunk and wrapped".to_owned()));
        };
        let proof = bincode::serialize(proof).map_err(|error| ProofFailure::Internal(error.to_string()))?;
        Ok(Arc::new(Self { proof, key }))
    }
}

#[async_trait]
impl ProofController for ShrinkWrapper {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let internal = |error: &dyn std::fmt::Display| ProofFailure::Internal(error.to_string());
        proof.check_ability(TaskKind::ShrinkWrap)?;
        proof.put("compressed", self.proof.clone()).await.map_err(|error| internal(&error))?;
        let inputs = vec![TaskInput::Artifact { name: "compressed".to_owned(), shared: false }];
        let kind = TaskKind::ShrinkWrap;
        let memory_bytes = memory_bytes(kind, ProofMode::Groth16);
        let spec = TaskSpec { kind, inputs, outputs: vec!["wrapped".to_owned()], marker: None, memory_bytes };
        let task = proof.submit(spec).await;
        match proof.watch(task).await {
            Ok(Outcome::Succeeded) => {}
            Ok(Outcome::Failed) | Err(_) => return Err(ProofFailure::Cancelled),
        }
        proof.report(Progress::Verifying);
        let wrapped = proof.get("wrapped").await.ok_or_else(|| internal(&"the wrapped proof is gone"))?;
        let key = self.key.clone();
        let verified = tokio::task::spawn_blocking(move || verify(&wrapped, &key).map(|()| wrapped)).await;
        let wrapped = verified.unwrap_or_else(|_| Err("the verifier panicked on it".to_owned()));
        let wrapped =
            wrapped.map_err(|error| ProofFailure::Internal(format!("the wrapped proof does not verify: {error}")))?;
        Ok(ProofOutput { proof: wrapped, cycles: 0 })
    }

    fn check(&self, result: Checked<'_>) -> Result<(), String> {
        decode(&result.output).map(|_| ())
    }
}

fn decode(bytes: &[u8]) -> Result<WrapProof, String> {
    bincode::deserialize(bytes).map_err(|error| format!("the result does not decode: {error}"))
}

fn verify(bytes: &[u8], key: &SP1VerifyingKey) -> Result<(), String> {
    let verifier = SP1Verifier::new(VerifierRecursionVks::default());
    verifier.verify_wrap_bn254(&decode(bytes)?, key).map_err(|error| error.to_string())
}
