//! Verifies whole proofs.
//!
//! SP1's `SP1NodeCore::verify` checks the proof itself. It checks neither the version, nor that the proof belongs to the
//! public values, nor the exit code. Only sp1-sdk has these checks. This crate does not depend on sp1-sdk (see
//! [`crate::ProofFile`]), so it repeats them. A test compares both verdicts.

use crate::proof_file::BorrowedProof;
use anyhow::anyhow;
use num_bigint::BigUint;
use slop_algebra::PrimeField32;
use sp1_core_executor::StatusCode;
use sp1_hypercube::{PROOF_MAX_NUM_PVS, SP1VerifyingKey, air::SP1CorePublicValues};
use sp1_primitives::{SP1Field, io::SP1PublicValues};
use sp1_prover::{
    SP1_CIRCUIT_VERSION,
    verify::verify_public_values,
    worker::{SP1NodeCore, SP1Proof},
};
use sp1_recursion_executor::RecursionPublicValues;
use std::borrow::Borrow;

/// Why a whole proof does not verify. The texts are those of sp1-sdk.
#[derive(Debug, thiserror::Error)]
pub enum ProofRejection {
    /// The public values are not those of the proof.
    #[error("Invalid public values")]
    PublicValues,
    /// The proof has another version.
    #[error("Version mismatch: {0}")]
    Version(String),
    /// The program ended with another exit code.
    #[error("Unexpected exit code: {0}")]
    ExitCode(u32),
    /// The core proof is invalid.
    #[error("Core machine verification error: {0}")]
    Core(anyhow::Error),
    /// The compressed proof is invalid.
    #[error("Recursion verification error: {0}")]
    Compressed(anyhow::Error),
    /// The plonk proof is invalid.
    #[error("Plonk verification error: {0}")]
    Plonk(anyhow::Error),
    /// The groth16 proof is invalid.
    #[error("Groth16 verification error: {0}")]
    Groth16(anyhow::Error),
}

/// Verifies `proof` on one of SP1's nodes, as the `verify` of sp1-sdk's clients does: the version, the exit code, the
/// public values, and then the proof. `key` is the verifying key of the program.
///
/// # Errors
/// Fails if one of these checks fails.
pub fn verify_proof(
    node: &SP1NodeCore,
    proof: BorrowedProof<'_>,
    key: &SP1VerifyingKey,
    exit: StatusCode,
) -> Result<(), ProofRejection> {
    let BorrowedProof { proof, public_values, sp1_version } = proof;
    if sp1_version != SP1_CIRCUIT_VERSION {
        return Err(ProofRejection::Version(sp1_version.to_owned()));
    }
    match proof {
        SP1Proof::Core(shards) => {
            let last = shards.last().ok_or_else(|| ProofRejection::Core(anyhow!("Empty core proof")))?;
            let values: &SP1CorePublicValues<SP1Field> = checked_length(&last.public_values)?.borrow();
            check_exit(exit, values.exit_code.as_canonical_u32())?;
            check_digest(&values.committed_value_digest, public_values)?;
        }
        SP1Proof::Compressed(whole) => {
            let values: &RecursionPublicValues<SP1Field> = checked_length(&whole.proof.public_values)?.borrow();
            check_exit(exit, values.exit_code.as_canonical_u32())?;
            check_digest(&values.committed_value_digest, public_values)?;
        }
        SP1Proof::Plonk(proof) => check_inputs(&proof.public_inputs, public_values, exit, ProofRejection::Plonk)?,
        SP1Proof::Groth16(proof) => check_inputs(&proof.public_inputs, public_values, exit, ProofRejection::Groth16)?,
    }
    node.verify(key, proof).map_err(|error| match proof {
        SP1Proof::Core(_) => ProofRejection::Core(error),
        SP1Proof::Compressed(_) => ProofRejection::Compressed(error),
        SP1Proof::Plonk(_) => ProofRejection::Plonk(error),
        SP1Proof::Groth16(_) => ProofRejection::Groth16(error),
    })
}

/// SP1 indexes public values without checking their number.
fn checked_length(values: &[SP1Field]) -> Result<&[SP1Field], ProofRejection> {
    if values.len() == PROOF_MAX_NUM_PVS { Ok(values) } else { Err(ProofRejection::PublicValues) }
}

fn check_exit(expected: StatusCode, found: u32) -> Result<(), ProofRejection> {
    if expected.is_accepted_code(found) { Ok(()) } else { Err(ProofRejection::ExitCode(found)) }
}

/// Checks that `digest` is the SHA-256 or the BLAKE3 digest of `values`: a program may use either. Both functions are
/// collision resistant, so no other values have the same digest.
fn check_digest(digest: &[[SP1Field; 4]], values: &SP1PublicValues) -> Result<(), ProofRejection> {
    // The same conversion as in sp1-sdk.
    let digest: Vec<u8> = digest.as_flattened().iter().map(|byte| byte.as_canonical_u32() as u8).collect();
    if digest == values.hash() || digest == values.blake3_hash() { Ok(()) } else { Err(ProofRejection::PublicValues) }
}

/// Checks the public inputs of an on-chain proof: hash of the verifying key, digest of the public values, exit code,
/// root of the recursion keys, nonce.
fn check_inputs(
    inputs: &[String; 5],
    public_values: &SP1PublicValues,
    exit: StatusCode,
    invalid: fn(anyhow::Error) -> ProofRejection,
) -> Result<(), ProofRejection> {
    let [_, digest, exit_code, ..] = inputs;
    let number = |text: &str| text.parse::<BigUint>().map_err(|error| invalid(anyhow!(error)));
    let found = u32::try_from(&number(exit_code)?).map_err(|_| ProofRejection::PublicValues)?;
    check_exit(exit, found)?;
    verify_public_values(public_values, number(digest)?).map_err(invalid)
}
