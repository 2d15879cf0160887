//! Conversions between the proofs of sp1-sdk and those of the engine, which does not depend on sp1-sdk.

use sp1_sdk::{SP1ProofWithPublicValues, SP1VerificationError};
use sp1d_engine::{BorrowedProof, ProofFile, ProofRejection};

pub(super) fn to_sdk(file: ProofFile) -> SP1ProofWithPublicValues {
    let ProofFile { proof, public_values, sp1_version, tee_proof } = file;
    SP1ProofWithPublicValues { proof, public_values, sp1_version, tee_proof }
}

pub(super) fn borrowed(proof: &SP1ProofWithPublicValues) -> BorrowedProof<'_> {
    BorrowedProof { proof: &proof.proof, public_values: &proof.public_values, sp1_version: &proof.sp1_version }
}

/// Returns the error that sp1-sdk has for `rejection`.
pub(super) fn to_sdk_error(rejection: ProofRejection) -> SP1VerificationError {
    match rejection {
        ProofRejection::PublicValues => SP1VerificationError::InvalidPublicValues,
        ProofRejection::Version(version) => SP1VerificationError::VersionMismatch(version),
        ProofRejection::ExitCode(code) => SP1VerificationError::UnexpectedExitCode(code),
        ProofRejection::Core(error) => SP1VerificationError::Core(error),
        ProofRejection::Compressed(error) => SP1VerificationError::Recursion(error),
        ProofRejection::Plonk(error) => SP1VerificationError::Plonk(error),
        ProofRejection::Groth16(error) => SP1VerificationError::Groth16(error),
    }
}
