//! The worker role, for programs that are workers. `sp1d worker` is one of them.

use crate::distributed::config::Config;
use engine::{
    Equipment, LOAD_BYTES, ProverSettings, REST_BYTES, build_identity, load_prover, start_estimate, start_thread_pool,
};
use machine::Memory;
use protocol::{Address, AddressError, Filter, FilterError, wire::Machine};
use rustix::system::uname;
use std::{
    fs, io,
    net::SocketAddr,
    os::{fd::AsFd, unix::net::UnixStream},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use worker::{
    EngineState, Introduction, JoiningWorker, LocalDoor, LocalWorker, MemoryPlan, ProverCommand, ProverRules, Provers,
    Settings, StartLock, StateSender, Worker, engine_state, wait_for_memory,
};

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

/// Why a worker cannot start or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The address to listen on is malformed.
    #[error("invalid listen address: {0}")]
    Address(#[from] AddressError),
    /// The filter of orchestrators is malformed.
    #[error("invalid filter of orchestrators: {0}")]
    Filter(#[from] FilterError),
    /// The port cannot be opened, or the prover cannot be loaded.
    #[error(transparent)]
    Serve(#[from] worker::Error),
    /// The system refused to create the worker's thread, or the thread ended without a result.
    #[error("cannot run the worker's thread: {0}")]
    Thread(io::Error),
}

/// How a prover is loaded and run.
#[derive(Debug, Clone)]
struct EngineOptions {
    /// Proving threads of each prover. `None`: the available cores, divided by the number of provers.
    threads: Option<usize>,
    parallel_shards: Option<usize>,
    wait_memory: Duration,
    /// `nice` increment of the proving threads. A higher value means a lower priority than the rest of the process.
    niceness: i32,
    /// Returns freed memory to the system. `None`: the engine's default.
    give_back: Option<fn()>,
    /// Commands that start prover processes. Empty: the only prover is in this process.
    commands: Vec<ProverCommand>,
}

impl EngineOptions {
    /// Returns the proving threads of each prover. The default respects CPU affinity and control group limits.
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| (cores() / self.provers()).max(1))
    }

    fn provers(&self) -> usize {
        self.commands.len().max(1)
    }

    /// Returns the settings of each prover.
    fn settings(&self) -> ProverSettings {
        let mut settings = ProverSettings::for_threads(self.threads());
        settings.niceness = self.niceness;
        settings.give_back = self.give_back.unwrap_or(settings.give_back);
        if let Some(shards) = self.parallel_shards {
            (settings.slots, settings.permits) = (shards, shards);
        }
        settings
    }

    fn plan(&self) -> MemoryPlan {
        let stages = self.provers() * self.settings().permits;
        let rest_bytes = REST_BYTES * self.provers() as u64;
        MemoryPlan { rest_bytes, stages: u32::try_from(stages).unwrap_or(u32::MAX) }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How a worker and its orchestrator connect.
#[derive(Debug, Clone)]
enum Meeting {
    /// The worker listens and serves the orchestrators that the filter allows.
    Listen(Address, Filter),
    /// The worker dials the orchestrator at this address.
    Join(Address),
}

/// Settings of a worker. [`WorkerBuilder::bind`] starts it.
#[derive(Debug, Clone)]
pub struct WorkerBuilder {
    meeting: Meeting,
    name: Option<String>,
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
        Self::meeting(Meeting::Listen(listen, orchestrators))
    }

    /// Creates a worker that dials the orchestrator at `orchestrator` and redials after every failure. The orchestrator
    /// must accept such workers (`sp1d serve --join-listen`).
    #[must_use]
    pub fn joining(orchestrator: Address) -> Self {
        Self::meeting(Meeting::Join(orchestrator))
    }

    fn meeting(meeting: Meeting) -> Self {
        let engine = EngineOptions {
            threads: None,
            parallel_shards: None,
            wait_memory: Duration::ZERO,
            niceness: 0,
            give_back: None,
            commands: Vec::new(),
        };
        Self { meeting, name: None, engine }
    }

    /// Sets the name that orchestrators show. Default: host name and port, or host name and process id for a joining
    /// worker.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
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
    pub fn give_back(mut self, give_back: fn()) -> Self {
        self.engine.give_back = Some(give_back);
        self
    }

    /// Sets the commands that start prover processes. Each process must call [`serve_prover`]. If a prover process
    /// crashes, or if the kernel kills it because memory ran out, only its attempts end: the session continues and the
    /// process is started again. Without prover processes, the prover is in this process, and a crash of the prover
    /// ends the worker too.
    #[must_use]
    pub fn provers(mut self, commands: Vec<ProverCommand>) -> Self {
        self.engine.commands = commands;
        self
    }

    /// Opens the port, if the worker listens, and starts to load the prover.
    ///
    /// # Errors
    /// If the address is unknown or in use, or if the system refuses to create a thread.
    pub async fn bind(self) -> Result<BoundWorker, WorkerError> {
        let threads = self.engine.threads();
        let place = match &self.meeting {
            Meeting::Listen(listen, _) => listen.port().to_string(),
            // The process id differs between workers on the same machine.
            Meeting::Join(_) => std::process::id().to_string(),
        };
        let name = self.name.unwrap_or_else(|| default_name(&place));
        let (meeting, engine) = (self.meeting, self.engine);
        let stop = CancellationToken::new();
        // From here, dropping this future stops everything that it has started.
        let guard = stop.clone().drop_guard();
        let (sender, receiver) = engine_state(start_estimate());
        let (bound, binding) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        let (token, for_worker) = (stop.clone(), receiver.clone());
        let work = move || {
            let introduction = introduction(name, threads, &engine);
            let serve = async move {
                let (listen, orchestrators) = match meeting {
                    Meeting::Listen(listen, orchestrators) => (listen, orchestrators),
                    Meeting::Join(orchestrator) => {
                        if bound.send(Ok(None)).is_ok() {
                            tokio::spawn(start_engine(sender, engine, token.clone()));
                            let worker = JoiningWorker::new(orchestrator, introduction);
                            drop(done.send(worker.serve(for_worker, token).await));
                        }
                        return;
                    }
                };
                let settings = Settings { listen, orchestrators, introduction };
                let worker = match Worker::bind(settings).await {
                    Ok(worker) => worker,
                    Err(error) => return drop(bound.send(Err(error))),
                };
                // Stop if the address is unknown or if the caller has dropped the future.
                let Ok(Ok(())) = worker.local_addr().map(|address| bound.send(Ok(Some(address)))) else { return };
                tokio::spawn(start_engine(sender, engine, token.clone()));
                drop(done.send(worker.serve(for_worker, token).await));
            };
            on_own_thread(serve)
        };
        let thread = Some(spawn("sp1d-worker", work)?);
        let address = match binding.await {
            Ok(address) => address?,
            Err(_) => return Err(WorkerError::Thread(io::Error::other("it ended without a result"))),
        };
        Ok(BoundWorker { address, state: receiver, outcome, _stop: guard, stop, thread })
    }
}

/// A worker that has started. Its port, if it has one, is open, and its prover is loading. Dropping it stops the
/// worker.
pub struct BoundWorker {
    address: Option<SocketAddr>,
    state: watch::Receiver<EngineState>,
    outcome: oneshot::Receiver<Result<(), worker::Error>>,
    stop: CancellationToken,
    _stop: DropGuard,
    thread: Option<JoinHandle<()>>,
}

impl BoundWorker {
    /// Returns the address that the worker listens on. `None` for a worker that dials its orchestrator.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns a receiver for the state of the worker's prover.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    /// Serves until `stop` is cancelled. Then the worker says goodbye to its orchestrator and ends. Dropping the future
    /// also stops the worker.
    ///
    /// # Errors
    /// If the prover cannot be loaded, or if the worker's thread ends without a result.
    pub async fn serve(mut self, stop: CancellationToken) -> Result<(), WorkerError> {
        let outcome = tokio::select! {
            outcome = &mut self.outcome => outcome,
            () = stop.cancelled() => {
                self.stop.cancel();
                (&mut self.outcome).await
            }
        };
        // The thread only releases the prover now. Do not wait for that.
        self.thread.take();
        match outcome {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(WorkerError::Thread(io::Error::other("it ended without a result"))),
        }
    }
}

/// The worker inside the process of an orchestrator. Dropping it stops the worker.
pub(crate) struct EmbeddedWorker {
    _stop: DropGuard,
}

/// Starts a worker for the orchestrator of this process. Returns the worker and the door through which the orchestrator
/// connects. The worker proves with a lower priority than the rest of the process. By default it uses one core less
/// than available, so that the executor keeps one. It waits up to 24 hours for memory, because other workers may prove
/// meanwhile.
pub(crate) async fn local_worker(threads: Option<usize>) -> (EmbeddedWorker, LocalDoor) {
    let threads = threads.unwrap_or_else(local_threads);
    let engine = EngineOptions {
        threads: Some(threads),
        parallel_shards: None,
        wait_memory: Duration::from_secs(24 * 60 * 60),
        niceness: LOCAL_NICENESS,
        give_back: None,
        commands: Vec::new(),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let (doors, door) = oneshot::channel();
    let work = move || {
        let (worker, door) = LocalWorker::new(introduction(default_name("local"), threads, &engine));
        // This cannot fail: `local_worker` waits for the door.
        let _ = doors.send(door);
        let (sender, state) = engine_state(start_estimate());
        on_own_thread(async move {
            tokio::spawn(start_engine(sender, engine, token.clone()));
            if let Err(error) = worker.serve(state, token).await {
                tracing::warn!(%error, "local worker failed to load its prover: this process does not prove");
            }
        });
    };
    let thread = spawn("sp1d-local", work);
    let _detached = thread.expect("the system can create a thread");
    let door = door.await.expect("the worker's thread sends the door first");
    (EmbeddedWorker { _stop: stop.drop_guard() }, door)
}

/// `nice` increment of the local worker's proving threads: they get the CPU time that the executor leaves.
const LOCAL_NICENESS: i32 = 5;

fn local_threads() -> usize {
    cores().saturating_sub(1).max(1)
}

/// Creates the proving threads of this process for an orchestrator with `config`. Only the first call in a process has
/// an effect. Call this before any SP1 code runs: a panic in the thread pool that SP1 would create ends the process.
pub fn start_proving_threads(config: &Config) {
    let started = if config.list.has_local() {
        start_thread_pool(config.local_threads.unwrap_or_else(local_threads), LOCAL_NICENESS)
    } else {
        start_thread_pool(cores(), 0)
    };
    if started.is_err() {
        tracing::debug!("proving threads exist already");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WorkerError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(WorkerError::Thread)
}

/// Runs the session of a worker on the current thread, which does no heavy work.
fn on_own_thread(serve: impl Future<Output = ()>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(serve);
            // Do not wait for an engine that is still starting.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(%error, "cannot start the worker's runtime"),
    }
}

fn default_name(place: &str) -> String {
    format!("{}:{place}", uname().nodename().to_string_lossy())
}

fn introduction(name: String, threads: usize, engine: &EngineOptions) -> Introduction {
    let memory_bytes = Memory::now().map(|memory| memory.total_bytes);
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let model = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
    });
    let machine = Machine {
        threads: u32::try_from(threads * engine.provers()).unwrap_or(u32::MAX),
        memory_bytes: memory_bytes.unwrap_or(0),
        cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        provers: u32::try_from(engine.provers()).unwrap_or(u32::MAX),
    };
    let abilities = Equipment::of_this_machine(memory_bytes).abilities();
    Introduction { name, build: build_identity(), machine, abilities, plan: engine.plan() }
}

/// Starts the engine in this process or in prover processes, and publishes its state. In this process, the engine
/// starts when no other prover on the machine is loading and enough memory is free.
async fn start_engine(sender: StateSender, options: EngineOptions, stop: CancellationToken) {
    if !options.commands.is_empty() {
        return run_provers(sender, options, &stop).await;
    }
    let state = tokio::select! {
        () = stop.cancelled() => return,
        started = try_start(&sender, options) => started.unwrap_or_else(EngineState::Failed),
    };
    sender.send_replace(state);
}

/// Keeps the prover processes running, and publishes their state.
async fn run_provers(sender: StateSender, options: EngineOptions, stop: &CancellationToken) {
    let rules = ProverRules {
        slots: options.settings().slots,
        threads: options.threads(),
        needed_bytes: LOAD_BYTES,
        wait_memory: options.wait_memory,
        load_estimate: start_estimate(),
        start_lock: StartLock::default_path(),
    };
    let (mut states, processes) = Provers::start(options.commands, &rules, stop);
    while !stop.is_cancelled() {
        sender.send_replace(states.borrow_and_update().clone());
        if states.changed().await.is_err() {
            break;
        }
    }
    processes.wait().await;
}

/// Runs the prover of a prover process until the worker that started this process disconnects. The standard input is
/// the connection to the worker, see [`WorkerBuilder::provers`]. `threads` is the number of proving threads,
/// `parallel_shards` the number of shards at a time. `give_back` is described at [`WorkerBuilder::give_back`].
///
/// # Errors
/// If the standard input is not a socket, or the threads cannot be started.
pub async fn serve_prover(threads: usize, parallel_shards: Option<usize>, give_back: Option<fn()>) -> io::Result<()> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let options = EngineOptions {
        threads: Some(threads),
        parallel_shards,
        wait_memory: Duration::ZERO,
        niceness: 0,
        give_back,
        commands: Vec::new(),
    };
    start_thread_pool(threads, 0).map_err(io::Error::other)?;
    let load = move || load_prover(options.settings()).map_err(|error| format!("{error:#}"));
    worker::serve_prover(tokio::net::UnixStream::from_std(stream)?, load).await
}

async fn try_start(sender: &StateSender, options: EngineOptions) -> Result<EngineState, String> {
    let threads = options.threads();
    if start_thread_pool(threads, options.niceness).is_err() {
        tracing::debug!("proving threads exist already");
    }
    let settings = options.settings();
    let path = StartLock::default_path();
    let lock = StartLock::take(&path, || {
        tracing::info!("waiting for another prover on this machine to load: two at a time need too much memory");
    });
    let lock = lock.await.map_err(|error| error.to_string())?;
    wait_for_memory(LOAD_BYTES, options.wait_memory).await.map_err(|error| error.to_string())?;
    let estimate = start_estimate();
    sender.send_replace(EngineState::Starting { ready_at: tokio::time::Instant::now() + estimate });
    tracing::info!(about_seconds = estimate.as_secs(), threads, parallel_shards = settings.slots, "loading the prover");
    let began = std::time::Instant::now();
    // The loader cannot be interrupted, so it holds the lock until it ends.
    let load = move || {
        let _lock = lock;
        load_prover(settings)
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let engine =
        loaded.map_err(|_| "the prover panicked while loading".to_owned())?.map_err(|error| format!("{error:#}"))?;
    tracing::info!(seconds = began.elapsed().as_secs(), "prover ready");
    Ok(EngineState::Ready(engine))
}
