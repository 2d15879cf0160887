//! The same without `async`: as [`sp1_sdk::blocking`], with one prover more. The distributed client's calls may be made
//! from any thread; SP1's own, not from an asynchronous one.

mod client;
mod distributed;
mod env;
mod prover;

pub use client::{LightProverBuilder, MockProverBuilder, ProverClient, ProverClientBuilder};
pub use distributed::{DistributedProveRequest, DistributedProver, DistributedProverBuilder};
pub use env::{EnvProveRequest, EnvProver, EnvProvingKey};
pub use prover::{ExecuteRequest, ProveRequest, Prover};
pub use sp1_sdk::blocking::*;

/// What most programs need.
pub mod prelude {
    pub use super::{ProveRequest, Prover, SP1ProofMode, SP1Stdin};
    pub use crate::{Elf, HashableKey, ProvingKey, SP1ProofWithPublicValues, include_elf};
}
