//! Checks the input proofs of a program: proofs that the program itself verifies.

use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{PROOF_MAX_NUM_PVS, SP1VerifyingKey};
use sp1_sdk::{LightProver, Prover, SP1Proof};
use sp1d_orchestrator::ProofFailure;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Checks that every proof in `stdin` has the right number of public values. SP1 indexes them without checking.
///
/// # Errors
/// Fails with the position of the first proof that has another number.
pub(super) fn check_form(stdin: &SP1Stdin) -> Result<(), ProofFailure> {
    match stdin.proofs.iter().position(|(proof, _)| proof.proof.public_values.len() != PROOF_MAX_NUM_PVS) {
        None => Ok(()),
        Some(at) => Err(ProofFailure::Request(format!(
            "input proof {} is not a real proof, most likely it was made by a mock prover\n\
             hint: make the input proof with a real prover",
            at + 1
        ))),
    }
}

/// Checks that every proof in `stdin` verifies. With an input proof that does not verify, all shards would be proven
/// and the proof would still fail.
///
/// # Errors
/// Fails with the position of the first proof that does not verify.
pub(super) async fn check_input_proofs(light: &LightProver, stdin: &SP1Stdin) -> Result<(), ProofFailure> {
    if stdin.proofs.is_empty() {
        return Ok(());
    }
    let (light, proofs) = (light.clone(), stdin.proofs.clone());
    let verify = move || {
        for (at, (proof, key)) in proofs.into_iter().enumerate() {
            let (proof, key) = (SP1Proof::Compressed(Box::new(proof)), SP1VerifyingKey { vk: key });
            // SP1 indexes into proofs without checking and may panic.
            let verdict = catch_unwind(AssertUnwindSafe(|| light.inner().verify(&key, &proof)));
            let reason = match verdict {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "SP1's verifier panicked on it".to_owned(),
            };
            return Err(ProofFailure::Request(format!(
                "input proof {} does not verify: {reason}\n\
                 hint: pass `write_proof` a compressed proof and the verifying key of the proven program",
                at + 1
            )));
        }
        Ok(())
    };
    tokio::task::spawn_blocking(verify).await.expect("panics of the verifier are caught")
}
