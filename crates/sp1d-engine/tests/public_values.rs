//! Checks of proofs whose public values do not have the form of SP1's proofs. A worker may return such proofs.

use slop_algebra::AbstractField;
use sp1_hypercube::{MachineVerifyingKey, PROOF_MAX_NUM_PVS, SP1VerifyingKey, create_dummy_recursion_proof};
use sp1_primitives::{SP1Field, SP1OuterGlobalContext};
use sp1_prover::verify::WRAP_VK_BYTES;
use sp1d_engine::{
    SP1Proof,
    fuzzing::{CheckedTask, check_proof_nonce, check_wrapped},
};
use sp1d_model::TaskKind;

/// The numbers of public values that a worker may return in place of the right number.
const WRONG_COUNTS: [usize; 4] = [0, 1, PROOF_MAX_NUM_PVS - 1, PROOF_MAX_NUM_PVS + 1];

fn key() -> SP1VerifyingKey {
    bincode::deserialize(&[0; 4096]).expect("zeros are a key")
}

/// Returns a core proof and a compressed proof. Their parts have `count` public values, all zero.
fn proofs(count: usize) -> [SP1Proof; 2] {
    let mut compressed = create_dummy_recursion_proof(&key());
    compressed.proof.public_values = vec![SP1Field::zero(); count];
    let core = SP1Proof::Core(vec![compressed.proof.clone(); 2]);
    [core, SP1Proof::Compressed(Box::new(compressed))]
}

/// Checks what the check of the nonce finds in proofs whose parts have `count` public values.
#[track_caller]
fn check_nonce(count: usize, nonce: [u32; 4], expected: Result<(), &str>) {
    for proof in proofs(count) {
        assert_eq!(check_proof_nonce(&proof, nonce), expected.map_err(str::to_owned), "{count} public values");
    }
}

#[test]
fn a_nonce_is_compared_only_in_public_values_of_the_right_number() {
    check_nonce(PROOF_MAX_NUM_PVS, [0; 4], Ok(()));
    check_nonce(PROOF_MAX_NUM_PVS, [0, 0, 0, 1], Err("a part of it was made for another nonce"));
    for count in WRONG_COUNTS {
        let expected = format!("it has {count} public values instead of {PROOF_MAX_NUM_PVS}");
        check_nonce(count, [0; 4], Err(&expected));
    }
}

/// Checks that the results of all tasks whose inputs are right are refused if they have `count` public values. An audit
/// blames the worker that has made such a result.
#[track_caller]
fn check_result(count: usize) {
    let expected = format!("it has {count} public values instead of {PROOF_MAX_NUM_PVS}");
    let serialized = |count| {
        let [_, proof] = proofs(count);
        let SP1Proof::Compressed(proof) = proof else { panic!("the second proof is compressed") };
        [bincode::serialize(&proof.proof).unwrap(), bincode::serialize(&proof).unwrap()]
    };
    let ([shard, recursion], [_, right_input]) = (serialized(count), serialized(PROOF_MAX_NUM_PVS));
    for (kind, output) in [
        (TaskKind::ProveShard, &shard),
        (TaskKind::NormalizeShard, &recursion),
        (TaskKind::RecursionReduce, &recursion),
    ] {
        let task = CheckedTask::new(kind, &key(), [0; 4], 0x7800_0000, (1, 9));
        assert_eq!(task.check(output, &right_input), Err(expected.clone()), "{kind}");
    }
}

#[test]
fn results_with_a_wrong_number_of_public_values_are_refused() {
    WRONG_COUNTS.into_iter().for_each(check_result);
}

#[test]
fn a_wrapped_proof_with_too_short_numbers_is_refused() {
    // Each list claims to be empty, also the bytes of a number.
    let refused = check_wrapped(&key(), &[0; 4096]);
    assert!(refused.is_err(), "{refused:?}");
    assert!(check_wrapped(&key(), b"").is_err());
}

/// Returns a wrapped proof that does not verify: SP1's dummy of a recursion proof, with the key and the kind of digest
/// of a wrapped proof.
fn wrapped(public_values: &[SP1Field]) -> Vec<u8> {
    let wrap_key: MachineVerifyingKey<SP1OuterGlobalContext> = bincode::deserialize(WRAP_VK_BYTES).unwrap();
    let mut proof = create_dummy_recursion_proof(&key()).proof;
    proof.public_values = public_values.to_vec();
    let values = bincode::serialize(&proof.public_values).unwrap();
    let other_digest = bincode::serialize(&proof.main_commitment).unwrap();
    let digest = bincode::serialize(&wrap_key.preprocessed_commit).unwrap();
    let rest = &bincode::serialize(&proof).unwrap()[values.len() + other_digest.len()..];
    [WRAP_VK_BYTES, &values, &digest, rest].concat()
}

/// Checks why a wrapped proof with these public values is refused.
#[track_caller]
fn check_refused(public_values: &[SP1Field], expected: &str) {
    let error = check_wrapped(&key(), &wrapped(public_values)).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_wrapped_proof_must_have_the_values_of_its_run_and_verify() {
    check_refused(&[SP1Field::zero(); PROOF_MAX_NUM_PVS], "verifier refuses it");
    check_refused(&[SP1Field::one(); PROOF_MAX_NUM_PVS], "another run");
    check_refused(&[], "number of public values");
}
