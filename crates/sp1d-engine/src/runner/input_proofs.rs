//! Checks the input proofs of a program: proofs that the program itself verifies.

use super::request::decode_elf;
use crate::{
    options::CutOptions,
    proof_calls::{ProofIdentity, difference, may_verify_proofs, observe_proof_calls},
    sp1_types::InnerRecursionProof,
};
use slop_algebra::{AbstractField, PrimeField32};
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{DIGEST_SIZE, PROOF_MAX_NUM_PVS, SP1VerifyingKey};
use sp1_primitives::SP1Field;
use sp1_prover::worker::{SP1NodeCore, SP1Proof, hash_deferred_proofs};
use sp1_recursion_executor::RecursionPublicValues;
use sp1d_orchestrator::{ProofFailure, ProofHandle, ProofRequest};
use std::{
    borrow::Borrow,
    panic::{AssertUnwindSafe, catch_unwind},
};
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
/// and the proof would still fail. After `stop`, the check ends with the present input proof.
///
/// # Errors
/// Fails with the position of the first proof that does not verify, and with [`ProofFailure::Cancelled`] after `stop`.
pub(super) async fn check_input_proofs(
    node: &SP1NodeCore,
    stdin: &SP1Stdin,
    stop: &CancellationToken,
) -> Result<(), ProofFailure> {
    if stdin.proofs.is_empty() {
        return Ok(());
    }
    let (node, proofs, stop) = (node.clone(), stdin.proofs.clone(), stop.clone());
    let verify = move |(proof, key)| {
        let (proof, key) = (SP1Proof::Compressed(Box::new(proof)), SP1VerifyingKey { vk: key });
        // SP1 indexes into proofs without checking and may panic.
        match catch_unwind(AssertUnwindSafe(|| node.verify(&key, &proof))) {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("SP1's verifier panicked on it".to_owned()),
        }
    };
    let checking = tokio::task::spawn_blocking(move || check_each(proofs, &stop, verify));
    checking.await.expect("panics of the verifier are caught")
}

/// Checks each input proof with `verify`, until `stop`.
fn check_each<P>(
    proofs: Vec<P>,
    stop: &CancellationToken,
    verify: impl Fn(P) -> Result<(), String>,
) -> Result<(), ProofFailure> {
    for (at, proof) in proofs.into_iter().enumerate() {
        if stop.is_cancelled() {
            return Err(ProofFailure::Cancelled);
        }
        verify(proof).map_err(|reason| {
            ProofFailure::Request(format!(
                "input proof {} does not verify: {reason}\n\
                 hint: pass `write_proof` a compressed proof and the verifying key of the proven program",
                at + 1
            ))
        })?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_check_ends_with_the_present_input_proof() {
        let stop = CancellationToken::new();
        let verify = |proof: u32| {
            assert!(proof <= 3, "input proof {proof} is checked after the stop");
            if proof == 3 {
                stop.cancel();
            }
            Ok(())
        };
        assert!(matches!(check_each(vec![1, 2, 3, 4], &stop, verify), Err(ProofFailure::Cancelled)));
    }

    #[test]
    fn first_input_proof_that_does_not_verify_is_named() {
        let verify = |proof: u32| if proof < 2 { Ok(()) } else { Err(format!("bad {proof}")) };
        match check_each(vec![1, 2, 3], &CancellationToken::new(), verify) {
            Err(ProofFailure::Request(text)) => {
                assert!(text.starts_with("input proof 2 does not verify: bad 2"), "{text}");
            }
            outcome => panic!("{outcome:?}"),
        }
    }
}
