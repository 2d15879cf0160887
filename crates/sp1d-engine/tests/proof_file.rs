//! Decodes proof files.

use sp1_primitives::io::SP1PublicValues;
use sp1d_engine::{FileDecodeError, ProofFile, SP1Proof};

/// Returns the bytes of a proof without shards. Those of SP1's prover network lack the last byte.
fn proof() -> Vec<u8> {
    let file = ProofFile {
        proof: SP1Proof::Core(Vec::new()),
        public_values: SP1PublicValues::from(b"values"),
        sp1_version: "v6.1.0".to_owned(),
        tee_proof: None,
    };
    bincode::serialize(&file).unwrap()
}

#[track_caller]
fn check(bytes: &[u8], expected: Result<(), Option<usize>>) {
    let outcome = match ProofFile::decode(bytes) {
        Ok(proof) => {
            assert_eq!(proof.public_values.as_slice(), b"values");
            Ok(())
        }
        Err(FileDecodeError::Rest(bytes)) => Err(Some(bytes)),
        Err(_) => Err(None),
    };
    assert_eq!(outcome, expected);
}

#[test]
fn bytes_after_a_proof_are_refused_and_counted() {
    let whole = proof();
    check(&whole, Ok(()));
    check(&[whole.as_slice(), b"x"].concat(), Err(Some(1)));
    check(&[whole.as_slice(), &[0; 5000]].concat(), Err(Some(5000)));
    let text = ProofFile::decode(&[whole.as_slice(), b"x"].concat()).unwrap_err().to_string();
    assert_eq!(text, "1 byte too many at its end");
}

#[test]
fn bytes_after_a_proof_of_the_prover_network_are_refused_and_counted() {
    let whole = proof();
    let of_network = &whole[..whole.len() - 1];
    check(of_network, Ok(()));
    // The first byte is not the start of a further field.
    check(&[of_network, b"xyz"].concat(), Err(Some(3)));
}

#[test]
fn a_shortened_proof_is_not_decoded() {
    let whole = proof();
    for length in 0..whole.len() - 1 {
        let outcome = ProofFile::decode(&whole[..length]);
        assert!(matches!(outcome, Err(FileDecodeError::Truncated)), "{length}: {outcome:?}");
    }
}
