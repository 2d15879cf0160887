//! The blocking interface, without `async`. Same as [`sp1_sdk::blocking`], with the distributed prover as an additional
//! choice. The distributed client can be called from any thread. SP1's own clients must not be called from an
//! asynchronous thread.

mod client;
mod distributed;
mod env;
mod prover;

pub use client::{LightProverBuilder, MockProverBuilder, ProverClient, ProverClientBuilder};
pub use distributed::{DistributedProveRequest, DistributedProver, DistributedProverBuilder, RequestedProof};
pub use env::{EnvProveRequest, EnvProver, EnvProvingKey};
pub use prover::{ExecuteRequest, ProveRequest, Prover};
pub use sp1_sdk::blocking::*;

/// The items that most programs need.
pub mod prelude {
    pub use super::{ProveRequest, Prover, SP1ProofMode, SP1Stdin};
    pub use crate::{Elf, HashableKey, ProvingKey, SP1ProofWithPublicValues, include_elf};
}
