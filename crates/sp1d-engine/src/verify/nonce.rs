//! Checks the nonce of proofs.

use super::recursion_values::{check_count, recursion_values};
use crate::sp1_types::CoreShardProof;
use slop_algebra::PrimeField32;
use sp1_hypercube::air::SP1CorePublicValues;
use sp1_primitives::SP1Field;
use sp1_prover::{Groth16Bn254Proof, PlonkBn254Proof, worker::SP1Proof};
use sp1d_orchestrator::ProofFailure;
use std::borrow::Borrow;

/// Returns the nonce in the form of on-chain proofs: the words are joined to one number, 31 bits each, the first word
/// highest (sp1-recursion-circuit, `koalabears_proof_nonce_to_bn254`).
pub(super) fn on_chain_nonce(nonce: [u32; 4]) -> String {
    nonce.iter().fold(0_u128, |folded, word| (folded << 31) + u128::from(*word)).to_string()
}

/// Checks that each word of the nonce is an element of SP1's field.
pub(crate) fn check_nonce_range(nonce: [u32; 4]) -> Result<(), ProofFailure> {
    match nonce.iter().find(|word| **word >= SP1Field::ORDER_U32) {
        None => Ok(()),
        Some(word) => Err(ProofFailure::Request(format!(
            "invalid nonce: its word {word} is out of range, the maximum is {}",
            SP1Field::ORDER_U32 - 1
        ))),
    }
}

/// Checks that the proof was made for `nonce`. A proof with another nonce is rejected even if it verifies. The proof
/// need not be verified: it may have any number of public values.
///
/// # Errors
/// Fails if a part of the proof has another nonce, or the wrong number of public values.
pub(crate) fn check_nonce(proof: &SP1Proof, nonce: [u32; 4]) -> Result<(), String> {
    let found: Vec<[SP1Field; 4]> = match proof {
        SP1Proof::Core(shards) => shards.iter().map(shard_nonce).collect::<Result<Vec<_>, _>>()?,
        SP1Proof::Compressed(whole) => vec![recursion_values(&whole.proof.public_values)?.proof_nonce],
        SP1Proof::Plonk(PlonkBn254Proof { public_inputs, .. })
        | SP1Proof::Groth16(Groth16Bn254Proof { public_inputs, .. }) => {
            return if public_inputs[4] == on_chain_nonce(nonce) {
                Ok(())
            } else {
                Err("it was made for another nonce".to_owned())
            };
        }
    };
    if found.into_iter().any(|found| found.map(|word| word.as_canonical_u32()) != nonce) {
        return Err("a part of it was made for another nonce".to_owned());
    }
    Ok(())
}

fn shard_nonce(shard: &CoreShardProof) -> Result<[SP1Field; 4], String> {
    check_count(&shard.public_values)?;
    let values: &SP1CorePublicValues<SP1Field> = shard.public_values.as_slice().borrow();
    Ok(values.proof_nonce)
}
