//! The distributed prover.

use super::{config_source::ConfigSource, error::DistributedError, service_prover::ServiceProver};
use crate::{request::ProveOptions, threads::ClientThreads};
use bytes::Bytes;
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, ProvingKey, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, SP1PublicValues, SP1VerifyingKey,
};
use sp1d_engine::{Sp1ProofRunner, WrapProof};
use sp1d_machine::Memory;
use sp1d_orchestrator::{ExpectedExit, Holdings, ProofEvent, ProofFailure, ProofMode, ProofRequest};
use sp1d_roles::{CallDeadline, WorkerPool, check_local_memory, config::Config};
use std::{sync::Arc, time::Duration};
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
    pub(super) inner: Arc<DistributedProverInner>,
}

/// The state that all clones of a prover share.
pub(super) struct DistributedProverInner {
    runner: Arc<Sp1ProofRunner>,
    source: ConfigSource,
    config: OnceCell<Config>,
    backend: OnceCell<ProvingBackend>,
    // The last field, so that everything that runs on the threads is dropped before them.
    pub(super) threads: ClientThreads,
}

/// How proofs are made: on connected workers or by a service.
enum ProvingBackend {
    Pool(WorkerPool),
    Service(ServiceProver),
}

impl DistributedProverInner {
    async fn config(&self) -> Result<&Config, DistributedError> {
        let load = || async {
            let config = self.source.load()?;
            // The loaded configuration is kept, so each client warns once.
            config.warn_of_replaced_values();
            Ok::<_, DistributedError>(config)
        };
        self.config.get_or_try_init(load).await
    }

    async fn backend(self: &Arc<Self>) -> Result<&ProvingBackend, DistributedError> {
        let config = self.config().await?.clone();
        let open = || async {
            if let Some(settings) = &config.service {
                return Ok(ProvingBackend::Service(ServiceProver::new(settings)?));
            }
            check_local_memory(&config.list, Memory::now())?;
            let pool = self.threads.spawn_session(async move { WorkerPool::open(&config).await }).await;
            Ok::<_, DistributedError>(ProvingBackend::Pool(pool?))
        };
        self.backend.get_or_try_init(open).await
    }

    pub(super) async fn setup(&self, elf: Elf) -> Result<SP1ProvingKey, DistributedError> {
        self.config().await?;
        let key = self.runner.verifying_key(&elf).await?;
        Ok(SP1ProvingKey::new(key, elf))
    }

    pub(super) async fn execute(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
        stop: CancellationToken,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        let other = |error: &dyn std::fmt::Display| ExecutionError::Other(error.to_string());
        self.config().await.map_err(|error| other(&error))?;
        self.runner.execute_in(&elf, stdin, context, &stop).await.map_err(|error| other(&error))
    }

    async fn prove(
        self: Arc<Self>,
        key: SP1ProvingKey,
        stdin: SP1Stdin,
        options: ProveOptions,
        idempotency_key: Option<String>,
        progress: broadcast::Sender<ProofEvent>,
        cancel: CancellationToken,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let config = self.config().await?;
        // At a service, the timeout counts from the start of the proof.
        let deadline = CallDeadline::start(config.timeout.filter(|_| config.service.is_none()));
        let mut request = self.request(key.elf(), &stdin, &options).await?;
        drop(stdin);
        deadline.bound(|| "the program's verifying key".to_owned(), self.check_key(&key)).await??;
        // Opening the pool may wait for the first worker.
        let opening = deadline.bound(|| CallDeadline::first_worker(&config.list), self.backend());
        let backend = tokio::select! {
            () = cancel.cancelled() => return Err(ProofFailure::Cancelled.into()),
            backend = opening => backend??,
        };
        let pool = match backend {
            ProvingBackend::Pool(pool) => pool,
            ProvingBackend::Service(service) => {
                return service.prove(request, idempotency_key, &self.runner, &progress, &cancel).await;
            }
        };
        deadline.limit(&mut request);
        let proven = pool.prove(request, self.runner.clone(), progress, cancel).await;
        let proven = proven.map_err(|failure| deadline.restated(failure))?;
        bincode::deserialize(&proven.output.proof).map_err(|error| DistributedError::Decode(error.to_string()))
    }

    /// Requests a proof from the service and returns its id.
    async fn request_from_service(
        self: Arc<Self>,
        key: SP1ProvingKey,
        stdin: SP1Stdin,
        options: ProveOptions,
        idempotency_key: Option<String>,
        cancel: CancellationToken,
    ) -> Result<String, DistributedError> {
        let request = self.request(key.elf(), &stdin, &options).await?;
        drop(stdin);
        self.check_key(&key).await?;
        let service = self.service("request a proof without waiting for it").await?;
        Ok(service.request(&request, idempotency_key, &self.runner, &cancel).await?.id)
    }

    async fn wait_at_service(
        self: Arc<Self>,
        id: String,
        key: SP1ProvingKey,
        timeout: Option<Duration>,
        cancel: CancellationToken,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        self.check_key(&key).await?;
        let service = self.service("wait for a proof by its id").await?;
        tokio::select! {
            proven = service.wait(&id, elf_bytes(key.elf()), &self.runner, timeout) => proven,
            () = cancel.cancelled() => Err(ProofFailure::Cancelled.into()),
        }
    }

    /// Returns the service. `what` names what only a service can do.
    async fn service(self: &Arc<Self>, what: &'static str) -> Result<&ServiceProver, DistributedError> {
        // The configuration decides before any worker is dialed.
        if self.config().await?.service.is_none() {
            return Err(DistributedError::NeedsService(what));
        }
        match self.backend().await? {
            ProvingBackend::Service(service) => Ok(service),
            ProvingBackend::Pool(_) => Err(DistributedError::NeedsService(what)),
        }
    }

    /// Checks that the verifying key in `key` belongs to the program in it.
    async fn check_key(&self, key: &SP1ProvingKey) -> Result<(), DistributedError> {
        let own = self.runner.verifying_key(key.elf()).await?;
        if own.vk == key.verifying_key().vk { Ok(()) } else { Err(DistributedError::ForeignKey) }
    }

    async fn request(
        &self,
        elf: &Elf,
        stdin: &SP1Stdin,
        options: &ProveOptions,
    ) -> Result<ProofRequest, DistributedError> {
        let config = self.config().await?;
        Ok(ProofRequest {
            elf: elf_bytes(elf),
            stdin: bincode::serialize(stdin).expect("every input can be serialized").into(),
            mode: proof_mode(options.mode),
            cycle_limit: options.cycle_limit,
            gas_limit: options.gas_limit,
            expected_exit: expected_exit(options.expected_exit_code),
            check_input_proofs: options.deferred_proof_verification,
            trusted_only: config.orchestrator.trusted_only,
            nonce: options.nonce,
            options: config.cut.encode(),
            timeout: config.timeout,
            cache_scope: String::new(),
            share_group: 0,
            label: String::new(),
        })
    }

    async fn shrink_wrap(
        self: Arc<Self>,
        proof: SP1Proof,
        key: SP1VerifyingKey,
    ) -> Result<WrapProof, DistributedError> {
        // `request` takes the settings from the configuration. There is no program to run.
        let config = self.config().await?;
        let deadline = CallDeadline::start(config.timeout);
        let mut request = self.request(&Elf::Static(&[]), &SP1Stdin::new(), &ProveOptions::default()).await?;
        let opening = deadline.bound(|| CallDeadline::first_worker(&config.list), self.backend());
        let ProvingBackend::Pool(pool) = opening.await?? else {
            return Err(DistributedError::NotThere("shrink and wrap proofs"));
        };
        deadline.limit(&mut request);
        let wrapped = pool.shrink_wrap(&proof, key, request).await;
        let wrapped = wrapped.map_err(|failure| deadline.restated(failure))?;
        bincode::deserialize(&wrapped).map_err(|error| DistributedError::Decode(error.to_string()))
    }
}

fn elf_bytes(elf: &Elf) -> Bytes {
    match elf {
        Elf::Static(bytes) => Bytes::from_static(bytes),
        Elf::Dynamic(bytes) => Bytes::from_owner(bytes.clone()),
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
    pub(super) fn from_parts(threads: ClientThreads, runner: Sp1ProofRunner, source: ConfigSource) -> Self {
        Self {
            inner: Arc::new(DistributedProverInner {
                runner: Arc::new(runner),
                source,
                config: OnceCell::new(),
                backend: OnceCell::new(),
                threads,
            }),
        }
    }

    /// Returns the configuration after it was checked.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub async fn config(&self) -> Result<Config, DistributedError> {
        self.inner.config().await.cloned()
    }

    /// Connects to the workers or the service now instead of at the first proof. If no worker is reached, waits up to
    /// the setting `patience_s` for the first one. A worker that serves another orchestrator counts as reached: proofs
    /// wait for their turn there.
    ///
    /// # Errors
    /// If the configuration is invalid, or no worker (or the service) can be reached.
    pub async fn connect(&self) -> Result<(), DistributedError> {
        let inner = self.inner.clone();
        let connect = async move {
            match inner.backend().await? {
                ProvingBackend::Pool(_) => Ok(()),
                ProvingBackend::Service(service) => service.connect().await,
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
    pub fn holdings(&self) -> Holdings {
        match self.inner.backend.get() {
            Some(ProvingBackend::Pool(pool)) => pool.holdings(),
            Some(ProvingBackend::Service(_)) | None => Holdings::default(),
        }
    }

    pub(crate) fn run_proof(
        &self,
        key: &SP1ProvingKey,
        stdin: SP1Stdin,
        options: ProveOptions,
        idempotency_key: Option<String>,
        progress: broadcast::Sender<ProofEvent>,
    ) -> BoxFuture<'static, Result<SP1ProofWithPublicValues, DistributedError>> {
        let (inner, key, cancel) = (self.inner.clone(), key.clone(), CancellationToken::new());
        // Dropping the future cancels the proof. The cleanup runs on the prover's own threads.
        let guard = cancel.clone().drop_guard();
        Box::pin(async move {
            let _guard = guard;
            let proving = inner.clone().prove(key, stdin, options, idempotency_key, progress, cancel);
            inner.threads.spawn(proving).await
        })
    }

    pub(crate) fn request_proof(
        &self,
        key: &SP1ProvingKey,
        stdin: SP1Stdin,
        options: ProveOptions,
        idempotency_key: Option<String>,
    ) -> BoxFuture<'static, Result<String, DistributedError>> {
        let (inner, key, cancel) = (self.inner.clone(), key.clone(), CancellationToken::new());
        let guard = cancel.clone().drop_guard();
        Box::pin(async move {
            let _guard = guard;
            let requesting = inner.clone().request_from_service(key, stdin, options, idempotency_key, cancel);
            inner.threads.spawn(requesting).await
        })
    }

    pub(super) fn wait_for_proof(
        &self,
        id: String,
        key: SP1ProvingKey,
        timeout: Option<Duration>,
    ) -> BoxFuture<'static, Result<SP1ProofWithPublicValues, DistributedError>> {
        let (inner, cancel) = (self.inner.clone(), CancellationToken::new());
        let guard = cancel.clone().drop_guard();
        Box::pin(async move {
            let _guard = guard;
            let waiting = inner.clone().wait_at_service(id, key, timeout, cancel);
            inner.threads.spawn(waiting).await
        })
    }

    pub(super) fn cancel_proof(&self, id: String) -> BoxFuture<'static, Result<(), DistributedError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let of_inner = inner.clone();
            let cancelling = async move { of_inner.service("cancel a proof by its id").await?.cancel(&id).await };
            inner.threads.spawn(cancelling).await
        })
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn threads(&self) -> &ClientThreads {
        &self.inner.threads
    }

    pub(super) fn node(&self) -> &SP1NodeCore {
        self.inner.runner.light().inner()
    }
}
