//! Starts a worker.

use super::{
    bound::BoundWorker,
    error::WorkerError,
    loading::{EngineOptions, end_engine, start_engine, warn_of_unused_feature},
    session::{default_name, introduction, on_own_thread, spawn},
};
use sp1d_engine::{ProverDevice, start_estimate};
use sp1d_identity::TlsIdentity;
use sp1d_machine::{GpuDevice, check_processor};
use sp1d_protocol::{Address, Filter};
use sp1d_worker::{
    HealthPort, JoiningWorker, ListeningWorker, ProverCommand, ServeError, WorkerSettings, WorkerStop, engine_state,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How a worker and its orchestrator connect.
#[derive(Debug, Clone)]
enum ConnectionMode {
    /// The worker listens and serves the orchestrators that the filter allows.
    Listen(Address, Filter),
    /// The worker dials the orchestrator at this address.
    Join(Address),
}

/// Settings of a worker. [`WorkerBuilder::bind`] starts it.
#[derive(Debug, Clone)]
pub struct WorkerBuilder {
    mode: ConnectionMode,
    name: Option<String>,
    health: Option<Address>,
    tls: Option<Arc<TlsIdentity>>,
    only_loopback: bool,
    engine: EngineOptions,
}

impl WorkerBuilder {
    /// Creates a worker that listens on `listen` (`HOST:PORT`) and serves the orchestrators that `orchestrators` names:
    /// addresses, ranges and names separated by commas, or `any`.
    ///
    /// # Errors
    /// If `listen` or `orchestrators` is malformed.
    pub fn new(listen: &str, orchestrators: &str) -> Result<Self, WorkerError> {
        Ok(Self::at(listen.parse()?, orchestrators.parse()?))
    }

    /// Same as [`WorkerBuilder::new`], with parsed arguments.
    #[must_use]
    pub fn at(listen: Address, orchestrators: Filter) -> Self {
        Self::with_mode(ConnectionMode::Listen(listen, orchestrators))
    }

    /// Creates a worker that dials the orchestrator at `orchestrator` and redials after every failure. The orchestrator
    /// must accept such workers (`sp1d serve --join-listen`).
    #[must_use]
    pub fn joining(orchestrator: Address) -> Self {
        Self::with_mode(ConnectionMode::Join(orchestrator))
    }

    fn with_mode(mode: ConnectionMode) -> Self {
        let engine = EngineOptions {
            threads: None,
            parallel_shards: None,
            wait_memory: Duration::ZERO,
            niceness: 0,
            release_memory: None,
            commands: Vec::new(),
            device: ProverDevice::Processor,
            gpus: Vec::new(),
        };
        Self { mode, name: None, health: None, tls: None, only_loopback: false, engine }
    }

    /// Sets the name that orchestrators show. Default: host name and port, or host name and process id for a joining
    /// worker.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Serves only orchestrators with a certificate, over TLS, and the health probes over HTTPS. Default: plain
    /// connections.
    #[must_use]
    pub fn tls(mut self, identity: Arc<TlsIdentity>) -> Self {
        self.tls = Some(identity);
        self
    }

    /// Lets a worker that joins its orchestrator without TLS dial only addresses of this machine. The address is looked
    /// up again at each connection, so a name can come to stand for another machine. Default: any address.
    #[must_use]
    pub fn only_loopback(mut self) -> Self {
        self.only_loopback = true;
        self
    }

    /// Opens a port at `listen` for health probes over HTTP. `GET /healthz` succeeds while the worker runs.
    /// `GET /readyz` succeeds while a prover is loaded and the worker takes new tasks. Default: no such port.
    #[must_use]
    pub fn health(mut self, listen: Address) -> Self {
        self.health = Some(listen);
        self
    }

    /// Sets the number of proving threads of each prover, at least 1. Default: the available cores, divided by the
    /// number of provers. SP1 proves on rayon's global thread pool, which belongs to the process. If the program has
    /// already created that pool, its size does not change.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.engine.threads = Some(threads.max(1));
        self
    }

    /// Sets how many shards each prover works on at a time, at least 1. Default: the best known number for the thread
    /// count.
    #[must_use]
    pub fn parallel_shards(mut self, shards: usize) -> Self {
        self.engine.parallel_shards = Some(shards.max(1));
        self
    }

    /// Sets how long to wait for enough free memory before loading fails. Default: no wait.
    #[must_use]
    pub fn wait_memory(mut self, wait: Duration) -> Self {
        self.engine.wait_memory = wait;
        self
    }

    /// Sets the function that returns freed memory to the system. It runs when the prover is idle, and when another
    /// worker on the machine waits for memory. Default: `malloc_trim`. Programs with their own allocator need another
    /// function.
    #[must_use]
    pub fn release_memory(mut self, release_memory: fn()) -> Self {
        self.engine.release_memory = Some(release_memory);
        self
    }

    /// Sets the commands that start prover processes. Each process must call [`serve_prover`]. If a prover process
    /// crashes, or if the kernel kills it because memory ran out, only its attempts end: the session continues and the
    /// process is started again. Without prover processes, the prover is in this process, and a crash of the prover
    /// ends the worker too.
    ///
    /// [`serve_prover`]: crate::serve_prover
    #[must_use]
    pub fn provers(mut self, commands: Vec<ProverCommand>) -> Self {
        self.engine.commands = commands;
        self
    }

    /// Sets the GPU of each prover process, in the order of the commands of [`WorkerBuilder::provers`]. Each of these
    /// commands must make only its GPU visible to the process (`CUDA_VISIBLE_DEVICES`), and the process must call
    /// [`serve_gpu_prover`]. Default: none, the provers compute on the processor.
    ///
    /// [`serve_gpu_prover`]: crate::serve_gpu_prover
    #[must_use]
    pub fn gpus(mut self, gpus: Vec<GpuDevice>) -> Self {
        self.engine.device = if gpus.is_empty() { ProverDevice::Processor } else { ProverDevice::Gpu };
        self.engine.gpus = gpus;
        self
    }

    /// Opens the port, if the worker listens, and starts to load the prover.
    ///
    /// # Errors
    /// If this processor lacks features that the program was compiled for, if the address is unknown or in use, or if
    /// the system refuses to create a thread. If the machine has too little memory for the prover,
    /// [`BoundWorker::serve`] returns the error.
    pub async fn bind(self) -> Result<BoundWorker, WorkerError> {
        // Later code may use instructions that this processor lacks.
        check_processor()?;
        warn_of_unused_feature();
        let threads = self.engine.threads();
        let place = match &self.mode {
            ConnectionMode::Listen(listen, _) => listen.port().to_string(),
            // The process id differs between workers on the same machine.
            ConnectionMode::Join(_) => std::process::id().to_string(),
        };
        let name = self.name.unwrap_or_else(|| default_name(&place));
        let (mode, health, tls, engine) = (self.mode, self.health, self.tls, self.engine);
        let only_loopback = self.only_loopback;
        let stop = WorkerStop::new();
        // From here, dropping this future stops everything that it has started.
        let guard = stop.now().clone().drop_guard();
        let (sender, receiver) = engine_state(start_estimate());
        let (bound, binding) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        let (stop_of_worker, for_worker) = (stop.clone(), receiver.clone());
        let work = move || {
            let token = stop_of_worker.now().clone();
            let introduction = introduction(name, threads, &engine);
            let serve = async move {
                let health = match &health {
                    None => None,
                    Some(listen) => match HealthPort::bind(listen).await {
                        Ok(port) => Some(port.secure(tls.clone())),
                        Err(error) => return drop(bound.send(Err(ServeError::from(error)))),
                    },
                };
                // The health port stays open until this future ends, also while the worker stops.
                let _health = health.map(|port| {
                    let serving = port.serve(for_worker.clone(), stop_of_worker.leaving().clone());
                    AbortOnDropHandle::new(tokio::spawn(serving))
                });
                let (listen, orchestrators) = match mode {
                    ConnectionMode::Listen(listen, orchestrators) => (listen, orchestrators),
                    ConnectionMode::Join(orchestrator) => {
                        if bound.send(Ok(None)).is_ok() {
                            let engine = tokio::spawn(start_engine(sender, engine, token.clone()));
                            let mut worker = JoiningWorker::new(orchestrator, introduction).secure(tls);
                            if only_loopback {
                                worker = worker.only_loopback();
                            }
                            let outcome = worker.serve(for_worker, stop_of_worker).await;
                            end_engine(engine, &token).await;
                            drop(done.send(outcome));
                        }
                        return;
                    }
                };
                let settings = WorkerSettings { listen, orchestrators, introduction };
                let worker = match ListeningWorker::bind(settings).await {
                    Ok(worker) => worker.secure(tls),
                    Err(error) => return drop(bound.send(Err(error))),
                };
                // Stop if the address is unknown or if the caller has dropped the future.
                let Ok(Ok(())) = worker.local_addr().map(|address| bound.send(Ok(Some(address)))) else { return };
                let engine = tokio::spawn(start_engine(sender, engine, token.clone()));
                let outcome = worker.serve(for_worker, stop_of_worker).await;
                end_engine(engine, &token).await;
                drop(done.send(outcome));
            };
            on_own_thread(serve)
        };
        let thread = Some(spawn("sp1d-worker", work)?);
        let address = match binding.await {
            Ok(address) => address?,
            Err(_) => return Err(WorkerError::ThreadEnded),
        };
        Ok(BoundWorker { address, state: receiver, outcome, _stop: guard, stop, thread })
    }
}

/// Runs a worker that listens on `listen_addr` and serves the orchestrators that `orchestrator_addr` names. The future
/// does not resolve when the port is open. It resolves when the worker can no longer serve. Dropping it stops the
/// worker.
///
/// `listen_addr` is `HOST:PORT`. `orchestrator_addr` is a filter: addresses, ranges and names separated by commas, or
/// `any`. Use [`WorkerBuilder`] to set threads and memory, and to stop the worker in an orderly way.
///
/// # Errors
/// If an address is malformed, the port cannot be opened, or the prover cannot be loaded.
pub async fn serve_worker(listen_addr: impl ToString, orchestrator_addr: impl ToString) -> Result<(), WorkerError> {
    let builder = WorkerBuilder::new(&listen_addr.to_string(), &orchestrator_addr.to_string())?;
    // Dropping this future drops the drop guard of the worker, which stops the worker.
    builder.bind().await?.serve(CancellationToken::new()).await
}
