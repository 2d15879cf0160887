//! The engine with SP1's CUDA provers, on the first GPU that the process sees.
//!
//! SP1's provers refer to their stream on the GPU without owning it: a [`TaskScope`] is a pointer that nothing checks.
//! The task that owns the stream therefore never ends, and only one engine is loaded in a process.
//!
//! SP1's own function for this, `cuda_worker_builder`, hides the provers that the core provers of the places share,
//! reads its options from the environment, and panics if the GPU has too little memory. So this module makes the same
//! provers itself.

use super::{
    attempt_client::AttemptClient,
    loaded_engine::{LoadedEngine, core_config},
};
use crate::{
    device::{
        COLUMN_CELLS, MIN_FREE_GPU_BYTES, MIN_GPU_BYTES, PINNED_BUFFERS, ProverDevice, RECURSION_CELLS, SHRINK_CELLS,
        WRAP_CELLS, largest_gpu_cut,
    },
    sp1_types::riscv_machine,
};
use anyhow::{Context, Result, anyhow};
use sp1_gpu_cudart::{TaskScope, cuda_memory_info};
use sp1_gpu_prover::{
    CudaProverCoreComponents, CudaProverRecursionComponents, CudaProverWrapComponents, RECURSION_TRACE_ALLOCATION,
    SHRINK_TRACE_ALLOCATION, SP1CudaProverComponents, WRAP_TRACE_ALLOCATION, new_cuda_prover,
};
use sp1_hypercube::prover::ProverSemaphore;
use sp1_primitives::{SP1GlobalContext, SP1OuterGlobalContext};
use sp1_prover::{CORE_LOG_STACKING_HEIGHT, ReadyWrapProverBuilder, SP1ProverComponents, worker::SP1WorkerBuilder};
use sp1d_machine::GpuFault;
use sp1d_protocol::FailureKind;
use sp1d_worker::{AttemptError, LoadError, call_driver};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long a GPU may take to respond. A call to a GPU that hangs never returns.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first call to a GPU may take. If no other program uses them, the driver initializes all GPUs of the
/// machine first, which takes seconds for each.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

const _: () = assert!(
    RECURSION_CELLS == RECURSION_TRACE_ALLOCATION as u64
        && SHRINK_CELLS == SHRINK_TRACE_ALLOCATION as u64
        && WRAP_CELLS == WRAP_TRACE_ALLOCATION as u64
        && COLUMN_CELLS == 1_u64 << CORE_LOG_STACKING_HEIGHT
);

/// Builds the engine. Call it at most once in a process, on the runtime of the engine.
pub(super) async fn build_engine(client: AttemptClient) -> Result<LoadedEngine<SP1CudaProverComponents>> {
    // SP1 unwraps the errors of the first calls to CUDA, so this comes first.
    let (free_bytes, memory_bytes) = device_memory(FIRST_RESPONSE_TIMEOUT).await?;
    let largest_cut =
        largest_gpu_cut(memory_bytes).ok_or(GpuFault::TooLittleMemory { memory_bytes, needed_bytes: MIN_GPU_BYTES })?;
    // Otherwise each shard would fail, and that would count against the whole worker and all its GPUs.
    if free_bytes < MIN_FREE_GPU_BYTES {
        return Err(GpuFault::LittleFreeMemory { free_bytes, needed_bytes: MIN_FREE_GPU_BYTES }.into());
    }
    let (sender, built) = oneshot::channel();
    let task = sp1_gpu_cudart::spawn(move |scope| async move {
        // If this fails, the caller is gone, and so is the process soon.
        let _ = sender.send(build(scope, largest_cut, client).await);
        std::future::pending::<()>().await;
    });
    match built.await {
        Ok(engine) => engine,
        // The task has panicked.
        Err(_) => {
            let reason = task.await.err().map_or_else(|| "its task ended".to_owned(), |error| error.to_string());
            let response = device_memory(RESPONSE_TIMEOUT).await.map(|_| ());
            Err(match GpuFault::of_failure(&reason, response) {
                Some(GpuFault::OutOfMemory) => GpuFault::LoadMemory.into(),
                Some(fault) => fault.into(),
                None => anyhow!("cannot load the GPU prover: {reason}"),
            })
        }
    }
}

async fn build(
    scope: TaskScope,
    largest_cut: u64,
    client: AttemptClient,
) -> Result<LoadedEngine<SP1CudaProverComponents>> {
    type Cuda = SP1CudaProverComponents;
    let machine = riscv_machine();
    // Pinned buffers and the memory of the GPU are for one stage at a time.
    let permits = ProverSemaphore::new(1);
    let core_cells = usize::try_from(largest_cut + COLUMN_CELLS).context("the cut exceeds the address space")?;
    let buffers = PINNED_BUFFERS as usize;
    // Neither recomputes traces nor drops codewords, as SP1 does by default.
    let (recompute, drop_codewords) = (false, false);
    let verifier = Cuda::core_verifier(machine.clone());
    let core = new_cuda_prover::<SP1GlobalContext, CudaProverCoreComponents>(
        &verifier,
        core_cells,
        buffers,
        recompute,
        drop_codewords,
        scope.clone(),
    );
    let core = Arc::new(core.await);
    let verifier = Cuda::compress_verifier();
    let compress = new_cuda_prover::<SP1GlobalContext, CudaProverRecursionComponents>(
        &verifier,
        RECURSION_TRACE_ALLOCATION,
        buffers,
        recompute,
        drop_codewords,
        scope.clone(),
    );
    let compress = Arc::new(compress.await);
    let verifier = Cuda::shrink_verifier();
    let shrink = new_cuda_prover::<SP1GlobalContext, CudaProverRecursionComponents>(
        &verifier,
        SHRINK_TRACE_ALLOCATION,
        buffers,
        recompute,
        drop_codewords,
        scope.clone(),
    );
    let shrink = Arc::new(shrink.await);
    let verifier = Cuda::wrap_verifier();
    let wrap = new_cuda_prover::<SP1OuterGlobalContext, CudaProverWrapComponents>(
        &verifier,
        WRAP_TRACE_ALLOCATION,
        buffers,
        recompute,
        drop_codewords,
        scope,
    );
    let wrap = ReadyWrapProverBuilder::new(Arc::new(wrap.await));
    let core_config = core_config();
    let builder = SP1WorkerBuilder::<Cuda>::new_with_machine(machine)
        .with_artifact_client(client.clone())
        .with_worker_client(client)
        .with_core_air_prover(core.clone(), permits.clone())
        .with_compress_air_prover(compress, permits.clone())
        .with_shrink_air_prover(shrink, permits.clone())
        .with_wrap_air_prover(wrap, permits.clone())
        .with_config(|config| config.prover_config.core_prover_config = core_config.clone());
    let sp1 = builder.build().await?;
    // SP1 keeps its recursion keys on the GPU, not in the memory of the machine.
    let forget_keys = Box::new(|| {});
    let device = ProverDevice::Gpu;
    Ok(LoadedEngine { sp1, air_prover: core, permits, core_config, device, largest_cut, forget_keys })
}

/// Returns the free memory and the whole memory of the GPU in bytes.
async fn device_memory(limit: Duration) -> Result<(u64, u64), GpuFault> {
    match call_driver(limit, cuda_memory_info).await {
        Some(Ok((free, total))) => Ok((free as u64, total as u64)),
        Some(Err(error)) => {
            let text = error.to_string();
            Err(GpuFault::of_cuda(&text).unwrap_or(GpuFault::Other(text)))
        }
        None => Err(GpuFault::Lost(format!("it has not responded for {} s", limit.as_secs()))),
    }
}

/// Returns why the prover cannot be loaded, and whether the GPU is the cause and may be usable later.
pub(super) fn load_error(error: &anyhow::Error) -> LoadError {
    let text = format!("{error:#}");
    match error.downcast_ref::<GpuFault>().cloned().or_else(|| GpuFault::of_cuda(&text)) {
        Some(fault) => fault.into(),
        None => LoadError::Engine(text),
    }
}

/// Returns the failure in words if the GPU is its cause. SP1 panics with the text of CUDA's error. After some errors
/// CUDA refuses every later call, so the GPU is asked too.
///
/// If the memory of the GPU was too small for shards that it accepted, another program uses the GPU. That is a fault of
/// this worker, and says nothing about workers with less memory.
pub(super) async fn explain(failure: &AttemptError) -> Option<AttemptError> {
    let response = device_memory(RESPONSE_TIMEOUT).await.map(|_| ());
    let fault = GpuFault::of_failure(&failure.text, response)?;
    Some(AttemptError { kind: FailureKind::Engine, text: fault.to_string() })
}
