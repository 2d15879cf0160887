//! The distributed prover, without `async`.

use super::prover::{ProveRequest, Prover};
use crate::{
    distributed::{self, DistributedError, ProofEvents},
    prover::Prover as _,
    request::{ProveOptions, with_options},
};
use engine::WrapProof;
use orchestrator::Placement;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, SP1CoreOpts, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, SP1PublicValues, SP1VerificationError,
    SP1VerifyingKey,
};
use std::{path::Path, time::Duration};

/// As [`crate::DistributedProver`]. Its calls block the thread they are made on, whatever that is, until they are
/// answered by threads of the client's own.
#[derive(Clone)]
pub struct DistributedProver(pub(super) distributed::DistributedProver);

/// As [`crate::DistributedProverBuilder`].
#[derive(Default)]
pub struct DistributedProverBuilder(pub(super) distributed::DistributedProverBuilder);

/// The methods of the other builder, and of nothing else.
macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty)?);)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self $(, $argument: $kind)?) -> Self {
            Self(self.0.$name($($argument)?))
        }
    )*};
}

impl DistributedProverBuilder {
    forward! {
        /// See [`crate::DistributedProverBuilder::workers_file`].
        workers_file(path: impl AsRef<Path>);
        /// See [`crate::DistributedProverBuilder::workers`].
        workers(workers: impl IntoIterator<Item = impl ToString>);
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
        /// See [`crate::DistributedProverBuilder::timeout`].
        timeout(timeout: Duration);
        /// See [`crate::DistributedProverBuilder::core_opts`].
        core_opts(options: SP1CoreOpts);
        /// See [`crate::DistributedProverBuilder::core_opts`].
        with_opts(options: SP1CoreOpts);
    }

    /// Builds the prover.
    #[must_use]
    pub fn build(self) -> DistributedProver {
        DistributedProver(self.0.build_blocking())
    }
}

impl DistributedProver {
    /// Connects to the workers now, and not at the first proof.
    ///
    /// # Errors
    /// When the configuration is wrong, or no worker can be reached.
    pub fn connect(&self) -> Result<(), DistributedError> {
        let prover = self.0.clone();
        self.0.threads().block_on(async move { prover.connect().await })
    }

    /// See [`crate::DistributedProver::shrink_wrap`].
    ///
    /// # Errors
    /// When it is no compressed proof, or why there is no wrapped one.
    pub fn shrink_wrap(&self, proof: &SP1Proof, key: &SP1VerifyingKey) -> Result<WrapProof, DistributedError> {
        let (prover, proof, key) = (self.0.clone(), proof.clone(), key.clone());
        self.0.threads().block_on(async move { prover.shrink_wrap(&proof, &key).await })
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
        DistributedProveRequest { prover: self, key: pk, stdin, options: ProveOptions::default(), events: None }
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

/// A proof to be made.
pub struct DistributedProveRequest<'a> {
    prover: &'a DistributedProver,
    key: &'a SP1ProvingKey,
    stdin: SP1Stdin,
    options: ProveOptions,
    events: Option<tokio::sync::broadcast::Sender<orchestrator::Progress>>,
}

impl DistributedProveRequest<'_> {
    /// The request, and what will happen to it; for a thread that has an executor, such as
    /// `futures::executor::block_on_stream`.
    #[must_use]
    pub fn with_events(mut self) -> (Self, ProofEvents) {
        let (sender, events) = ProofEvents::channel();
        self.events = Some(sender);
        (self, events)
    }
}

impl<'a> ProveRequest<'a, DistributedProver> for DistributedProveRequest<'a> {
    fn run(self) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let Self { prover, key, stdin, options, events } = self;
        let progress = events.unwrap_or_else(|| tokio::sync::broadcast::channel(1).0);
        prover.0.threads().block_on(prover.0.run_proof(key, stdin, options, progress))
    }

    with_options!();
}
