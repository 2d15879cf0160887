//! The prover that `SP1_PROVER` names, its proving key and its proof requests. This folder does not know how the
//! distributed prover proves.

mod choice;
pub mod pk;
pub mod prove;
mod prover;
mod prover_impl;

#[cfg(feature = "blocking")]
pub(crate) use choice::ProverChoice;
pub use choice::{EnvProverError, UnknownProver};
pub use pk::EnvProvingKey;
pub use prover::EnvProver;
