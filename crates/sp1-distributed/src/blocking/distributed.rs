//! The distributed prover, without `async`.

use super::prover::{ProveRequest, Prover};
use crate::{
    distributed::{self, DistributedError, ProofEvents},
    prover::Prover as _,
    request::{ProveOptions, with_options},
};
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, SP1CoreOpts, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, SP1PublicValues, SP1VerificationError,
    SP1VerifyingKey,
};
use sp1d_engine::WrapProof;
use sp1d_orchestrator::{Placement, Verify, WorkerOrigins};
use std::{fmt, path::Path, time::Duration};

/// Same as [`crate::DistributedProver`]. Each call runs on the client's own threads and blocks the calling thread until
/// it ends. Any thread may call, even an asynchronous one.
#[derive(Clone)]
pub struct DistributedProver(pub(super) distributed::DistributedProver);

/// Same as [`crate::DistributedProverBuilder`].
#[derive(Default)]
pub struct DistributedProverBuilder(pub(super) distributed::DistributedProverBuilder);

/// Forwards these methods to the asynchronous builder.
macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self $(, $argument: $kind)*) -> Self {
            Self(self.0.$name($($argument),*))
        }
    )*};
}

impl DistributedProverBuilder {
    forward! {
        /// See [`crate::DistributedProverBuilder::workers_file`].
        workers_file(path: impl AsRef<Path>);
        /// See [`crate::DistributedProverBuilder::workers`].
        workers(workers: impl IntoIterator<Item = impl ToString>);
        /// See [`crate::DistributedProverBuilder::url`].
        url(url: impl ToString);
        /// See [`crate::DistributedProverBuilder::ca_file`].
        ca_file(path: impl AsRef<Path>);
        /// See [`crate::DistributedProverBuilder::token_file`].
        token_file(path: impl AsRef<Path>);
        /// See [`crate::DistributedProverBuilder::local_worker`].
        local_worker();
        /// See [`crate::DistributedProverBuilder::local_threads`].
        local_threads(threads: usize);
        /// See [`crate::DistributedProverBuilder::shard_batch_size`].
        shard_batch_size(shards: u32);
        /// See [`crate::DistributedProverBuilder::placement`].
        placement(placement: Placement);
        /// See [`crate::DistributedProverBuilder::heartbeat`].
        heartbeat(interval: Duration);
        /// See [`crate::DistributedProverBuilder::missed_heartbeats`].
        missed_heartbeats(count: u32);
        /// See [`crate::DistributedProverBuilder::patience`].
        patience(patience: Duration);
        /// See [`crate::DistributedProverBuilder::verify`].
        verify(verify: Verify);
        /// See [`crate::DistributedProverBuilder::max_failures`].
        max_failures(failures: u32);
        /// See [`crate::DistributedProverBuilder::max_losses`].
        max_losses(losses: u32);
        /// See [`crate::DistributedProverBuilder::worker_origins`].
        worker_origins(origins: WorkerOrigins);
        /// See [`crate::DistributedProverBuilder::trusted_only`].
        trusted_only(is_set: bool);
        /// See [`crate::DistributedProverBuilder::store`].
        store(memory_bytes: u64, disk_bytes: u64, folder: impl AsRef<Path>);
        /// See [`crate::DistributedProverBuilder::timeout`].
        timeout(timeout: Duration);
        /// See [`crate::DistributedProverBuilder::core_opts`].
        core_opts(options: SP1CoreOpts);
        /// See [`crate::DistributedProverBuilder::core_opts`].
        with_opts(options: SP1CoreOpts);
    }

    /// Builds the prover.
    ///
    /// # Panics
    /// If this processor lacks features that the program was compiled for. [`DistributedProverBuilder::try_build`]
    /// returns an error instead.
    #[must_use]
    pub fn build(self) -> DistributedProver {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Same as [`DistributedProverBuilder::build`], but returns an error instead of panicking.
    ///
    /// # Errors
    /// If this processor lacks features that the program was compiled for.
    pub fn try_build(self) -> Result<DistributedProver, DistributedError> {
        self.0.try_build_blocking().map(DistributedProver)
    }
}

impl DistributedProver {
    /// Connects to the workers or the service now instead of at the first proof.
    ///
    /// # Errors
    /// If the configuration is invalid, or no worker (or the service) can be reached.
    pub fn connect(&self) -> Result<(), DistributedError> {
        let prover = self.0.clone();
        self.0.threads().block_on(async move { prover.connect().await })
    }

    /// See [`crate::DistributedProver::shrink_wrap`].
    ///
    /// # Errors
    /// If `proof` is not a compressed proof, if proofs are made by a service, or the reason why shrinking or wrapping
    /// failed.
    pub fn shrink_wrap(&self, proof: &SP1Proof, key: &SP1VerifyingKey) -> Result<WrapProof, DistributedError> {
        let (prover, proof, key) = (self.0.clone(), proof.clone(), key.clone());
        self.0.threads().block_on(async move { prover.shrink_wrap(&proof, &key).await })
    }

    /// See [`crate::DistributedProver::requested_proof`].
    #[must_use]
    pub fn requested_proof(&self, id: impl Into<String>, pk: &SP1ProvingKey) -> RequestedProof {
        RequestedProof { prover: self.0.clone(), proof: self.0.requested_proof(id, pk) }
    }
}

/// Same as [`crate::distributed::RequestedProof`]. Each call blocks the calling thread until it ends.
#[derive(Clone)]
pub struct RequestedProof {
    prover: distributed::DistributedProver,
    proof: distributed::RequestedProof,
}

impl fmt::Debug for RequestedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proof.fmt(f)
    }
}

impl RequestedProof {
    /// See [`crate::distributed::RequestedProof::id`].
    #[must_use]
    pub fn id(&self) -> &str {
        self.proof.id()
    }

    /// See [`crate::distributed::RequestedProof::wait`].
    ///
    /// # Errors
    /// Same as there.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<SP1ProofWithPublicValues, DistributedError> {
        self.prover.threads().block_on(self.proof.wait(timeout))
    }

    /// Cancels the proof, unless it has ended.
    ///
    /// # Errors
    /// If the service does not know the proof or does not respond.
    pub fn cancel(&self) -> Result<(), DistributedError> {
        self.prover.threads().block_on(self.proof.cancel())
    }
}

impl Prover for DistributedProver {
    type ProvingKey = SP1ProvingKey;
    type Error = DistributedError;
    type ProveRequest<'a> = DistributedProveRequest<'a>;

    fn inner(&self) -> &SP1NodeCore {
        self.0.inner()
    }

    fn setup(&self, elf: Elf) -> Result<SP1ProvingKey, DistributedError> {
        let prover = self.0.clone();
        self.0.threads().block_on(async move { prover.setup(elf).await })
    }

    fn prove<'a>(&'a self, pk: &'a SP1ProvingKey, stdin: SP1Stdin) -> DistributedProveRequest<'a> {
        let options = ProveOptions::default();
        DistributedProveRequest { prover: self, key: pk, stdin, options, idempotency_key: None, events: None }
    }

    fn run_execution(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        let prover = self.0.clone();
        self.0.threads().block_on(async move { prover.run_execution(elf, stdin, context).await })
    }

    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError> {
        self.0.verify(proof, vkey, status_code)
    }
}

/// A proof request. [`ProveRequest::run`] creates the proof.
pub struct DistributedProveRequest<'a> {
    prover: &'a DistributedProver,
    key: &'a SP1ProvingKey,
    stdin: SP1Stdin,
    options: ProveOptions,
    idempotency_key: Option<String>,
    events: Option<tokio::sync::broadcast::Sender<sp1d_orchestrator::ProofEvent>>,
}

impl DistributedProveRequest<'_> {
    /// Returns the request and a stream of its events. Another thread can read the stream with an executor, for example
    /// `futures::executor::block_on_stream`.
    #[must_use]
    pub fn with_events(mut self) -> (Self, ProofEvents) {
        let (sender, events) = ProofEvents::channel();
        self.events = Some(sender);
        (self, events)
    }

    /// See [`crate::DistributedProveRequest::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// See [`crate::DistributedProveRequest::gas_limit`].
    #[must_use]
    pub fn gas_limit(mut self, gas_limit: u64) -> Self {
        self.options.gas_limit = Some(gas_limit);
        self
    }

    /// See [`crate::DistributedProveRequest::request`].
    ///
    /// # Errors
    /// If the program proves on its own workers, if the service does not respond, or if it refuses the request.
    pub fn request(self) -> Result<RequestedProof, DistributedError> {
        let Self { prover, key, stdin, options, idempotency_key, .. } = self;
        let requesting = prover.0.request_proof(key, stdin, options, idempotency_key);
        let id = prover.0.threads().block_on(requesting)?;
        Ok(prover.requested_proof(id, key))
    }
}

impl<'a> ProveRequest<'a, DistributedProver> for DistributedProveRequest<'a> {
    fn run(self) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let Self { prover, key, stdin, options, idempotency_key, events } = self;
        let progress = events.unwrap_or_else(|| tokio::sync::broadcast::channel(1).0);
        prover.0.threads().block_on(prover.0.run_proof(key, stdin, options, idempotency_key, progress))
    }

    with_options!();
}
