//! Verifies on-chain proofs (plonk and groth16) with the hash of the verifying key. Needs no prover.

use super::proof_bytes::ProofBytes;
use crate::exit::{self, CliError};
use anyhow::Result;
use serde::Deserialize;
use sp1_verifier::{GROTH16_VK_BYTES, Groth16Verifier, PLONK_VK_BYTES, PlonkVerifier};
use sp1d_model::ProofMode;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a hash is not enough, and what is.
#[cfg(feature = "prover")]
const NEEDS_KEY_HINT: &str = "pass the file that `sp1d vkey --output` writes, or the program with `--elf`";
#[cfg(not(feature = "prover"))]
const NEEDS_KEY_HINT: &str =
    "install sp1d with its default features, and pass the file that `sp1d vkey --output` writes";

/// The fields of an on-chain proof after its kind, as bincode writes them.
#[derive(Deserialize)]
struct OnChainProof {
    _public_inputs: [String; 5],
    /// Exit code, root of the recursion keys, nonce and proof, in hexadecimal.
    encoded: String,
    _raw: String,
    /// Hash of the circuit's own verifying key.
    circuit_key: [u8; 32],
    public_values: Vec<u8>,
    _version: String,
}

/// Verifies that `proof` is a proof of the program whose verifying key has this hash, of a run with exit code 0.
///
/// # Errors
/// Fails if the proof is not an on-chain proof, or does not verify.
pub(super) fn verify(proof: &ProofBytes, hash: &str) -> Result<()> {
    let (mode, rest) = proof.mode()?;
    if matches!(mode, ProofMode::Core | ProofMode::Compressed) {
        let text = format!(
            "a {mode} proof can be verified only with the verifying key itself, its hash is not enough\n\
             hint: {NEEDS_KEY_HINT}"
        );
        return Err(CliError::usage(text).into());
    }
    let decoded: OnChainProof = bincode::deserialize(rest).map_err(|error| proof.invalid(error))?;
    verify_decoded(mode, &decoded, hash)
        .map_err(|reason| CliError::new(exit::UNVERIFIED, format!("the proof does not verify: {reason}")).into())
}

fn verify_decoded(mode: ProofMode, proof: &OnChainProof, hash: &str) -> Result<(), String> {
    if proof.encoded.is_empty() {
        return Err("it was made by a mock prover".to_owned());
    }
    let encoded = hex::decode(&proof.encoded).map_err(|error| format!("it is not valid hexadecimal: {error}"))?;
    // SP1's verifiers expect the first four bytes of the hash before the proof.
    let bytes = [&proof.circuit_key[..4], encoded.as_slice()].concat();
    let verify = || match mode {
        ProofMode::Plonk => PlonkVerifier::verify(&bytes, &proof.public_values, hash, &PLONK_VK_BYTES)
            .map_err(|error| error.to_string()),
        _ => Groth16Verifier::verify(&bytes, &proof.public_values, hash, &GROTH16_VK_BYTES)
            .map_err(|error| error.to_string()),
    };
    // SP1's verifiers panic on some invalid points.
    catch_unwind(AssertUnwindSafe(verify)).unwrap_or_else(|_| Err("SP1's verifier panicked on it".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1_sdk::{SP1Proof, SP1ProofWithPublicValues, SP1PublicValues};
    use sp1_verifier::{Groth16Bn254Proof, PlonkBn254Proof};

    const HASH: &str = "0x00aa11bb22cc33dd44ee55ff66007711882299333344445555666677778888ab";

    /// Checks the reason why a proof, in the form in which SP1 saves it, does not verify.
    #[track_caller]
    fn check(proof: SP1Proof, parts: &[&str]) {
        let saved = SP1ProofWithPublicValues::new(proof, SP1PublicValues::from(&[1, 2, 3]), "v6.1.0".to_owned());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bincode::serialize(&saved).unwrap()).unwrap();
        let text = verify(&ProofBytes::read(file.path()).unwrap(), HASH).unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    #[test]
    fn made_up_proofs_do_not_verify() {
        let encoded = |length: usize| "00".repeat(length);
        let plonk = PlonkBn254Proof { encoded_proof: encoded(900), ..Default::default() };
        check(SP1Proof::Plonk(plonk), &["the proof does not verify"]);
        let mut groth16 = Groth16Bn254Proof { encoded_proof: encoded(352), ..Default::default() };
        check(SP1Proof::Groth16(groth16.clone()), &["the proof does not verify"]);
        groth16.encoded_proof = "x".into();
        check(SP1Proof::Groth16(groth16), &["not valid hexadecimal"]);
        check(SP1Proof::Groth16(Groth16Bn254Proof::default()), &["made by a mock prover"]);
    }

    #[test]
    fn a_core_proof_needs_the_key_itself() {
        check(SP1Proof::Core(Vec::new()), &["a core proof", "its hash is not enough", "sp1d vkey --output"]);
    }
}
