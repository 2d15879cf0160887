//! The worker's role, for programs that take it: `sp1d worker` is one of them.

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

/// Serves the orchestrators that `orchestrator_addr` names on `listen_addr`, until the future is dropped or the worker
/// cannot go on: it does not resolve when the port is open, but when the worker has stopped.
///
/// `listen_addr` is `HOST:PORT`; `orchestrator_addr` is a filter of addresses, ranges and names separated by commas, or
/// `any`. For threads, memory and an orderly stop see [`WorkerBuilder`].
///
/// # Errors
/// When an address is none, the port cannot be opened, or the prover cannot be loaded.
pub async fn serve_worker(listen_addr: impl ToString, orchestrator_addr: impl ToString) -> Result<(), WorkerError> {
    let builder = WorkerBuilder::new(&listen_addr.to_string(), &orchestrator_addr.to_string())?;
    // Dropping this future drops the worker's guard, which stops it.
    builder.bind().await?.serve(CancellationToken::new()).await
}

/// Why a worker does not serve, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The address to listen on is none.
    #[error("the address to listen on: {0}")]
    Address(#[from] AddressError),
    /// The filter of orchestrators is none.
    #[error("the orchestrators to serve: {0}")]
    Filter(#[from] FilterError),
    /// The port cannot be opened, or the prover cannot be loaded.
    #[error(transparent)]
    Serve(#[from] worker::Error),
    /// The system gave no thread.
    #[error("cannot start the session's thread: {0}")]
    Thread(io::Error),
}

/// How a prover is loaded and run.
#[derive(Debug, Clone)]
struct EngineOptions {
    /// Proving threads; none for one on each core.
    threads: Option<usize>,
    parallel_shards: Option<usize>,
    wait_memory: Duration,
    /// How much less urgent proving is than the rest of the process, as `nice` counts.
    niceness: i32,
    /// How freed memory is given back; none for the engine's own way.
    give_back: Option<fn()>,
    /// Starts provers in processes of their own; empty for one in this process.
    commands: Vec<ProverCommand>,
}

impl EngineOptions {
    /// Proving threads in this process. Counts the cores it is pinned to, and those a control group allows.
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| (cores() / self.provers()).max(1))
    }

    fn provers(&self) -> usize {
        self.commands.len().max(1)
    }

    /// How each prover is set up.
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

/// How a worker and its orchestrator meet.
#[derive(Debug, Clone)]
enum Meeting {
    /// It listens, and serves those that the filter allows.
    Listen(Address, Filter),
    /// It calls the orchestrator at this address.
    Join(Address),
}

/// A worker with its settings.
#[derive(Debug, Clone)]
pub struct WorkerBuilder {
    meeting: Meeting,
    name: Option<String>,
    engine: EngineOptions,
}

impl WorkerBuilder {
    /// A worker that listens on `listen`, as `HOST:PORT`, and serves the orchestrators that `orchestrators` names:
    /// addresses, ranges and names separated by commas, or `any`.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub fn new(listen: &str, orchestrators: &str) -> Result<Self, WorkerError> {
        Ok(Self::at(listen.parse()?, orchestrators.parse()?))
    }

    /// As [`WorkerBuilder::new`], with both parsed.
    #[must_use]
    pub fn at(listen: Address, orchestrators: Filter) -> Self {
        Self::meeting(Meeting::Listen(listen, orchestrators))
    }

    /// A worker that calls the orchestrator at `orchestrator`, where that takes workers (`sp1d serve --join-listen`),
    /// and calls again whatever happens.
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

    /// The name that orchestrators show; by default the host's name and the port.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Threads that prove; by default one for each core. SP1 proves on rayon's global pool, which belongs to the
    /// process: when the program has made that pool already, its size stays as it is.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.engine.threads = Some(threads.max(1));
        self
    }

    /// Shards inside the prover at a time; by default what is known to be best for the number of threads.
    #[must_use]
    pub fn parallel_shards(mut self, shards: usize) -> Self {
        self.engine.parallel_shards = Some(shards.max(1));
        self
    }

    /// How long to wait for enough free memory before giving up; by default not at all.
    #[must_use]
    pub fn wait_memory(mut self, wait: Duration) -> Self {
        self.engine.wait_memory = wait;
        self
    }

    /// How memory that the prover has freed is given back to the system when it idles or another worker of the machine
    /// waits for some; `malloc_trim` by default. For programs with an allocator of their own.
    #[must_use]
    pub fn give_back(mut self, give_back: fn()) -> Self {
        self.engine.give_back = Some(give_back);
        self
    }

    /// Proves in a process of its own for each of `commands`, which call [`serve_prover`]. A prover that crashes, or
    /// that the kernel kills because memory ran out, then ends its attempts and nothing else: the session goes on, and
    /// the prover is started again. Without this the prover is in this process, and both end together.
    #[must_use]
    pub fn provers(mut self, commands: Vec<ProverCommand>) -> Self {
        self.engine.commands = commands;
        self
    }

    /// Opens the port, if it is to listen, and begins to load the prover.
    ///
    /// # Errors
    /// When the address is unknown or in use.
    pub async fn bind(self) -> Result<BoundWorker, WorkerError> {
        let threads = self.engine.threads();
        let place = match &self.meeting {
            Meeting::Listen(listen, _) => listen.port().to_string(),
            // Unlike those of its neighbours on the same machine.
            Meeting::Join(_) => std::process::id().to_string(),
        };
        let name = self.name.unwrap_or_else(|| default_name(&place));
        let (meeting, engine) = (self.meeting, self.engine);
        let stop = CancellationToken::new();
        // From here on: dropping this future stops what it has begun.
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
                // Nobody waits for a worker whose address is not known, or not wanted any more.
                let Ok(Ok(())) = worker.local_addr().map(|address| bound.send(Ok(Some(address)))) else { return };
                tokio::spawn(start_engine(sender, engine, token.clone()));
                drop(done.send(worker.serve(for_worker, token).await));
            };
            on_own_thread(serve)
        };
        let thread = Some(spawn("sp1d-worker", work)?);
        let address = match binding.await {
            Ok(address) => address?,
            Err(_) => return Err(WorkerError::Thread(io::Error::other("the worker's thread ended without a word"))),
        };
        Ok(BoundWorker { address, state: receiver, outcome, _stop: guard, stop, thread })
    }
}

/// A worker whose port, if it has one, is open and whose prover is loading. Stops when dropped.
pub struct BoundWorker {
    address: Option<SocketAddr>,
    state: watch::Receiver<EngineState>,
    outcome: oneshot::Receiver<Result<(), worker::Error>>,
    stop: CancellationToken,
    _stop: DropGuard,
    thread: Option<JoinHandle<()>>,
}

impl BoundWorker {
    /// Where it listens; `None` for one that joins.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// How far its prover is.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    /// Serves until `stop`, when it says goodbye to its orchestrator and ends. Dropping the future stops it too.
    ///
    /// # Errors
    /// When the prover cannot be loaded.
    pub async fn serve(mut self, stop: CancellationToken) -> Result<(), WorkerError> {
        let outcome = tokio::select! {
            outcome = &mut self.outcome => outcome,
            () = stop.cancelled() => {
                self.stop.cancel();
                (&mut self.outcome).await
            }
        };
        // It has nothing left to do but to let go of the prover.
        self.thread.take();
        match outcome {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(WorkerError::Thread(io::Error::other("the worker's thread ended without a word"))),
        }
    }
}

/// The worker inside an orchestrator's process. Stops when dropped.
pub(crate) struct EmbeddedWorker {
    _stop: DropGuard,
}

/// Starts a worker for the orchestrator of this process, and the way to it. It proves less urgently than the rest of
/// the process, and by default on one core less than there are, so that the executor keeps one. It waits for memory as
/// long as it takes: other workers may prove meanwhile.
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
        // Whoever waits for it is there.
        let _ = doors.send(door);
        let (sender, state) = engine_state(start_estimate());
        on_own_thread(async move {
            tokio::spawn(start_engine(sender, engine, token.clone()));
            if let Err(error) = worker.serve(state, token).await {
                tracing::warn!(%error, "this process does not prove: its prover could not be loaded");
            }
        });
    };
    let thread = spawn("sp1d-local", work);
    let _detached = thread.expect("the system gives threads");
    let door = door.await.expect("the worker's thread begins with it");
    (EmbeddedWorker { _stop: stop.drop_guard() }, door)
}

/// How much less urgent the local worker's proving is than the rest of the process, as `nice` counts: it gets what the
/// executor leaves.
const LOCAL_NICENESS: i32 = 5;

fn local_threads() -> usize {
    cores().saturating_sub(1).max(1)
}

/// Makes the process's pool of proving threads, as fits an orchestrator of `config`: first come, first served, and
/// SP1's own would let a panic end the process. One that exists already stays as it is.
pub fn start_proving_threads(config: &Config) {
    let started = if config.list.has_local() {
        start_thread_pool(config.local_threads.unwrap_or_else(local_threads), LOCAL_NICENESS)
    } else {
        start_thread_pool(cores(), 0)
    };
    if started.is_err() {
        tracing::debug!("the process has its proving threads already");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WorkerError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(WorkerError::Thread)
}

/// Runs a worker's session on this thread, which nothing heavy shares.
fn on_own_thread(serve: impl Future<Output = ()>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(serve);
            // An engine that is still starting is not waited for.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(%error, "start the worker's runtime"),
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

/// Starts the engine when it is this worker's turn and there is room, and says so all along.
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

/// Keeps provers in processes of their own running, and says all along how they are.
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

/// Serves the worker that started this process as one of its [`provers`](WorkerBuilder::provers), until it ends: the
/// standard input is the way to it. `threads` prove, `parallel_shards` shards at a time; `give_back` is what
/// [`WorkerBuilder::give_back`] takes.
///
/// # Errors
/// If the standard input is no socket, or the threads cannot be started.
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
        tracing::debug!("the process has its proving threads already");
    }
    let settings = options.settings();
    let path = StartLock::default_path();
    let lock = StartLock::take(&path, || {
        tracing::info!(
            "waiting for another prover on this machine to finish loading: two at once take too much memory"
        );
    });
    let lock = lock.await.map_err(|error| error.to_string())?;
    wait_for_memory(LOAD_BYTES, options.wait_memory).await.map_err(|error| error.to_string())?;
    let estimate = start_estimate();
    sender.send_replace(EngineState::Starting { ready_at: tokio::time::Instant::now() + estimate });
    tracing::info!(about_seconds = estimate.as_secs(), threads, parallel_shards = settings.slots, "loading the prover");
    let began = std::time::Instant::now();
    // The lock goes with the loader, which nothing interrupts.
    let load = move || {
        let _lock = lock;
        load_prover(settings)
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let engine =
        loaded.map_err(|_| "the prover's loader panicked".to_owned())?.map_err(|error| format!("{error:#}"))?;
    tracing::info!(seconds = began.elapsed().as_secs(), "prover ready");
    Ok(EngineState::Ready(engine))
}
