//! Verifies on-chain proofs (plonk and groth16) with the hash of the verifying key. Needs no prover.

use super::{proof_bytes::ProofBytes, rejection::rejection, verified::VerifiedProof};
use crate::{
    exit::CliError,
    files::{check_end, decode_start},
};
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
    /// Hash of the program's verifying key, digest of the public values, exit code, root of the recursion keys, and
    /// nonce, as decimal numbers. The verifiers do not read them.
    public_inputs: [String; 5],
    /// Exit code, root of the recursion keys, nonce and proof, in hexadecimal.
    encoded: String,
    _raw: String,
    /// Hash of the circuit's own verifying key.
    circuit_key: [u8; 32],
    public_values: Vec<u8>,
    version: String,
}

/// Verifies that `proof` is a proof of the program whose verifying key has this hash, of a run with exit code 0.
///
/// # Errors
/// Fails if the proof is not an on-chain proof, or does not verify.
pub(super) fn verify(proof: &ProofBytes, hash: &str) -> Result<VerifiedProof> {
    let (mode, rest) = proof.mode()?;
    if matches!(mode, ProofMode::Core | ProofMode::Compressed) {
        let text = format!(
            "a {mode} proof can be verified only with the verifying key itself, its hash is not enough\n\
             hint: {NEEDS_KEY_HINT}"
        );
        return Err(CliError::usage(text).into());
    }
    let (decoded, rest): (OnChainProof, _) = decode_start(rest).map_err(|error| proof.undecodable(&error))?;
    check_rest(rest).map_err(|reason| proof.invalid(reason))?;
    if let Err(reason) = verify_decoded(mode, &decoded, hash) {
        // Not a hint about another program: a proof of a mock prover has no valid inputs.
        let named = key_hash(&decoded.public_inputs[0]).unwrap_or_else(|| hash.to_owned());
        return Err(rejection(&reason, Some(&named), hash).into());
    }
    let OnChainProof { version, public_values, .. } = decoded;
    Ok(VerifiedProof { mode, program_key: hash.to_owned(), sp1_version: version, public_values })
}

/// Checks the bytes after an [`OnChainProof`]: a proof of trusted hardware or its absence. Proofs of SP1's prover
/// network have neither.
fn check_rest(rest: &[u8]) -> Result<(), String> {
    check_end(decode_start::<Option<Vec<u8>>>(rest).map_or(rest, |(_, rest)| rest))
}

/// Returns a hash of a key, which is the decimal number `digits` in an on-chain proof, in the form in which
/// `sp1d vkey` prints it. `None` if that is not such a number.
fn key_hash(digits: &str) -> Option<String> {
    let mut bytes = [0_u8; 32];
    // A number of 256 bits has at most 78 digits.
    if digits.is_empty() || digits.len() > 78 {
        return None;
    }
    for digit in digits.chars() {
        let mut carry = digit.to_digit(10)?;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(format!("0x{}", hex::encode(bytes)))
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
        check_bytes(&bincode::serialize(&saved).unwrap(), parts);
    }

    #[track_caller]
    fn check_bytes(bytes: &[u8], parts: &[&str]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
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
    fn bytes_after_a_proof_are_refused_and_counted() {
        let proof = SP1Proof::Groth16(Groth16Bn254Proof::default());
        let saved = SP1ProofWithPublicValues::new(proof, SP1PublicValues::new(), "v6.1.0".to_owned());
        let whole = bincode::serialize(&saved).unwrap();
        let check_longer = |bytes: &[u8], more: &[u8], part| check_bytes(&[bytes, more].concat(), &[part]);
        check_longer(&whole, b"x", "is not an SP1 proof: 1 byte too many at its end");
        check_longer(&whole, &[0; 500], "500 bytes too many at its end");
        // A proof of SP1's prover network has no last field.
        let of_network = &whole[..whole.len() - 1];
        check_longer(of_network, b"", "made by a mock prover");
        check_longer(of_network, b"xyz", "3 bytes too many at its end");
    }

    #[test]
    fn a_shortened_proof_is_named_as_such() {
        let proof = SP1Proof::Groth16(Groth16Bn254Proof::default());
        let saved = SP1ProofWithPublicValues::new(proof, SP1PublicValues::new(), "v6.1.0".to_owned());
        let whole = bincode::serialize(&saved).unwrap();
        for length in [0, 3, 4, 50, whole.len() - 2] {
            let end = if length == 0 { "it is empty".to_owned() } else { format!("too early, after {length} bytes") };
            check_bytes(
                &whole[..length],
                &["is not a complete SP1 proof", &end, "\nhint: copy or fetch the file again"],
            );
        }
    }

    #[test]
    fn a_proof_of_another_program_is_named_as_such() {
        let named = |digits: &str| {
            let mut proof = Groth16Bn254Proof { encoded_proof: "00".repeat(352), ..Default::default() };
            digits.clone_into(&mut proof.public_inputs[0]);
            SP1Proof::Groth16(proof)
        };
        check(named("258"), &["of another program", &format!("0x{}0102", "00".repeat(30)), HASH, "\nhint: "]);
        check(named("not a number"), &["the proof does not verify"]);
    }

    #[test]
    fn decimal_numbers_become_hashes() {
        let check = |digits: &str, expected: Option<&str>| {
            assert_eq!(key_hash(digits), expected.map(|end| format!("0x{end:0>64}")), "{digits}");
        };
        check("0", Some("0"));
        check("255", Some("ff"));
        check("65536", Some("10000"));
        let largest = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        check(largest, Some(&"f".repeat(64)));
        check(&largest.replace("35", "36"), None);
        check(&"9".repeat(79), None);
        check("", None);
        check("-1", None);
        check("0x10", None);
    }

    #[test]
    fn a_core_proof_needs_the_key_itself() {
        check(SP1Proof::Core(Vec::new()), &["a core proof", "its hash is not enough", "sp1d vkey --output"]);
    }
}
