//! The distributed prover and its types. Programs often import the crate root with a glob, so names that a program may
//! define itself are here and not at the root.

mod builder;
pub mod config;
mod error;
mod events;
mod remote;
mod request;

pub use crate::{
    pool::{LocalProver, Pool},
    worker::{BoundWorker, WorkerBuilder, WorkerError, serve_prover, start_proving_threads},
};
pub use ::client::{ClientError, FailureInfo};
pub use ::orchestrator::{
    AttemptNews, AttemptStep, ConnectError, Holdings, ListError, Placement, Progress, ProofFailure, UnknownWorker,
    Verify, WorkerInfo, WorkerShare,
};
pub use ::protocol::{Address, Filter};
pub use ::scheduler::TaskKind;
pub use ::worker::{EngineState, ProverCommand};
pub use builder::DistributedProverBuilder;
pub use error::DistributedError;
pub use events::ProofEvents;
pub use request::DistributedProveRequest;

use crate::{prover::Prover, request::ProveOptions, threads::Threads};
use bytes::Bytes;
use config::Config;
use engine::{Controller, WrapProof};
use futures::future::BoxFuture;
use orchestrator::{ExpectedExit, ProofMode, ProofRequest};
use remote::Remote;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, LightProver, ProvingKey, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, SP1PublicValues,
    SP1VerificationError, SP1VerifyingKey, prover::SendFutureResult,
};
use std::sync::Arc;
use tokio::sync::{OnceCell, broadcast};
use tokio_util::sync::CancellationToken;

/// Proves on the workers of a pool, or through a service. Cloning is cheap. Clones share the pool, and can prove at the
/// same time.
///
/// The prover has its own threads. It works from any runtime, blocked or not, and without a runtime. The configuration
/// is read at the first `setup`, `execute` or `prove`. The workers are dialed at the first `prove` or at
/// [`DistributedProver::connect`]. If that fails, the call returns the error and the next call tries again.
#[derive(Clone)]
pub struct DistributedProver {
    inner: Arc<Inner>,
}

struct Inner {
    controller: Arc<Controller>,
    source: builder::ConfigSource,
    config: OnceCell<Config>,
    way: OnceCell<Way>,
    // The last field, so that everything that runs on the threads is dropped before them.
    threads: Threads,
}

/// How proofs are made: on connected workers or by a service.
enum Way {
    Pool(Pool),
    Service(Remote),
}

impl Inner {
    async fn config(&self) -> Result<&Config, DistributedError> {
        self.config.get_or_try_init(|| async { self.source.load() }).await
    }

    async fn way(self: &Arc<Self>) -> Result<&Way, DistributedError> {
        let config = self.config().await?.clone();
        let open = || async {
            if let Some(url) = &config.service {
                return Ok(Way::Service(Remote::new(url)?));
            }
            let pool = self.threads.spawn_session(async move { Pool::open(&config).await }).await;
            Ok::<_, DistributedError>(Way::Pool(pool?))
        };
        self.way.get_or_try_init(open).await
    }

    async fn setup(&self, elf: Elf) -> Result<SP1ProvingKey, DistributedError> {
        self.config().await?;
        let key = self.controller.verifying_key(&elf).await?;
        Ok(SP1ProvingKey::new(key, elf))
    }

    async fn execute(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
        stop: CancellationToken,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        let other = |error: &dyn std::fmt::Display| ExecutionError::Other(error.to_string());
        self.config().await.map_err(|error| other(&error))?;
        self.controller.execute_in(&elf, stdin, context, &stop).await.map_err(|error| other(&error))
    }

    async fn prove(
        self: Arc<Self>,
        key: SP1ProvingKey,
        stdin: SP1Stdin,
        options: ProveOptions,
        progress: broadcast::Sender<orchestrator::Progress>,
        cancel: CancellationToken,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let request = self.request(key.elf(), &stdin, &options).await?;
        drop(stdin);
        if self.controller.verifying_key(&request.elf).await?.vk != key.verifying_key().vk {
            return Err(DistributedError::ForeignKey);
        }
        let pool = match self.way().await? {
            Way::Pool(pool) => pool,
            Way::Service(service) => return service.prove(request, &self.controller, &progress, &cancel).await,
        };
        let proven = pool.prove(request, self.controller.clone(), progress, cancel).await?;
        bincode::deserialize(&proven.output.proof).map_err(|error| DistributedError::Decode(error.to_string()))
    }

    async fn request(
        &self,
        elf: &Elf,
        stdin: &SP1Stdin,
        options: &ProveOptions,
    ) -> Result<ProofRequest, DistributedError> {
        let config = self.config().await?;
        Ok(ProofRequest {
            elf: match elf {
                Elf::Static(bytes) => Bytes::from_static(bytes),
                Elf::Dynamic(bytes) => Bytes::from_owner(bytes.clone()),
            },
            stdin: bincode::serialize(stdin).expect("every input can be serialized").into(),
            mode: proof_mode(options.mode),
            cycle_limit: options.cycle_limit,
            expected_exit: expected_exit(options.expected_exit_code),
            check_input_proofs: options.deferred_proof_verification,
            nonce: options.nonce,
            options: config.cut.encode(),
            timeout: config.timeout,
            label: String::new(),
        })
    }

    async fn shrink_wrap(
        self: Arc<Self>,
        proof: SP1Proof,
        key: SP1VerifyingKey,
    ) -> Result<WrapProof, DistributedError> {
        // `request` takes the settings from the configuration. There is no program to run.
        let request = self.request(&Elf::Static(&[]), &SP1Stdin::new(), &ProveOptions::default()).await?;
        let Way::Pool(pool) = self.way().await? else {
            return Err(DistributedError::NotThere("shrink and wrap proofs"));
        };
        let wrapped = pool.shrink_wrap(&proof, key, request).await?;
        bincode::deserialize(&wrapped).map_err(|error| DistributedError::Decode(error.to_string()))
    }
}

fn proof_mode(mode: SP1ProofMode) -> ProofMode {
    match mode {
        SP1ProofMode::Core => ProofMode::Core,
        SP1ProofMode::Compressed => ProofMode::Compressed,
        SP1ProofMode::Plonk => ProofMode::Plonk,
        SP1ProofMode::Groth16 => ProofMode::Groth16,
    }
}

fn expected_exit(code: StatusCode) -> ExpectedExit {
    if code == StatusCode::ANY {
        ExpectedExit::Any
    } else if code == StatusCode::SUCCESS {
        ExpectedExit::Success
    } else {
        ExpectedExit::Code(code.as_u32())
    }
}

impl DistributedProver {
    /// Creates a prover without settings of the program. It is configured by the environment and the worker list file.
    pub async fn new() -> Self {
        DistributedProverBuilder::new().build().await
    }

    /// Returns the configuration after it was checked.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub async fn config(&self) -> Result<Config, DistributedError> {
        self.inner.config().await.cloned()
    }

    /// Connects to the workers or the service now instead of at the first proof.
    ///
    /// # Errors
    /// If the configuration is invalid, or no worker (or the service) can be reached.
    pub async fn connect(&self) -> Result<(), DistributedError> {
        let inner = self.inner.clone();
        let connect = async move {
            match inner.way().await? {
                Way::Pool(_) => Ok(()),
                Way::Service(service) => service.connect().await,
            }
        };
        self.inner.threads.spawn(connect).await
    }

    /// Shrinks and wraps a compressed proof on a worker, as SP1's `SP1LocalNode::shrink_wrap` does locally. The
    /// circuits of on-chain proofs verify the result. `key` belongs to the program of the proof.
    ///
    /// # Errors
    /// If `proof` is not a compressed proof, if proofs are made by a service, or the reason why shrinking or wrapping
    /// failed.
    pub async fn shrink_wrap(&self, proof: &SP1Proof, key: &SP1VerifyingKey) -> Result<WrapProof, DistributedError> {
        let (inner, proof, key) = (self.inner.clone(), proof.clone(), key.clone());
        self.inner.threads.spawn(inner.shrink_wrap(proof, key)).await
    }

    /// Returns what the orchestrator currently holds for its proofs. All values are zero without a pool.
    #[must_use]
    pub fn holdings(&self) -> orchestrator::Holdings {
        match self.inner.way.get() {
            Some(Way::Pool(pool)) => pool.holdings(),
            Some(Way::Service(_)) | None => orchestrator::Holdings::default(),
        }
    }

    pub(crate) fn run_proof(
        &self,
        key: &SP1ProvingKey,
        stdin: SP1Stdin,
        options: ProveOptions,
        progress: broadcast::Sender<orchestrator::Progress>,
    ) -> BoxFuture<'static, Result<SP1ProofWithPublicValues, DistributedError>> {
        let (inner, key, cancel) = (self.inner.clone(), key.clone(), CancellationToken::new());
        // Dropping the future cancels the proof. The cleanup runs on the prover's own threads.
        let guard = cancel.clone().drop_guard();
        Box::pin(async move {
            let _guard = guard;
            let proving = inner.clone().prove(key, stdin, options, progress, cancel);
            inner.threads.spawn(proving).await
        })
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn threads(&self) -> &Threads {
        &self.inner.threads
    }

    pub(crate) fn light(&self) -> &LightProver {
        self.inner.controller.light()
    }
}

impl Prover for DistributedProver {
    type ProvingKey = SP1ProvingKey;
    type Error = DistributedError;
    type ProveRequest<'a> = DistributedProveRequest<'a>;

    fn inner(&self) -> &SP1NodeCore {
        sp1_sdk::Prover::inner(self.light())
    }

    fn setup(&self, elf: Elf) -> impl SendFutureResult<SP1ProvingKey, DistributedError> {
        let inner = self.inner.clone();
        async move {
            let of_inner = inner.clone();
            inner.threads.spawn(async move { of_inner.setup(elf).await }).await
        }
    }

    fn prove<'a>(&'a self, pk: &'a SP1ProvingKey, stdin: SP1Stdin) -> DistributedProveRequest<'a> {
        DistributedProveRequest::new(self, pk, stdin)
    }

    fn run_execution<'a>(
        &'a self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ExecutionError>> {
        let (inner, stop) = (self.inner.clone(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        Box::pin(async move {
            let _guard = guard;
            let of_inner = inner.clone();
            inner.threads.spawn(async move { of_inner.execute(elf, stdin, context, stop).await }).await
        })
    }

    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError> {
        sp1_sdk::Prover::verify(self.light(), proof, vkey, status_code)
    }
}
