//! Proofs that a program is given to verify.

use orchestrator::ProofFailure;
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{PROOF_MAX_NUM_PVS, SP1VerifyingKey};
use sp1_sdk::{LightProver, Prover, SP1Proof};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Checks that every proof in `stdin` has the form of one: SP1 indexes their public values without looking.
///
/// # Errors
/// The first that has not, by its place in the input.
pub(crate) fn check_form(stdin: &SP1Stdin) -> Result<(), ProofFailure> {
    match stdin.proofs.iter().position(|(proof, _)| proof.proof.public_values.len() != PROOF_MAX_NUM_PVS) {
        None => Ok(()),
        Some(at) => Err(ProofFailure::Request(format!(
            "proof {} of those the program is given to verify is none (a mock prover's, most likely); nothing can be proven with it",
            at + 1
        ))),
    }
}

/// Checks that every proof in `stdin` verifies: with one that does not, all would be proven and nothing would come of
/// it.
///
/// # Errors
/// The first that does not verify, by its place in the input.
pub(crate) async fn check_input_proofs(light: &LightProver, stdin: &SP1Stdin) -> Result<(), ProofFailure> {
    if stdin.proofs.is_empty() {
        return Ok(());
    }
    let (light, proofs) = (light.clone(), stdin.proofs.clone());
    let verify = move || {
        for (at, (proof, key)) in proofs.into_iter().enumerate() {
            let (proof, key) = (SP1Proof::Compressed(Box::new(proof)), SP1VerifyingKey { vk: key });
            // SP1 indexes into proofs without looking.
            let verdict = catch_unwind(AssertUnwindSafe(|| light.inner().verify(&key, &proof)));
            let reason = match verdict {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "SP1's verifier panicked on it".to_owned(),
            };
            return Err(ProofFailure::Request(format!(
                "proof {} of those the program is given to verify does not verify: {reason}; give `write_proof` a compressed proof with \
                 the verifying key of the program it is of",
                at + 1
            )));
        }
        Ok(())
    };
    tokio::task::spawn_blocking(verify).await.expect("verifying contains its panics")
}
