//! The content of a proof file.

use crate::file_decoding::{FileDecodeError, decode_file};
use serde::{Deserialize, Serialize};
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::worker::{ProofFromNetwork, SP1Proof};

/// A proof with its public values, serialized like the `SP1ProofWithPublicValues` of sp1-sdk. This crate does not
/// depend on sp1-sdk, because that crate compiles SP1's whole prover once more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProofFile {
    /// The proof.
    pub proof: SP1Proof,
    /// The public values that the program committed.
    pub public_values: SP1PublicValues,
    /// The version of SP1's circuits.
    pub sp1_version: String,
    /// A proof of trusted hardware, which SP1's prover network adds. Our proofs have none.
    pub tee_proof: Option<Vec<u8>>,
}

/// The parts of a proof that a verification needs.
#[derive(Debug, Clone, Copy)]
pub struct BorrowedProof<'a> {
    /// The proof.
    pub proof: &'a SP1Proof,
    /// The public values that the program committed.
    pub public_values: &'a SP1PublicValues,
    /// The version of SP1's circuits.
    pub sp1_version: &'a str,
}

impl ProofFile {
    /// Returns the parts that a verification needs. They are not copied: a core proof can have gigabytes.
    #[must_use]
    pub fn borrowed(&self) -> BorrowedProof<'_> {
        BorrowedProof { proof: &self.proof, public_values: &self.public_values, sp1_version: &self.sp1_version }
    }

    /// Decodes a proof that this project or SP1's own tools have serialized. Proofs from SP1's prover network lack the
    /// last field.
    ///
    /// # Errors
    /// Fails if `bytes` are not a proof, or if bytes follow the proof.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileDecodeError> {
        let error = match decode_file(bytes) {
            Err(error @ (FileDecodeError::Invalid(_) | FileDecodeError::Truncated)) => error,
            decided => return decided,
        };
        match decode_file::<ProofFromNetwork>(bytes) {
            Ok(proof) => Ok(proof.into()),
            Err(rest @ FileDecodeError::Rest(_)) => Err(rest),
            Err(FileDecodeError::Invalid(_) | FileDecodeError::Truncated) => Err(error),
        }
    }
}

impl From<ProofFromNetwork> for ProofFile {
    fn from(proof: ProofFromNetwork) -> Self {
        let ProofFromNetwork { proof, public_values, sp1_version } = proof;
        Self { proof, public_values, sp1_version, tee_proof: None }
    }
}
