//! `sp1d verify`: verifies a proof. With the hash of the verifying key, it verifies on-chain proofs without SP1's
//! prover.

mod on_chain;
mod proof_bytes;
mod rejection;
mod run;
mod verified;

pub(super) use proof_bytes::ProofBytes;
#[cfg(feature = "prover")]
pub(super) use rejection::rejection;
pub(super) use run::run;
#[cfg(feature = "prover")]
pub(super) use verified::VerifiedProof;
