//! A pool of workers and everything needed to prove on it: the orchestrator, and the worker of this process if there is
//! one.

use crate::{
    config::Config,
    worker::{EmbeddedWorker, local_worker},
};
use sp1d_engine::{SP1Proof, SP1VerifyingKey, ShrinkWrapper, Sp1ProofRunner};
use sp1d_orchestrator::{
    ConnectError, Holdings, LocalConnector, Orchestrator, ProofEvent, ProofFailure, ProofRequest, Proven, Stream,
    UnknownWorker, WorkerInfo,
};
use sp1d_worker::LocalEndpoint;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// A running worker inside this process, and how to reach it. Dropping it stops the worker.
pub struct LocalWorkerHandle {
    _worker: EmbeddedWorker,
    endpoint: LocalEndpoint,
}

impl LocalWorkerHandle {
    /// Starts to load the prover if the worker list of `config` contains the worker `local`. Otherwise returns `None`,
    /// and also if the system refuses to create a thread.
    pub async fn of(config: &Config) -> Option<Self> {
        if !config.list.has_local() {
            return None;
        }
        let (worker, endpoint) = local_worker(config.local_threads).await?;
        Some(Self { _worker: worker, endpoint })
    }

    /// Returns the connector that the orchestrator uses to reach this worker.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn LocalConnector> {
        Arc::new(LocalWorkerConnector(self.endpoint.clone()))
    }
}

/// How the orchestrator reaches the worker of this process.
struct LocalWorkerConnector(LocalEndpoint);

impl LocalConnector for LocalWorkerConnector {
    fn connect(&self) -> Option<Box<dyn Stream>> {
        self.0.connect().map(|stream| Box::new(stream) as Box<dyn Stream>)
    }
}

/// Connected workers that prove several proofs at the same time. The library sp1-distributed offers the same through
/// SP1's interface, as `DistributedProver`.
pub struct WorkerPool {
    orchestrator: Orchestrator,
    /// Dropping it stops the local worker.
    _local: Option<LocalWorkerHandle>,
}

impl WorkerPool {
    /// Connects to the workers that `config` names. If no worker is reached, waits up to `patience_s` for the first
    /// one. A worker that serves another orchestrator counts as reached. Sessions run on the runtime that polls this
    /// future. If the list contains the worker `local`, that worker starts to load its prover.
    ///
    /// # Errors
    /// If no worker can be reached.
    pub async fn open(config: &Config) -> Result<Self, ConnectError> {
        tracing::info!(workers = config.list.0.len(), "connecting to the workers");
        let local = LocalWorkerHandle::of(config).await;
        let connector = local.as_ref().map(LocalWorkerHandle::connector);
        let orchestrator = Orchestrator::connect(&config.list, config.orchestrator.clone(), connector).await?;
        Ok(Self { orchestrator, _local: local })
    }

    /// Proves `request` through `runner` until `cancel` is cancelled. Sends the events of the proof to `progress`.
    /// Waits for its turn at workers that serve other orchestrators. While no proof runs, or when the present proofs
    /// have ended, workers are released to orchestrators that wait for them.
    ///
    /// # Errors
    /// The reason why the proof failed.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        runner: Arc<Sp1ProofRunner>,
        progress: broadcast::Sender<ProofEvent>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        tracing::info!(mode = %request.mode, "proof started");
        self.orchestrator.prove(request, runner, progress, cancel).await
    }

    /// Shrinks and wraps a compressed proof on a worker. `key` belongs to the program of the proof. Returns a
    /// serialized [`sp1d_engine::WrapProof`].
    ///
    /// # Errors
    /// If `proof` is not a compressed proof, or the reason why shrinking or wrapping failed.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request.
    pub async fn shrink_wrap(
        &self,
        proof: &SP1Proof,
        key: SP1VerifyingKey,
        request: ProofRequest,
    ) -> Result<Vec<u8>, ProofFailure> {
        let wrapper = ShrinkWrapper::new(proof, key)?;
        let (progress, _) = broadcast::channel(16);
        Ok(self.orchestrator.prove(request, wrapper, progress, CancellationToken::new()).await?.output.proof)
    }

    /// Returns the connected workers.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.orchestrator.workers()
    }

    /// Stops assigning tasks to `worker` (a name or an address) until [`WorkerPool::resume`] or until the worker
    /// reconnects. The worker finishes the tasks that it is proving. Resolves when the worker has no tasks left.
    ///
    /// # Errors
    /// If no such worker is connected.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting. The worker stays drained.
    pub async fn drain(&self, worker: &str) -> Result<(), UnknownWorker> {
        self.orchestrator.drain(worker).await
    }

    /// Assigns tasks again to a drained worker.
    ///
    /// # Errors
    /// If no such worker is connected.
    pub async fn resume(&self, worker: &str) -> Result<(), UnknownWorker> {
        self.orchestrator.resume(worker).await
    }

    /// Returns what the orchestrator currently holds for its proofs.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        self.orchestrator.holdings()
    }

    /// Ends all sessions and proofs, and waits until all their work has stopped.
    pub async fn shutdown(self) {
        self.orchestrator.shutdown().await;
    }
}
