//! Making a compressed proof ready for the on-chain circuits.

use crate::memory::task_bytes;
use async_trait::async_trait;
use orchestrator::{
    Checked, Outcome, Progress, ProofController, ProofFailure, ProofHandle, ProofOutput, ProofRequest, TaskInput,
    TaskSpec,
};
use scheduler::TaskKind;
use sp1_hypercube::{HashableKey, PROOF_MAX_NUM_PVS, SP1PcsProofOuter, SP1VerifyingKey, SP1WrapProof};
use sp1_primitives::{SP1Field, SP1OuterGlobalContext};
use sp1_prover::verify::{SP1Verifier, VerifierRecursionVks};
use sp1_recursion_executor::RecursionPublicValues;
use sp1_sdk::SP1Proof;
use std::{borrow::Borrow, sync::Arc};

/// What the circuits of the on-chain proofs verify.
pub type WrapProof = SP1WrapProof<SP1OuterGlobalContext, SP1PcsProofOuter>;

/// Shrinks and wraps one compressed proof on a worker: a step of the on-chain modes, by itself. The request's program,
/// input and mode are not looked at.
pub struct ShrinkWrapper {
    proof: Vec<u8>,
    /// What the wrapped proof must say.
    claims: Claims,
    key: SP1VerifyingKey,
}

/// What a proof says of a run.
#[derive(Debug, PartialEq)]
struct Claims {
    committed_value_digest: Vec<SP1Field>,
    deferred_proofs_digest: Vec<SP1Field>,
    program: Vec<SP1Field>,
    exit_code: SP1Field,
    nonce: Vec<SP1Field>,
}

impl Claims {
    /// None when these are no public values of a proof.
    fn of(public_values: &[SP1Field]) -> Option<Self> {
        if public_values.len() != PROOF_MAX_NUM_PVS {
            return None;
        }
        let values: &RecursionPublicValues<SP1Field> = public_values.borrow();
        Some(Self {
            committed_value_digest: values.committed_value_digest.iter().flatten().copied().collect(),
            deferred_proofs_digest: values.deferred_proofs_digest.to_vec(),
            program: values.sp1_vk_digest.to_vec(),
            exit_code: values.exit_code,
            nonce: values.proof_nonce.to_vec(),
        })
    }
}

impl ShrinkWrapper {
    /// For `proof`, which is of the program that `key` is of.
    ///
    /// # Errors
    /// When it is no compressed proof, or one of another program.
    pub fn new(proof: &SP1Proof, key: SP1VerifyingKey) -> Result<Arc<Self>, ProofFailure> {
        let SP1Proof::Compressed(proof) = proof else {
            return Err(ProofFailure::Request("only a compressed proof can be shrunk and wrapped".to_owned()));
        };
        let claims = Claims::of(&proof.proof.public_values)
            .ok_or_else(|| ProofFailure::Request("what should be wrapped is no proof".to_owned()))?;
        if claims.program != key.hash_koalabear() {
            return Err(ProofFailure::Request(
                "the proof is of another program than the verifying key; use the key of the program that was proven"
                    .to_owned(),
            ));
        }
        let proof = bincode::serialize(proof).map_err(|error| ProofFailure::Internal(error.to_string()))?;
        Ok(Arc::new(Self { proof, claims, key }))
    }
}

#[async_trait]
impl ProofController for ShrinkWrapper {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let outcome = self.wrap(&proof).await;
        if let Err(failure) = &outcome {
            proof.fail(failure.clone());
            proof.find_wrong_parts().await;
        }
        outcome
    }

    fn check(&self, result: Checked<'_>) -> Result<(), String> {
        // SP1 indexes public values without looking.
        match Claims::of(&decode(&result.output)?.proof.public_values) {
            Some(claims) if claims == self.claims => Ok(()),
            Some(_) => Err("it is of another run".to_owned()),
            None => Err("the result has another number of public values than a proof".to_owned()),
        }
    }
}

impl ShrinkWrapper {
    async fn wrap(&self, proof: &ProofHandle) -> Result<ProofOutput, ProofFailure> {
        let internal = |error: &dyn std::fmt::Display| ProofFailure::Internal(error.to_string());
        proof.check_ability(TaskKind::ShrinkWrap)?;
        proof.put("compressed", self.proof.clone()).await.map_err(|error| internal(&error))?;
        let inputs = vec![TaskInput::Artifact { name: "compressed".to_owned(), shared: false }];
        let kind = TaskKind::ShrinkWrap;
        let memory_bytes = task_bytes(kind, None);
        let spec =
            TaskSpec { kind, inputs, outputs: vec!["wrapped".to_owned()], marker: None, memory_bytes, cycles: 0 };
        let task = proof.submit(spec).await;
        match proof.watch(task).await {
            Ok(Outcome::Succeeded) => {}
            Ok(Outcome::Failed) | Err(_) => return Err(ProofFailure::Cancelled),
        }
        proof.report(Progress::Verifying);
        let wrapped = proof.get("wrapped").await.ok_or_else(|| internal(&"the wrapped proof is gone"))?;
        let decoded = decode(&wrapped).map_err(|error| internal(&error))?;
        if Claims::of(&decoded.proof.public_values).as_ref() != Some(&self.claims) {
            return Err(internal(&"the wrapped proof is one of another run"));
        }
        let key = self.key.clone();
        let verified = tokio::task::spawn_blocking(move || verify(&decoded, &key).map(|()| wrapped)).await;
        let wrapped = verified.unwrap_or_else(|_| Err("the verifier panicked on it".to_owned()));
        let wrapped =
            wrapped.map_err(|error| ProofFailure::Internal(format!("the wrapped proof does not verify: {error}")))?;
        Ok(ProofOutput { proof: wrapped, cycles: 0 })
    }
}

fn decode(bytes: &[u8]) -> Result<WrapProof, String> {
    bincode::deserialize(bytes).map_err(|error| format!("the result does not decode: {error}"))
}

fn verify(proof: &WrapProof, key: &SP1VerifyingKey) -> Result<(), String> {
    let verifier = SP1Verifier::new(VerifierRecursionVks::default());
    verifier.verify_wrap_bn254(proof, key).map_err(|error| error.to_string())
}
