//! Chooses the components of SP1's prover engine: SP1's own CPU provers, with wrappers that cache or delay their
//! proving keys.

use super::{core_prover::CoreProver, recursion_prover::RecursionProver};
use sp1_hypercube::prover::CpuShardProver;
use sp1_prover::{CpuSP1ProverComponents, CpuWrapProverBuilder, SP1ProverComponents, WrapProverBuilder};
use std::sync::Arc;

/// SP1's CPU components, with the core and recursion provers wrapped by [`CoreProver`] and [`RecursionProver`].
pub(crate) struct Components;

impl SP1ProverComponents for Components {
    type CoreProver = CoreProver;
    type RecursionProver = RecursionProver;
    type WrapProver = <CpuSP1ProverComponents as SP1ProverComponents>::WrapProver;
    type WrapProverBuilder = WrapBuilder;
}

pub(crate) struct WrapBuilder;

impl WrapProverBuilder<Components> for WrapBuilder {
    fn build(&self) -> Arc<<Components as SP1ProverComponents>::WrapProver> {
        CpuWrapProverBuilder.build()
    }
}

/// SP1's core prover without the wrapper.
pub(crate) type Sp1CoreProver = <CpuSP1ProverComponents as SP1ProverComponents>::CoreProver;

/// SP1's recursion prover without the wrapper.
pub(crate) type Sp1RecursionProver = <CpuSP1ProverComponents as SP1ProverComponents>::RecursionProver;

pub(crate) fn compress_prover() -> RecursionProver {
    RecursionProver::new(CpuShardProver::new(Components::compress_verifier().shard_verifier().clone()))
}

pub(crate) fn shrink_prover() -> RecursionProver {
    RecursionProver::new(CpuShardProver::new(Components::shrink_verifier().shard_verifier().clone()))
}
