//! Chooses the components of SP1's prover engine: SP1's own CPU provers, with wrappers that cache or delay their
//! proving keys.

use super::{core_prover::KeyCachingCoreProver, recursion_prover::LateKeyRecursionProver};
use sp1_prover::{CpuSP1ProverComponents, CpuWrapProverBuilder, SP1ProverComponents, WrapProverBuilder};
use std::sync::Arc;

/// SP1's CPU components, with the core and recursion provers wrapped by [`KeyCachingCoreProver`] and
/// [`LateKeyRecursionProver`].
pub(super) struct Components;

impl SP1ProverComponents for Components {
    type CoreProver = KeyCachingCoreProver;
    type RecursionProver = LateKeyRecursionProver;
    type WrapProver = <CpuSP1ProverComponents as SP1ProverComponents>::WrapProver;
    type WrapProverBuilder = WrapBuilder;
}

pub(super) struct WrapBuilder;

impl WrapProverBuilder<Components> for WrapBuilder {
    fn build(&self) -> Arc<<Components as SP1ProverComponents>::WrapProver> {
        CpuWrapProverBuilder.build()
    }
}
