//! Runs SP1's prover engine as the engine of a worker.

#[cfg(feature = "gpu")]
use super::gpu;
use super::{
    attempt_client::{AttemptClient, EngineAttemptGuard, EngineAttempts, PlaceAttempt},
    capabilities::check_still_supported,
    loaded_engine::{LoadedEngine, ProverSettings, build_engine},
    place_provers::{CoreShardProver, PlaceProvers},
    task_request::to_sp1,
};
use crate::{device::ProverDevice, options::CutOptions, thread_pool::be_nice};
use anyhow::{Context, Result};
use async_trait::async_trait;
use sp1_prover::{
    SP1ProverComponents,
    worker::{RawTaskRequest, TaskError, TaskMetadata},
};
use sp1d_model::TaskKind;
use sp1d_protocol::{Assignment, FailureKind};
use sp1d_worker::{AttemptError, AttemptIo, IoAction, LoadError, ProvingEngine};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

/// Returns an estimate of the time that loading a prover takes. Measured: 4 s, nearly all of it on one thread.
#[must_use]
pub const fn start_estimate() -> Duration {
    Duration::from_secs(5)
}

/// Loads SP1's prover. This takes some seconds and about 1 GB of memory. Keys of recursion programs come on top when
/// they are needed. Blocks, so it must not be called on an asynchronous thread.
///
/// # Errors
/// Fails if SP1 cannot set up its prover, or if the engine's threads cannot be started. Fails with [`LoadError::Gpu`]
/// if the GPU cannot be used now and a later try may succeed.
pub fn load_prover(settings: ProverSettings) -> Result<Arc<dyn ProvingEngine>, LoadError> {
    match settings.device {
        ProverDevice::Processor => load(settings, |client| build_engine(settings, client))
            .map_err(|error| LoadError::Engine(format!("{error:#}"))),
        ProverDevice::Gpu => load_gpu(settings),
    }
}

#[cfg(feature = "gpu")]
fn load_gpu(settings: ProverSettings) -> Result<Arc<dyn ProvingEngine>, LoadError> {
    load(settings, gpu::build_engine).map_err(|error| gpu::load_error(&error))
}

#[cfg(not(feature = "gpu"))]
fn load_gpu(_: ProverSettings) -> Result<Arc<dyn ProvingEngine>, LoadError> {
    Err(LoadError::Engine("this build has no GPU support".to_owned()))
}

/// Loads the engine that `build` makes.
fn load<C, F>(settings: ProverSettings, build: impl FnOnce(AttemptClient) -> F) -> Result<Arc<dyn ProvingEngine>>
where
    C: SP1ProverComponents,
    F: Future<Output = Result<LoadedEngine<C>>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16))
        .thread_name("engine")
        .on_thread_start(move || be_nice(settings.niceness))
        .enable_all()
        .build()
        .context("cannot start the engine's threads")?;
    let attempts = Arc::new(EngineAttempts::default());
    let client = AttemptClient { attempts: attempts.clone(), place: PlaceAttempt::default() };
    // Build in a separate task, so that a panic during setup does not unwind into the caller.
    let built = runtime.block_on(runtime.spawn(build(client))).context("the engine panicked during its start");
    let loaded = match built.and_then(|built| built) {
        Ok(loaded) => loaded,
        Err(error) => {
            if settings.device == ProverDevice::Gpu {
                // Tasks of this runtime may still use what parts of the engine refer to on the GPU.
                std::mem::forget(runtime);
            }
            return Err(error);
        }
    };
    let places = (0..settings.places.max(1)).map(|_| PlaceProvers::new()).collect();
    // Loading takes more memory than the loaded prover keeps.
    (settings.release_memory)();
    let release_memory = settings.release_memory;
    let permits = u32::try_from(settings.permits.max(1)).unwrap_or(u32::MAX);
    Ok(Arc::new(Sp1ProvingEngine {
        runtime: Some(runtime),
        attempts,
        places,
        permits,
        loaded: Arc::new(loaded),
        release_memory,
        is_broken: AtomicBool::new(false),
    }))
}

/// SP1's prover engine as a [`ProvingEngine`].
struct Sp1ProvingEngine<C: SP1ProverComponents> {
    /// `Some` until drop.
    runtime: Option<Runtime>,
    attempts: Arc<EngineAttempts>,
    places: Vec<PlaceProvers<C>>,
    permits: u32,
    loaded: Arc<LoadedEngine<C>>,
    release_memory: fn(),
    /// Set after an error of the GPU. What the provers hold on it may be unusable.
    is_broken: AtomicBool,
}

impl<C: SP1ProverComponents> Drop for Sp1ProvingEngine<C> {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        match self.loaded.device {
            // Do not wait for a proving stage: it cannot be interrupted and would delay stopping the worker.
            ProverDevice::Processor => runtime.shutdown_background(),
            // A task of this runtime owns what the provers refer to on the GPU. It lives as long as the process.
            ProverDevice::Gpu => std::mem::forget(runtime),
        }
    }
}

impl<C: SP1ProverComponents> Sp1ProvingEngine<C> {
    /// Replaces the text of `failure` if it is an error of the GPU.
    async fn explained(&self, failure: AttemptError) -> AttemptError {
        #[cfg(feature = "gpu")]
        if self.loaded.device == ProverDevice::Gpu
            && let Some(explained) = gpu::explain(&failure).await
        {
            self.is_broken.store(true, Ordering::Relaxed);
            return explained;
        }
        failure
    }
}

#[async_trait]
impl<C: SP1ProverComponents> ProvingEngine for Sp1ProvingEngine<C> {
    fn places(&self) -> usize {
        self.places.len()
    }

    /// Resolves when all proving permits are free. A stage holds its permit until it ends, even if its attempt was
    /// dropped.
    async fn rests(&self) {
        let permits = self.loaded.permits.clone();
        // SP1 never closes the semaphore.
        drop(permits.acquire_many(self.permits).await);
    }

    fn release_memory(&self) {
        (self.loaded.forget_keys)();
        (self.release_memory)();
    }

    fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    async fn run(&self, place: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
        let engine_error = |text: String| AttemptError { kind: FailureKind::Engine, text };
        let options = CutOptions::decode(&assignment.options).map_err(|error| engine_error(error.to_string()))?;
        let provers =
            self.places.get(place).ok_or_else(|| engine_error(format!("the engine does not have place {place}")))?;
        let guard = EngineAttemptGuard::new(self.attempts.clone(), provers.place.clone(), assignment.attempt, io);
        let kind = assignment.payload.kind();
        let request = to_sp1(assignment);
        let largest = self.loaded.largest_cut;
        if kind.is_shard() && options.threshold() > largest {
            let text =
                format!("shards of {} cells do not fit into this GPU, the most are {largest}", options.threshold());
            return Err(AttemptError { kind: FailureKind::OutOfMemory, text });
        }
        let core_prover = kind.is_shard().then(|| provers.get(&options, &self.attempts, &self.loaded));
        let loaded = self.loaded.clone();
        let runtime = self.runtime.as_ref().expect("the runtime exists until drop");
        let task =
            AbortOnDropHandle::new(runtime.spawn(async move { prove(&loaded, core_prover, kind, request).await }));
        let failure = match task.await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(ProvingFailure::Sp1(error))) => engine_error(error.to_string()),
            Ok(Err(ProvingFailure::Panicked(text))) => AttemptError { kind: FailureKind::Panic, text },
            Err(error) => AttemptError { kind: FailureKind::Panic, text: error.to_string() },
        };
        // If an artifact transfer failed, that is the cause, no matter what error SP1 derived from it.
        Err(match guard.io_error() {
            Some(error) => {
                let kind = match error.action {
                    IoAction::Fetch => FailureKind::Input,
                    IoAction::Deliver | IoAction::ReportDeferredEvents => FailureKind::Output,
                };
                AttemptError { kind, text: error.to_string() }
            }
            None => self.explained(failure).await,
        })
    }
}

/// Why a task failed: SP1 reported an error, or a proving stage panicked.
enum ProvingFailure {
    Sp1(TaskError),
    Panicked(String),
}

impl From<TaskError> for ProvingFailure {
    fn from(error: TaskError) -> Self {
        Self::Sp1(error)
    }
}

async fn prove<C: SP1ProverComponents>(
    loaded: &LoadedEngine<C>,
    core_prover: Option<CoreShardProver<C>>,
    kind: TaskKind,
    request: RawTaskRequest,
) -> Result<TaskMetadata, ProvingFailure> {
    let panicked =
        |error: &dyn std::fmt::Display| ProvingFailure::Panicked(format!("a proving stage panicked: {error}"));
    let engine = loaded.engine();
    Ok(match kind {
        TaskKind::ProveShard | TaskKind::NormalizeShard => {
            let core_prover = core_prover.expect("shard tasks always have a core prover");
            core_prover.submit_prove_shard(request).await?.await.map_err(|error| panicked(&error))??
        }
        TaskKind::RecursionReduce => {
            engine.submit_recursion_reduce(request).await?.await.map_err(|error| panicked(&error))??
        }
        TaskKind::RecursionDeferred => {
            engine.submit_prove_deferred(request).await?.await.map_err(|error| panicked(&error))??
        }
        TaskKind::ShrinkWrap => engine.run_shrink_wrap(request).await?,
        TaskKind::PlonkWrap => {
            check_wrap(kind).await?;
            engine.run_plonk(request).await?;
            TaskMetadata::default()
        }
        TaskKind::Groth16Wrap => {
            check_wrap(kind).await?;
            engine.run_groth16(request).await?;
            TaskMetadata::default()
        }
    })
}

/// Checks that the wrap task still finds its circuit files. SP1 would otherwise download them.
async fn check_wrap(kind: TaskKind) -> Result<(), TaskError> {
    let supported = tokio::task::spawn_blocking(move || check_still_supported(kind)).await;
    match supported {
        Ok(Ok(())) => Ok(()),
        Ok(Err(missing)) => Err(TaskError::Fatal(missing.into())),
        Err(error) => Err(TaskError::Fatal(error.into())),
    }
}
