//! `sp1d verify`: verifies a proof. With the hash of the verifying key, it verifies on-chain proofs without SP1's
//! prover.

mod on_chain;
mod proof_bytes;
mod run;

pub(super) use proof_bytes::ProofBytes;
pub(super) use run::run;
