//! Checks the input proofs of a program: proofs that the program itself verifies.

use super::{proof_sequence::verify_each, request::decode_elf};
use crate::{
    options::CutOptions,
    proof_calls::{ProofIdentity, difference, may_verify_proofs, observe_proof_calls},
    sp1_types::{InnerRecursionProof, InnerVerifyingKey},
};
use slop_algebra::{AbstractField, PrimeField32};
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{DIGEST_SIZE, PROOF_MAX_NUM_PVS, SP1VerifyingKey};
use sp1_primitives::SP1Field;
use sp1_prover::worker::{SP1NodeCore, SP1Proof, hash_deferred_proofs};
use sp1_recursion_executor::RecursionPublicValues;
use sp1d_orchestrator::{ProofFailure, ProofHandle, ProofRequest};
use std::borrow::Borrow;
use tokio_util::sync::CancellationToken;

/// Checks that every proof in `stdin` has the right number of public values. SP1 indexes them without checking.
///
/// # Errors
/// Fails with the position of the first proof that has another number.
pub(super) fn check_form(stdin: &SP1Stdin) -> Result<(), ProofFailure> {
    (0..).zip(&stdin.proofs).try_for_each(|(at, (proof, _))| check_proof_form(at, proof))
}

/// Checks that the input proof `proof`, at the position `at` from 0, has the right number of public values.
///
/// # Errors
/// Fails if it has another number.
pub(super) fn check_proof_form(at: u64, proof: &InnerRecursionProof) -> Result<(), ProofFailure> {
    if proof.proof.public_values.len() == PROOF_MAX_NUM_PVS {
        return Ok(());
    }
    Err(ProofFailure::Request(format!(
        "input proof {} is not a real proof, most likely it was made by a mock prover\n\
         hint: make the input proof with a real prover",
        at + 1
    )))
}

/// Checks that every proof in `stdin` verifies. With an input proof that does not verify, all shards would be proven
/// and the proof would still fail.
///
/// # Errors
/// Fails with the position of the first proof that does not verify, or when `stop` is cancelled.
pub(super) async fn check_input_proofs(
    node: &SP1NodeCore,
    stdin: &SP1Stdin,
    stop: &CancellationToken,
) -> Result<(), ProofFailure> {
    if stdin.proofs.is_empty() {
        return Ok(());
    }
    let (node, proofs, stop) = (node.clone(), stdin.proofs.clone(), stop.clone());
    // SP1 indexes into proofs without checking and may panic.
    let verify = move |(proof, key): (InnerRecursionProof, InnerVerifyingKey)| {
        let (proof, key) = (SP1Proof::Compressed(Box::new(proof)), SP1VerifyingKey { vk: key });
        node.verify(&key, &proof).map_err(|error| error.to_string())
    };
    let verified = tokio::task::spawn_blocking(move || verify_each(proofs, verify, &stop)).await;
    verified.expect("panics of the verifier are caught")
}

/// Checks that the program verifies exactly the proofs in `stdin`, in their order. With other proofs, all shards would
/// be proven and the reductions would fail on every worker. The form of the proofs was checked.
///
/// This executes the program once more, so it is only done if the input has proofs or the program can verify some.
///
/// # Errors
/// Fails with the first difference, or if the proof ends meanwhile.
pub(super) async fn check_verified_proofs(
    proof: &ProofHandle,
    request: &ProofRequest,
    options: &CutOptions,
    stdin: &SP1Stdin,
) -> Result<(), ProofFailure> {
    if stdin.proofs.is_empty() && !may_verify_proofs(&request.elf) {
        return Ok(());
    }
    let (program, inputs) = (decode_elf(&request.elf).await?, stdin.buffer.clone());
    let run = observe_proof_calls(program, inputs, options.as_sp1(), request.cycle_limit, proof.stopped());
    let Some(calls) = run.await? else { return Ok(()) };
    let digest = stdin.proofs.iter().fold([SP1Field::zero(); DIGEST_SIZE], |digest, (proof, _)| {
        hash_deferred_proofs(digest, std::slice::from_ref(proof))
    });
    // The digests decide. The proofs that the calls named only explain the difference.
    if calls.digest() == digest.map(|word| word.as_canonical_u32()) {
        return Ok(());
    }
    let given: Vec<ProofIdentity> = stdin.proofs.iter().map(|(proof, _)| identity(proof)).collect();
    Err(ProofFailure::Request(difference(calls.total(), calls.verified(), &given)))
}

/// Returns the identity of a proof that has the right number of public values.
fn identity(proof: &InnerRecursionProof) -> ProofIdentity {
    let values: &RecursionPublicValues<SP1Field> = proof.proof.public_values.as_slice().borrow();
    let mut digest = [0; 32];
    for (byte, value) in digest.iter_mut().zip(values.committed_value_digest.as_flattened()) {
        // A proof that verifies has bytes here.
        *byte = value.as_canonical_u32() as u8;
    }
    ProofIdentity { key: values.sp1_vk_digest.map(|word| word.as_canonical_u32()), values: digest }
}
