//! A pool of workers with what it takes to prove on it: configuration, orchestrator, SP1's controller, and the worker
//! of this process if there is one.

use crate::{
    distributed::config::Config,
    worker::{EmbeddedWorker, local_worker},
};
use engine::{Controller, ShrinkWrapper};
use orchestrator::{
    ConnectError, Holdings, LocalConnector, Orchestrator, Progress, ProofController, ProofFailure, ProofRequest,
    Proven, Stream, UnknownWorker, WorkerInfo,
};
use sp1_sdk::{SP1Proof, SP1VerifyingKey};
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use worker::LocalDoor;

/// The worker inside this process. Stops when dropped.
pub struct LocalProver {
    _worker: EmbeddedWorker,
    door: LocalDoor,
}

impl LocalProver {
    /// Begins to load the prover, if the list of `config` has the worker `local`.
    pub async fn of(config: &Config) -> Option<Self> {
        if !config.list.has_local() {
            return None;
        }
        let (worker, door) = local_worker(config.local_threads).await;
        Some(Self { _worker: worker, door })
    }

    /// The way to it.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn LocalConnector> {
        Arc::new(LocalWay(self.door.clone()))
    }
}

/// Proofs run on it at the same time; see [`crate::DistributedProver`] for SP1's way of asking.
pub struct Pool {
    orchestrator: Orchestrator,
    /// Stops when dropped.
    _local: Option<LocalProver>,
}

struct LocalWay(LocalDoor);

impl LocalConnector for LocalWay {
    fn connect(&self) -> Option<Box<dyn Stream>> {
        self.0.connect().map(|stream| Box::new(stream) as Box<dyn Stream>)
    }
}

impl Pool {
    /// Connects to the workers that `config` names; sessions live on the runtime that polls this. The worker `local`,
    /// if it is in the list, begins to load its prover.
    ///
    /// # Errors
    /// When no worker can be reached.
    pub async fn open(config: &Config) -> Result<Self, ConnectError> {
        let local = LocalProver::of(config).await;
        let way = local.as_ref().map(LocalProver::connector);
        let orchestrator = Orchestrator::connect(&config.list, config.orchestrator.clone(), way).await?;
        Ok(Self { orchestrator, _local: local })
    }

    /// Runs `request` through `controller`, until `cancel`. What happens on the way goes to `progress`.
    ///
    /// # Errors
    /// Why there is no proof.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        controller: Arc<Controller>,
        progress: broadcast::Sender<Progress>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        self.run(request, controller, progress, cancel).await
    }

    /// Shrinks and wraps a compressed proof, which is of the program that `key` is of, on a worker. Out comes a
    /// serialised [`engine::WrapProof`].
    ///
    /// # Errors
    /// When it is no compressed proof, or why there is no wrapped one.
    ///
    /// # Cancel safety
    /// Dropping the future cancels it.
    pub async fn shrink_wrap(
        &self,
        proof: &SP1Proof,
        key: SP1VerifyingKey,
        request: ProofRequest,
    ) -> Result<Vec<u8>, ProofFailure> {
        let wrapper = ShrinkWrapper::new(proof, key)?;
        let (progress, _) = broadcast::channel(16);
        Ok(self.run(request, wrapper, progress, CancellationToken::new()).await?.output.proof)
    }

    async fn run(
        &self,
        request: ProofRequest,
        controller: Arc<dyn ProofController>,
        progress: broadcast::Sender<Progress>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        self.orchestrator.prove(request, controller, progress, cancel).await
    }

    /// The connected workers.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.orchestrator.workers()
    }

    /// Lets `worker`, a name or an address, finish what it proves, and gives it nothing more until [`Pool::resume`] or
    /// until it connects anew. Resolves when it holds nothing.
    ///
    /// # Errors
    /// When no such worker is connected.
    ///
    /// # Cancel safety
    /// Dropping the future ends the waiting only.
    pub async fn drain(&self, worker: &str) -> Result<(), UnknownWorker> {
        self.orchestrator.drain(worker).await
    }

    /// Gives tasks again to a worker that was drained.
    ///
    /// # Errors
    /// When no such worker is connected.
    pub async fn resume(&self, worker: &str) -> Result<(), UnknownWorker> {
        self.orchestrator.resume(worker).await
    }

    /// What is held for proofs at the moment.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        self.orchestrator.holdings()
    }

    /// Ends all sessions and proofs, and waits until nothing of them runs any more.
    pub async fn shutdown(self) {
        self.orchestrator.shutdown().await;
    }
}
