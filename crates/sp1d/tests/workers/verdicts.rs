//! Compares the engine's verdicts about whole proofs with those of sp1-sdk. The engine does not depend on sp1-sdk and
//! repeats some of its checks.

use sp1_sdk::{
    LightProver, Prover, SP1_CIRCUIT_VERSION, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues, SP1PublicValues,
    SP1VerifyingKey, StatusCode,
};
use sp1d_engine::{BorrowedProof, verify_proof};

/// Checks that the engine and sp1-sdk accept `proof`, a proof of a run that ended with exit code 0, and that both reject
/// other proofs with the same reason.
pub(crate) fn check_verdicts(client: &LightProver, proof: &SP1ProofWithPublicValues, key: &SP1VerifyingKey) {
    // `expected` is a part of the reason, or `None` for an accepted proof.
    let check = |proof: &SP1ProofWithPublicValues, exit: StatusCode, expected: Option<&str>| {
        let of_sp1 = client.verify(proof, key, Some(exit)).err().map(|error| error.to_string());
        let SP1ProofWithPublicValues { proof, public_values, sp1_version, .. } = proof;
        let parts = BorrowedProof { proof, public_values, sp1_version };
        let own = verify_proof(client.inner(), parts, key, exit).err().map(|error| error.to_string());
        assert_eq!(own, of_sp1);
        match (own, expected) {
            (None, None) => {}
            (Some(reason), Some(part)) => assert!(reason.contains(part), "no {part:?} in {reason}"),
            (own, expected) => panic!("{own:?} instead of {expected:?}"),
        }
    };
    let check_changed = |change: &dyn Fn(&mut SP1ProofWithPublicValues), expected: &str| {
        let mut changed = proof.clone();
        change(&mut changed);
        check(&changed, StatusCode::SUCCESS, Some(expected));
    };
    check(proof, StatusCode::SUCCESS, None);
    check(proof, StatusCode::ANY, None);
    check(proof, StatusCode::PANIC, Some("Unexpected exit code: 0"));
    check_changed(&|proof| proof.sp1_version = "v5.0.0".to_owned(), "Version mismatch: v5.0.0");
    check_changed(&|proof| proof.public_values.write(&1_u8), "");
    match proof.proof {
        SP1Proof::Core(_) => {
            check_changed(&|proof| proof.proof.try_as_core_mut().unwrap().clear(), "Empty core proof");
            let cut = |proof: &mut SP1ProofWithPublicValues| {
                proof.proof.try_as_core_mut().unwrap().remove(0);
            };
            check_changed(&cut, "Core machine verification error");
            let shorten = |proof: &mut SP1ProofWithPublicValues| {
                proof.proof.try_as_core_mut().unwrap().last_mut().unwrap().public_values.pop();
            };
            check_changed(&shorten, "Invalid public values");
        }
        SP1Proof::Compressed(_) => {
            let shorten = |proof: &mut SP1ProofWithPublicValues| {
                proof.proof.try_as_compressed_mut().unwrap().proof.public_values.pop();
            };
            check_changed(&shorten, "Invalid public values");
        }
        // Made-up proofs of these modes follow.
        SP1Proof::Plonk(_) | SP1Proof::Groth16(_) => {}
    }
    for mode in [SP1ProofMode::Core, SP1ProofMode::Compressed, SP1ProofMode::Plonk, SP1ProofMode::Groth16] {
        let made_up = |values: SP1PublicValues, exit_code: &str| {
            let mut made_up = SP1ProofWithPublicValues::create_mock_proof(key, values, mode, SP1_CIRCUIT_VERSION);
            match &mut made_up.proof {
                SP1Proof::Plonk(proof) => exit_code.clone_into(&mut proof.public_inputs[2]),
                SP1Proof::Groth16(proof) => exit_code.clone_into(&mut proof.public_inputs[2]),
                SP1Proof::Core(_) | SP1Proof::Compressed(_) => {}
            }
            made_up
        };
        let mut other_values = made_up(proof.public_values.clone(), "0");
        check(&other_values, StatusCode::SUCCESS, Some(""));
        other_values.public_values = SP1PublicValues::from(b"other values");
        check(&other_values, StatusCode::SUCCESS, Some(""));
        if matches!(mode, SP1ProofMode::Plonk | SP1ProofMode::Groth16) {
            for (exit_code, expected) in [("1", "Unexpected exit code: 1"), ("5000000000", "Invalid public values")] {
                check(&made_up(proof.public_values.clone(), exit_code), StatusCode::SUCCESS, Some(expected));
            }
        }
    }
}
