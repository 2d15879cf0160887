//! Runs SP1's prover engine on a worker.

pub(crate) mod components;
mod core_prover;
mod recursion_keys;
mod recursion_prover;

pub(crate) use components::Sp1CoreProver;

use crate::{
    abilities::check_still_able,
    heap,
    names::scoped,
    options::CutOptions,
    prover_clients::{AttemptClient, Inside, Slot, Visit},
    thread_pool::be_nice,
};
use anyhow::{Context, Result};
use async_trait::async_trait;
use components::{Components, WrapBuilder, compress_prover, shrink_prover};
use protocol::{Assignment, FailureKind, InputValue};
use scheduler::TaskKind;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::prover::{CpuShardProver, ProverSemaphore};
use sp1_prover::{
    SP1ProverComponents,
    worker::{
        ProofId, RawTaskRequest, RequesterId, SP1CoreProver, SP1CoreProverConfig, SP1ProverEngine, SP1Worker,
        SP1WorkerBuilder, TaskContext, TaskError, TaskMetadata,
    },
};
use sp1_prover_types::Artifact;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;
use worker::{AttemptError, AttemptIo, ProvingEngine};

type CoreProver = SP1CoreProver<AttemptClient, AttemptClient, Components>;

/// Settings of the prover engine.
#[derive(Debug, Clone, Copy)]
pub struct ProverSettings {
    /// Attempts in the engine at the same time, at least 1. With 2, the next attempt is traced while the first one
    /// proves.
    pub slots: usize,
    /// Proving stages that run at the same time, at least 1.
    pub permits: usize,
    /// Added to the nice value of the engine's own threads, so that other threads of the process come first.
    pub niceness: i32,
    /// Returns freed memory to the operating system. Without this call, the allocator keeps the memory for the next
    /// task, which costs nothing unless another process needs it.
    pub give_back: fn(),
}

impl ProverSettings {
    /// Returns settings that suit `threads` proving threads. With one thread, a second shard in the engine only takes
    /// memory. With more threads, it fills the gaps that the first shard leaves.
    #[must_use]
    pub fn for_threads(threads: usize) -> Self {
        let both = if threads > 1 { 2 } else { 1 };
        Self { slots: both, permits: both, niceness: 0, give_back: heap::give_back }
    }
}

/// Returns an estimate of the time that loading a prover takes. Measured: 4 s, nearly all of it on one thread.
#[must_use]
pub const fn start_estimate() -> Duration {
    Duration::from_secs(5)
}

/// Loads SP1's prover. This takes some seconds and about 1 GB of memory. Keys of recursion programs come on top when
/// they are needed. Blocks, so it must not be called on an asynchronous thread.
///
/// # Errors
/// Fails if SP1 cannot set up its prover, or if the engine's threads cannot be started.
pub fn load_prover(settings: ProverSettings) -> Result<Arc<dyn ProvingEngine>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16))
        .thread_name("engine")
        .on_thread_start(move || be_nice(settings.niceness))
        .enable_all()
        .build()
        .context("cannot start the engine's threads")?;
    let inside = Arc::new(Inside::default());
    let client = AttemptClient { inside: inside.clone(), slot: Slot::default() };
    // Build in a separate task, so that a panic during setup does not unwind into the caller.
    let loaded =
        runtime.block_on(runtime.spawn(build(settings, client))).context("the engine panicked during its start")??;
    let slots = (0..settings.slots.max(1)).map(|_| SlotProvers::default()).collect();
    // Loading takes more memory than the loaded prover keeps.
    (settings.give_back)();
    let give_back = settings.give_back;
    let permits = u32::try_from(settings.permits.max(1)).unwrap_or(u32::MAX);
    Ok(Arc::new(Prover { runtime: Some(runtime), inside, slots, permits, loaded: Arc::new(loaded), give_back }))
}

/// SP1's prover engine and the parts of it that the core provers of all slots share.
struct Loaded {
    sp1: SP1Worker<AttemptClient, AttemptClient, Components>,
    air_prover: Arc<core_prover::CoreProver>,
    compress_prover: Arc<recursion_prover::RecursionProver>,
    permits: ProverSemaphore,
    core_config: SP1CoreProverConfig,
}

impl Loaded {
    fn engine(&self) -> &SP1ProverEngine<AttemptClient, AttemptClient, Components> {
        self.sp1.prover_engine()
    }
}

async fn build(settings: ProverSettings, client: AttemptClient) -> Result<Loaded> {
    let machine = RiscvAir::machine();
    let permits = ProverSemaphore::new(settings.permits.max(1));
    let verifier = Components::core_verifier(machine.clone());
    let air_prover = Arc::new(core_prover::CoreProver::new(CpuShardProver::new(verifier.shard_verifier().clone())));
    let (compress_prover, shrink_prover) = (Arc::new(compress_prover()), Arc::new(shrink_prover()));
    let core_config = SP1CoreProverConfig {
        // One attempt per core prover: its client knows only the attempt in its slot.
        num_core_workers: 1,
        core_buffer_size: 1,
        // A worker never sets up a program. The orchestrator does that.
        num_setup_workers: 1,
        setup_buffer_size: 1,
        normalize_program_cache_size: 5,
        // A fixed key would be the key of the first program, used for all programs.
        use_fixed_pk: false,
        verify_intermediates: true,
    };
    let builder = SP1WorkerBuilder::<Components>::new_with_machine(machine)
        .with_artifact_client(client.clone())
        .with_worker_client(client)
        .with_core_air_prover(air_prover.clone(), permits.clone())
        .with_compress_air_prover(compress_prover.clone(), permits.clone())
        .with_shrink_air_prover(shrink_prover, permits.clone())
        .with_wrap_air_prover(WrapBuilder, permits.clone())
        .with_config(|config| config.prover_config.core_prover_config = core_config.clone());
    let sp1 = builder.build().await?;
    Ok(Loaded { sp1, air_prover, compress_prover, permits, core_config })
}

/// The core provers of one slot, one for each set of cut options. A core prover is small compared to the recursion
/// prover that all of them share. It keeps the normalize programs that it has compiled.
#[derive(Default)]
struct SlotProvers {
    slot: Slot,
    provers: Mutex<Vec<(CutOptions, CoreProver)>>,
}

/// Sets of cut options that a slot keeps core provers for. A pool rarely serves more at the same time.
const MOST_OPTIONS: usize = 4;

impl SlotProvers {
    fn get(&self, options: &CutOptions, inside: &Arc<Inside>, loaded: &Loaded) -> CoreProver {
        let mut provers = self.provers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = provers.iter().position(|(known, _)| known == options) {
            // The vector is ordered by last use: the first entry is dropped next.
            let used = provers.remove(at);
            provers.push(used);
        } else {
            if provers.len() >= MOST_OPTIONS {
                provers.remove(0);
            }
            let client = AttemptClient { inside: inside.clone(), slot: self.slot.clone() };
            let prover = CoreProver::new(
                loaded.core_config.clone(),
                options.as_sp1().clone(),
                client.clone(),
                client,
                loaded.air_prover.clone(),
                loaded.permits.clone(),
                loaded.engine().recursion_prover.clone(),
                RiscvAir::machine(),
            );
            provers.push((options.clone(), prover));
        }
        provers.last().expect("a prover was just added").1.clone()
    }
}

/// SP1's prover engine as a [`ProvingEngine`].
struct Prover {
    /// `Some` until drop.
    runtime: Option<Runtime>,
    inside: Arc<Inside>,
    slots: Vec<SlotProvers>,
    permits: u32,
    loaded: Arc<Loaded>,
    give_back: fn(),
}

impl Drop for Prover {
    fn drop(&mut self) {
        // Do not wait for a proving stage: it cannot be interrupted and would delay stopping the worker.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[async_trait]
impl ProvingEngine for Prover {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Resolves when all proving permits are free. A stage holds its permit until it ends, even if its attempt was
    /// dropped.
    async fn rests(&self) {
        let permits = self.loaded.permits.clone();
        // SP1 never closes the semaphore.
        drop(permits.acquire_many(self.permits).await);
    }

    fn give_back(&self) {
        self.loaded.air_prover.forget_key();
        self.loaded.compress_prover.forget_keys();
        (self.give_back)();
    }

    async fn run(&self, slot: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
        let engine_error = |text: String| AttemptError { kind: FailureKind::Engine, text };
        let options = CutOptions::decode(&assignment.options).map_err(|error| engine_error(error.to_string()))?;
        let provers =
            self.slots.get(slot).ok_or_else(|| engine_error(format!("the engine does not have slot {slot}")))?;
        let visit = Visit::new(self.inside.clone(), provers.slot.clone(), assignment.attempt, io);
        let kind = assignment.kind;
        let request = to_sp1(assignment)?;
        let core_prover = kind.is_shard().then(|| provers.get(&options, &self.inside, &self.loaded));
        let loaded = self.loaded.clone();
        let runtime = self.runtime.as_ref().expect("the runtime exists until drop");
        let task =
            AbortOnDropHandle::new(runtime.spawn(async move { prove(&loaded, core_prover, kind, request).await }));
        let failure = match task.await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(Failure::Sp1(error))) => engine_error(error.to_string()),
            Ok(Err(Failure::Join(text))) => AttemptError { kind: FailureKind::Panic, text },
            Err(error) => AttemptError { kind: FailureKind::Panic, text: error.to_string() },
        };
        // If an artifact transfer failed, that is the cause, no matter what error SP1 derived from it.
        Err(match visit.io_error() {
            Some(error) if error.action == "fetch" => {
                AttemptError { kind: FailureKind::Input, text: error.to_string() }
            }
            Some(error) => AttemptError { kind: FailureKind::Output, text: error.to_string() },
            None => failure,
        })
    }
}

/// Why a task failed: SP1 reported an error, or a proving stage panicked.
enum Failure {
    Sp1(TaskError),
    Join(String),
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        Self::Sp1(error)
    }
}

async fn prove(
    loaded: &Loaded,
    core_prover: Option<CoreProver>,
    kind: TaskKind,
    request: RawTaskRequest,
) -> Result<TaskMetadata, Failure> {
    let panicked = |error: &dyn std::fmt::Display| Failure::Join(format!("a proving stage panicked: {error}"));
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

/// Checks that the wrap step still finds its circuit files. SP1 would otherwise download them.
async fn check_wrap(kind: TaskKind) -> Result<(), TaskError> {
    let able = tokio::task::spawn_blocking(move || check_still_able(kind)).await;
    able.unwrap_or_else(|error| Err(error.to_string())).map_err(|reason| TaskError::Fatal(anyhow::anyhow!(reason)))
}

/// Returns the least number of inputs and of outputs of a task. SP1 indexes them without checking.
fn expected_shape(kind: TaskKind) -> (usize, usize) {
    match kind {
        TaskKind::ProveShard | TaskKind::NormalizeShard => (4, 1),
        TaskKind::RecursionReduce => (4, 1),
        TaskKind::RecursionDeferred => (2, 1),
        TaskKind::ShrinkWrap | TaskKind::PlonkWrap | TaskKind::Groth16Wrap => (1, 1),
    }
}

fn to_sp1(assignment: Assignment) -> Result<RawTaskRequest, AttemptError> {
    let Assignment { attempt, proof, kind, inputs, outputs, marker, .. } = assignment;
    let (least_inputs, least_outputs) = expected_shape(kind);
    if inputs.len() < least_inputs || outputs.len() < least_outputs {
        let text = format!(
            "{kind} task with {} inputs and {} outputs: it needs at least {least_inputs} and {least_outputs}",
            inputs.len(),
            outputs.len()
        );
        return Err(AttemptError { kind: FailureKind::Input, text });
    }
    let inputs = inputs.into_iter().map(|input| match input {
        // SP1 completes the marker under a name that is scoped to this attempt.
        InputValue::Literal(text) if Some(&text) == marker.as_ref() => Artifact(scoped(attempt, &text)),
        InputValue::Literal(text) => Artifact(text),
        InputValue::Artifact { name, .. } => Artifact(scoped(attempt, &name)),
    });
    Ok(RawTaskRequest {
        inputs: inputs.collect(),
        outputs: outputs.iter().map(|name| Artifact(scoped(attempt, name))).collect(),
        context: TaskContext {
            proof_id: ProofId::new(proof),
            parent_id: None,
            parent_context: None,
            requester_id: RequesterId::new("sp1-distributed"),
        },
    })
}
