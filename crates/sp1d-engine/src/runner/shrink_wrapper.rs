//! Shrinks and wraps a compressed proof for the on-chain circuits.

use crate::{
    memory::task_bytes,
    sp1_types::{WrapProof, riscv_machine},
    verify::contained,
};
use async_trait::async_trait;
use sp1_hypercube::{HashableKey, PROOF_MAX_NUM_PVS, SP1VerifyingKey};
use sp1_primitives::SP1Field;
use sp1_prover::{
    verify::{SP1Verifier, VerifierRecursionVks},
    worker::SP1Proof,
};
use sp1_recursion_executor::RecursionPublicValues;
use sp1d_artifacts::Blob;
use sp1d_model::TaskKind;
use sp1d_orchestrator::{
    ProofChecks, ProofEvent, ProofFailure, ProofHandle, ProofOutput, ProofRequest, ProofRunner, TaskOutcome, TaskSpec,
};
use sp1d_protocol::{TaskPayload, WrapTask};
use std::{borrow::Borrow, sync::Arc};

/// Shrinks and wraps one compressed proof on a worker, as a request of its own, for the on-chain modes. Ignores
/// program, input and mode of the request.
pub struct ShrinkWrapper {
    proof: Vec<u8>,
    checks: WrapChecks,
}

/// The public values of a compressed or wrapped proof that identify its run.
#[derive(Debug, Clone, PartialEq)]
struct WrappedValues {
    committed_value_digest: Vec<SP1Field>,
    deferred_proofs_digest: Vec<SP1Field>,
    program: Vec<SP1Field>,
    exit_code: SP1Field,
    nonce: Vec<SP1Field>,
}

impl WrappedValues {
    /// Returns `None` if `public_values` do not have the length of a proof's public values.
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
    /// Creates a runner that shrinks and wraps `proof`. `key` is the verifying key of the proven program.
    ///
    /// # Errors
    /// Fails if `proof` is not a compressed proof, or if it is a proof of another program.
    pub fn new(proof: &SP1Proof, key: SP1VerifyingKey) -> Result<Arc<Self>, ProofFailure> {
        let SP1Proof::Compressed(proof) = proof else {
            return Err(ProofFailure::Request(
                "cannot shrink and wrap this proof: it is not a compressed proof".to_owned(),
            ));
        };
        let checks = WrapChecks::new(&proof.proof.public_values, key).ok_or_else(|| {
            let text = "cannot shrink and wrap this proof: it has the wrong number of public values";
            ProofFailure::Request(text.to_owned())
        })?;
        if checks.expected.program != checks.key.hash_koalabear() {
            return Err(ProofFailure::Request(
                "the proof and the verifying key belong to different programs\n\
                 hint: use the verifying key of the program that was proven"
                    .to_owned(),
            ));
        }
        let proof = bincode::serialize(proof).map_err(|error| ProofFailure::Internal(error.to_string()))?;
        Ok(Arc::new(Self { proof, checks }))
    }
}

#[async_trait]
impl ProofRunner for ShrinkWrapper {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.set_checks(self.checks.clone());
        self.wrap(&proof).await
    }
}

/// The checks of a proof that consists of one shrink-wrap task.
#[derive(Clone)]
pub(crate) struct WrapChecks {
    /// The values that the wrapped proof must have.
    expected: WrappedValues,
    /// The verifying key of the proven program.
    key: SP1VerifyingKey,
}

impl WrapChecks {
    /// Returns the checks of a wrapped proof that has the `public_values` of its compressed proof. `key` is the
    /// verifying key of the proven program. Returns `None` if `public_values` do not have the right length.
    pub(crate) fn new(public_values: &[SP1Field], key: SP1VerifyingKey) -> Option<Self> {
        Some(Self { expected: WrappedValues::of(public_values)?, key })
    }
}

impl ProofChecks for WrapChecks {
    fn check_result(&self, _: &TaskSpec, output: &[u8], _: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), String> {
        let wrapped = decode_wrapped(output)?;
        // SP1 indexes public values without checking their number, so check that first.
        match WrappedValues::of(&wrapped.proof.public_values) {
            Some(values) if values == self.expected => {}
            Some(_) => return Err("it belongs to another run".to_owned()),
            None => return Err("it has the wrong number of public values".to_owned()),
        }
        let verifier = SP1Verifier::new_with_machine(VerifierRecursionVks::default(), riscv_machine());
        let verified = contained(|| verifier.verify_wrap_bn254(&wrapped, &self.key).map_err(|error| error.to_string()));
        verified.map_err(|error| format!("SP1's verifier refuses it: {error}"))
    }

    fn check_deferred_events(&self, _: &TaskSpec, _: &dyn Fn(&str) -> Option<Blob>) -> Result<Vec<String>, String> {
        Err("its task has no marker".to_owned())
    }
}

impl ShrinkWrapper {
    async fn wrap(&self, proof: &ProofHandle) -> Result<ProofOutput, ProofFailure> {
        let internal = |error: &dyn std::fmt::Display| ProofFailure::Internal(error.to_string());
        proof.check_capability(TaskKind::ShrinkWrap)?;
        proof.put("compressed", self.proof.clone()).await.map_err(|error| internal(&error))?;
        let task = WrapTask { proof: "compressed".to_owned(), result: "wrapped".to_owned() };
        let needed_bytes = task_bytes(TaskKind::ShrinkWrap, None);
        let spec = TaskSpec { payload: TaskPayload::ShrinkWrap(task), needed_bytes, cycles: 0 };
        let task = proof.submit(spec.clone()).await;
        match proof.watch(task).await {
            Ok(TaskOutcome::Succeeded) => {}
            Ok(TaskOutcome::Failed) | Err(_) => return Err(ProofFailure::Cancelled),
        }
        proof.publish(ProofEvent::Verifying);
        let wrapped = proof.get("wrapped").await.ok_or_else(|| internal(&"the wrapped proof no longer exists"))?;
        // With `verify = final`, nothing has checked the result yet.
        let checks = self.checks.clone();
        let checked =
            tokio::task::spawn_blocking(move || checks.check_result(&spec, &wrapped, &|_| None).map(|()| wrapped));
        let wrapped = checked.await.map_err(|error| internal(&error))?.map_err(ProofFailure::WrongProof)?;
        Ok(ProofOutput { proof: wrapped, cycles: 0, public_values: Vec::new(), gas: None })
    }
}

/// Decodes a wrapped proof that a worker has made. SP1's decoder panics if a number has too few bytes.
fn decode_wrapped(bytes: &[u8]) -> Result<WrapProof, String> {
    contained(|| bincode::deserialize(bytes).map_err(|error| format!("cannot decode the wrapped proof: {error}")))
}
