//! Chooses how a proof is verified.

use super::{
    ProofBytes, on_chain,
    verified::{VerifiedProof, print_invalid},
};
use crate::{
    args::{KeySource, VerifyArguments},
    exit::{self, CliError},
};
use anyhow::Result;

#[cfg(not(feature = "prover"))]
use not_here::verify_with_key;

#[cfg(feature = "prover")]
use crate::command::prover::verify as verify_with_key;

pub(in crate::command) fn run(arguments: &VerifyArguments) -> Result<()> {
    match verify(arguments) {
        Ok(proof) => proof.print(arguments.json),
        Err(error) => {
            let is_invalid = error.downcast_ref::<CliError>().is_some_and(|error| error.code() == exit::UNVERIFIED);
            if arguments.json && is_invalid {
                print_invalid(&exit::without_hints(&error))?;
            }
            Err(error)
        }
    }
}

fn verify(arguments: &VerifyArguments) -> Result<VerifiedProof> {
    let proof = ProofBytes::read(&arguments.proof)?;
    proof.check_version()?;
    match &arguments.key.vkey {
        Some(KeySource::Hash(hash)) => on_chain::verify(&proof, hash),
        _ => verify_with_key(&proof, &arguments.key),
    }
}

/// What a build without the prover does with a key that is not a hash.
#[cfg(not(feature = "prover"))]
mod not_here {
    use super::{ProofBytes, VerifiedProof};
    use crate::{
        args::{KeyArguments, KeySource},
        exit::CliError,
    };
    use anyhow::Result;

    pub(super) fn verify_with_key(_: &ProofBytes, key: &KeyArguments) -> Result<VerifiedProof> {
        let file = match &key.vkey {
            Some(KeySource::File(file)) => format!(" {}", file.display()),
            Some(KeySource::Hash(_)) | None => String::new(),
        };
        let text = format!(
            "cannot use the key file{file}: this build of sp1d verifies proofs only with the hash of the key\n\
             hint: pass `--vkey 0xHASH`, or install sp1d with its default features"
        );
        Err(CliError::usage(text).into())
    }
}
