//! Verifies any proof with the verifying key itself. SP1's own verifier checks it.

use super::{
    computing::start_computing,
    program::{runner, verifying_key},
};
use crate::{
    args::KeyArguments,
    command::{
        runtime::block_on,
        verify::{ProofBytes, VerifiedProof, rejection},
    },
    files::ValueDecodeError,
};
use anyhow::Result;
use sp1d_engine::{FileDecodeError, HashableKey, ProofFile, named_key};
use sp1d_orchestrator::ProofFailure;

/// Verifies `proof` with the key that the user named.
///
/// # Errors
/// Fails if the key cannot be read or computed, or if the proof does not verify.
pub(in crate::command) fn verify(proof: &ProofBytes, key: &KeyArguments) -> Result<VerifiedProof> {
    start_computing()?;
    block_on(verify_with(proof, key))
}

async fn verify_with(proof: &ProofBytes, key: &KeyArguments) -> Result<VerifiedProof> {
    let (mode, _) = proof.mode()?;
    let decoded = ProofFile::decode(proof.bytes()).map_err(|error| match error {
        FileDecodeError::Truncated => proof.undecodable(&ValueDecodeError::Truncated),
        error => proof.invalid(error),
    })?;
    let runner = runner().await;
    let key = verifying_key(key, &runner).await?;
    let verified = VerifiedProof {
        mode,
        program_key: key.bytes32(),
        sp1_version: decoded.sp1_version.clone(),
        public_values: decoded.public_values.to_vec(),
    };
    let named = named_key(&decoded.proof);
    match runner.verify_for_key(decoded, key).await {
        Ok(()) => Ok(verified),
        Err(ProofFailure::Request(reason)) => Err(rejection(&reason, named.as_deref(), &verified.program_key).into()),
        Err(other) => Err(other.into()),
    }
}
