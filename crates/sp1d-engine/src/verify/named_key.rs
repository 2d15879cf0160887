//! Reads which program a proof claims to be a proof of.

use num_bigint::BigUint;
use slop_algebra::PrimeField;
use sp1_hypercube::{PROOF_MAX_NUM_PVS, koalabears_to_bn254};
use sp1_primitives::SP1Field;
use sp1_prover::worker::SP1Proof;
use sp1_recursion_executor::RecursionPublicValues;
use std::borrow::Borrow;

/// Longest public input in decimal digits: such a number has 254 bits.
const MAX_INPUT_DIGITS: usize = 77;

/// Returns the hash of the verifying key that `proof` names, in the form of `bytes32` of a key. The proof is not
/// verified, so the hash only explains why a proof does not verify. `None` if the proof is malformed. A core proof does
/// not name its key.
#[must_use]
pub fn named_key(proof: &SP1Proof) -> Option<String> {
    let hash = match proof {
        SP1Proof::Core(_) => return None,
        SP1Proof::Compressed(whole) => {
            let values = &whole.proof.public_values;
            if values.len() != PROOF_MAX_NUM_PVS {
                return None;
            }
            let values: &RecursionPublicValues<SP1Field> = values.as_slice().borrow();
            koalabears_to_bn254(&values.sp1_vk_digest).as_canonical_biguint()
        }
        SP1Proof::Plonk(proof) => public_input(&proof.public_inputs)?,
        SP1Proof::Groth16(proof) => public_input(&proof.public_inputs)?,
    };
    Some(format!("0x{:0>64}", hash.to_str_radix(16)))
}

/// Returns the first public input of an on-chain proof, which is the hash of the verifying key.
fn public_input(inputs: &[String; 5]) -> Option<BigUint> {
    let [hash, ..] = inputs;
    if hash.len() > MAX_INPUT_DIGITS { None } else { hash.parse().ok() }
}
