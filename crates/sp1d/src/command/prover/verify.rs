//! Verifies any proof with the verifying key itself. SP1's own verifier checks it.

use super::{
    computing::start_computing,
    program::{runner, verifying_key},
};
use crate::{
    args::KeyArguments,
    command::{runtime::block_on, verify::ProofBytes},
    exit::{self, CliError},
};
use anyhow::Result;
use sp1d_engine::ProofFile;
use sp1d_orchestrator::ProofFailure;

/// Verifies `proof` with the key that the user named.
///
/// # Errors
/// Fails if the key cannot be read or computed, or if the proof does not verify.
pub(in crate::command) fn verify(proof: &ProofBytes, key: &KeyArguments) -> Result<()> {
    start_computing()?;
    block_on(verify_with(proof, key))
}

async fn verify_with(proof: &ProofBytes, key: &KeyArguments) -> Result<()> {
    let decoded = ProofFile::decode(proof.bytes()).map_err(|error| proof.invalid(error))?;
    let runner = runner().await;
    let key = verifying_key(key, &runner).await?;
    match runner.verify_by_key(decoded, key).await {
        Ok(()) => Ok(()),
        Err(ProofFailure::Request(reason)) => {
            Err(CliError::new(exit::UNVERIFIED, format!("the proof does not verify: {reason}")).into())
        }
        Err(other) => Err(other.into()),
    }
}
