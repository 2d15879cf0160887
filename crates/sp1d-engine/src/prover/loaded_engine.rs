//! SP1's prover engine, as it is once loaded, and how it is built on the processor.

use super::{
    attempt_client::AttemptClient,
    components::{Components, WrapBuilder},
    core_prover::KeyCachingCoreProver,
    recursion_prover::LateKeyRecursionProver,
};
use crate::{device::ProverDevice, heap, sp1_types::riscv_machine};
use anyhow::Result;
use sp1_hypercube::prover::{CpuShardProver, ProverSemaphore};
use sp1_prover::{
    SP1ProverComponents,
    worker::{SP1CoreProverConfig, SP1ProverEngine, SP1Worker, SP1WorkerBuilder},
};
use std::sync::Arc;

/// Settings of the prover engine.
#[derive(Debug, Clone, Copy)]
pub struct ProverSettings {
    /// Attempts in the engine at the same time, at least 1. With 2, the next attempt is traced while the first one
    /// proves.
    pub places: usize,
    /// Proving stages that run at the same time, at least 1.
    pub permits: usize,
    /// Added to the nice value of the engine's own threads, so that other threads of the process come first.
    pub niceness: i32,
    /// Returns freed memory to the operating system. Without this call, the allocator keeps the memory for the next
    /// task, which costs nothing unless another process needs it.
    pub release_memory: fn(),
    /// What the prover computes on.
    pub device: ProverDevice,
}

impl ProverSettings {
    /// Returns settings that suit `threads` proving threads. With one thread, a second shard in the engine only takes
    /// memory. With more threads, it fills the gaps that the first shard leaves.
    #[must_use]
    pub fn for_threads(threads: usize) -> Self {
        let both = if threads > 1 { 2 } else { 1 };
        let device = ProverDevice::Processor;
        Self { places: both, permits: both, niceness: 0, release_memory: heap::release_memory, device }
    }

    /// Returns settings for a GPU. One stage at a time uses the whole GPU. Meanwhile the processor traces the next
    /// shard.
    #[must_use]
    pub fn for_gpu() -> Self {
        Self { places: 2, permits: 1, niceness: 0, release_memory: heap::release_memory, device: ProverDevice::Gpu }
    }
}

/// SP1's prover engine and the parts of it that the core provers of all places share.
pub(super) struct LoadedEngine<C: SP1ProverComponents> {
    pub(super) sp1: SP1Worker<AttemptClient, AttemptClient, C>,
    pub(super) air_prover: Arc<C::CoreProver>,
    pub(super) permits: ProverSemaphore,
    pub(super) core_config: SP1CoreProverConfig,
    pub(super) device: ProverDevice,
    /// The largest cut whose shards it proves; `u64::MAX` if only the memory bounds it.
    pub(super) largest_cut: u64,
    /// Frees the proving keys that the provers keep for the next task.
    pub(super) forget_keys: Box<dyn Fn() + Send + Sync>,
}

impl<C: SP1ProverComponents> LoadedEngine<C> {
    pub(super) fn engine(&self) -> &SP1ProverEngine<AttemptClient, AttemptClient, C> {
        self.sp1.prover_engine()
    }
}

/// The configuration of the core provers on every device.
pub(super) fn core_config() -> SP1CoreProverConfig {
    SP1CoreProverConfig {
        // One attempt per core prover: its client knows only the attempt in its place.
        num_core_workers: 1,
        core_buffer_size: 1,
        // A worker never sets up a program. The orchestrator does that.
        num_setup_workers: 1,
        setup_buffer_size: 1,
        normalize_program_cache_size: 5,
        // A fixed key would be the key of the first program, used for all programs.
        use_fixed_pk: false,
        verify_intermediates: true,
    }
}

/// Builds the engine with SP1's CPU provers.
pub(super) async fn build_engine(settings: ProverSettings, client: AttemptClient) -> Result<LoadedEngine<Components>> {
    let machine = riscv_machine();
    let permits = ProverSemaphore::new(settings.permits.max(1));
    let verifier = Components::core_verifier(machine.clone());
    let air_prover = Arc::new(KeyCachingCoreProver::new(CpuShardProver::new(verifier.shard_verifier().clone())));
    let (compress_prover, shrink_prover) =
        (Arc::new(LateKeyRecursionProver::for_compress()), Arc::new(LateKeyRecursionProver::for_shrink()));
    let core_config = core_config();
    let builder = SP1WorkerBuilder::<Components>::new_with_machine(machine)
        .with_artifact_client(client.clone())
        .with_worker_client(client)
        .with_core_air_prover(air_prover.clone(), permits.clone())
        .with_compress_air_prover(compress_prover.clone(), permits.clone())
        .with_shrink_air_prover(shrink_prover, permits.clone())
        .with_wrap_air_prover(WrapBuilder, permits.clone())
        .with_config(|config| config.prover_config.core_prover_config = core_config.clone());
    let sp1 = builder.build().await?;
    let kept = air_prover.clone();
    let forget_keys = Box::new(move || {
        kept.forget_key();
        compress_prover.forget_keys();
    });
    let (device, largest_cut) = (ProverDevice::Processor, u64::MAX);
    Ok(LoadedEngine { sp1, air_prover, permits, core_config, device, largest_cut, forget_keys })
}
