//! The public interface of the orchestrator.

use crate::{
    absent::{Absences, AbsentWorker},
    controller::{Cut, ProofController, ProofFailure, ProofOutput, ProofRequest},
    core::{Core, Input, scheduler_config},
    counts::Counts,
    dialler::{LocalConnector, keep_connected, serve_joined},
    evidence::Evidence,
    list::{Member, WorkerList},
    memo::Memo,
    progress::{Progress, WorkerShare},
    proof::{ProofHandle, ProofState},
    shared::{Shared, Worker, proof_scope},
    text::one_line,
};
use futures::future::join_all;
use protocol::{Build, Filter};
use scheduler::{Event, Placement, ProofId, TaskKind, WorkerId};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Maximum wait for the execution of a failed proof to end. An audit of unverified results may take longer.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Maximum number of attempts that a worker may hold at a time. A worker rejects attempts beyond
/// `protocol::Limits::HELD_ATTEMPTS`, which is larger, and no worker needs this many.
pub const MOST_SHARDS: u32 = 128;

/// Settings of an orchestrator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The orchestrator's build. A worker is refused if its SP1 version, its circuits or its SP1 features differ.
    pub build: Build,
    /// Maximum number of attempts that a worker holds at a time for each of its provers, from assignment to report. 1
    /// uses the least memory. A worker never holds more than [`MOST_SHARDS`].
    pub shard_batch_size: u32,
    /// Whether all workers share the work, or as few workers as finish equally early.
    pub placement: Placement,
    /// Interval between two heartbeats.
    pub heartbeat: Duration,
    /// Number of heartbeats that may be missed before a side closes the session.
    pub missed_heartbeats: u32,
    /// How long a proof waits before it fails, while no worker is connected or while no connected worker supports a
    /// task kind that the proof waits for.
    pub patience: Duration,
    /// Memory and disk limits of the artifact store.
    pub store: artifacts::Limits,
    /// Which results are verified before they are used.
    pub verify: Verify,
    /// A task, and its proof with it, fails for good after it has failed on this many different workers. If fewer
    /// workers support the task, this many failures in total are enough. A rejected result counts as a failure. At
    /// least 1.
    pub max_failures: u32,
    /// A task, and its proof with it, fails for good after this many different workers were lost while they proved it.
    /// If fewer workers support the task, this many losses in total are enough. At least 1.
    pub max_losses: u32,
    /// What happens to a proof if no connected worker supports a task kind that it needs. If true, the proof waits up
    /// to `patience` for a worker that does. If false, it fails before it starts. A proof always waits up to `patience`
    /// if no worker at all is connected.
    pub waits_for_abilities: bool,
    /// The highest attempt number that an earlier run of this orchestrator assigned; 0 if there is none. Artifact names
    /// contain attempt numbers, and with a result cache they must not repeat.
    pub attempts_before: u64,
    /// Shared by all orchestrators that continue each other's proofs, one after another. Workers resume attempts that
    /// an earlier orchestrator with the same lineage assigned. `None` for an orchestrator without predecessor or
    /// successor. Requires a result cache.
    pub lineage: Option<[u8; 16]>,
}

impl Settings {
    /// Returns the defaults for `build`: two attempts per prover, spread placement, a heartbeat every second of which
    /// three may be missed, 60 s of patience, a quarter of the memory for artifacts, every result verified, three
    /// failures and five losses.
    #[must_use]
    pub fn new(build: Build) -> Self {
        Self {
            build,
            shard_batch_size: 2,
            placement: Placement::Spread,
            heartbeat: Duration::from_secs(1),
            missed_heartbeats: 3,
            patience: Duration::from_secs(60),
            store: artifacts::Limits::of_host(),
            verify: Verify::All,
            max_failures: 3,
            max_losses: 5,
            waits_for_abilities: false,
            attempts_before: 0,
            lineage: None,
        }
    }

    /// Returns the duration of silence after which a side closes the session.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heartbeat * self.missed_heartbeats.max(1)
    }
}

/// A worker of the list that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Its entry in the list.
    pub worker: Member,
    /// Why it could not be reached.
    pub reason: String,
}

/// No worker of the list could be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot reach any worker of the list: {}\nhint: start the workers with `sp1d worker`, or correct the list", Listed(.0))]
pub struct ConnectError(pub Vec<Unreachable>);

struct Listed<'a>(&'a [Unreachable]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Unreachable { worker, reason }) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{worker} ({reason})")?;
        }
        Ok(())
    }
}

/// Which results are verified before they are used. The finished proof is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Every result is verified when it arrives. This takes about 50 ms on one core of the orchestrator. The task of a
    /// wrong result is retried on another worker, and the fault is recorded for the worker that sent it.
    #[default]
    All,
    /// Only the finished proof is verified. If it is wrong, the results are verified to find the workers that sent
    /// wrong ones. Their faults are recorded, and the proof restarts with every result verified when it arrives. This
    /// suits trusted workers, and orchestrators with few cores. Results stay in the store until the proof ends, unless
    /// the store needs their room for the running work.
    Final,
}

impl Verify {
    /// All policies, the default first.
    pub const ALL: [Self; 2] = [Self::All, Self::Final];

    /// Returns the stable name that configurations and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Final => "final",
        }
    }
}

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub name: String,
    /// Its address; `local` for the worker in this process; `joined from ADDRESS` for a worker that joined.
    pub address: String,
    /// True if its prover is loaded.
    pub ready: bool,
    /// Number of threads that prove, as the worker reports it.
    pub threads: u32,
    /// Memory of its machine in bytes, as the worker reports it; 0 if unknown.
    pub memory_bytes: u64,
    /// Its processor, as the worker reports it.
    pub cpu: String,
    /// Task kinds that it supports.
    pub kinds: Vec<TaskKind>,
    /// Maximum number of attempts that it may hold.
    pub slots: u32,
    /// Number of attempts that it holds.
    pub holds: usize,
    /// Number of its results that were accepted since it connected.
    pub done: u64,
    /// Number of its attempts that failed or whose result was rejected since it connected.
    pub faults: u64,
    /// True if it was drained. It then receives no tasks until it is resumed.
    pub drained: bool,
    /// Why it is quarantined; `None` if it is not quarantined.
    pub quarantine: Option<String>,
}

/// No connected worker has this name or address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown worker {wanted}; connected workers: {}", Joined(connected))]
pub struct UnknownWorker {
    /// The name or address that the caller passed.
    pub wanted: String,
    /// Names of the connected workers.
    pub connected: Vec<String>,
}

struct Joined<'a>(&'a [String]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// Maximum number of restarts of a proof.
const MOST_RESTARTS: u32 = 2;

/// The input of one run of a proof.
struct Begun {
    request: ProofRequest,
    controller: Arc<dyn ProofController>,
    verify: Verify,
    evidence: Arc<Evidence>,
    deadline: Option<Instant>,
}

/// A finished proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The output of the controller.
    pub output: ProofOutput,
    /// Number of shards.
    pub shards: u64,
    /// Number of tasks that each worker completed.
    pub workers: Vec<WorkerShare>,
}

/// Resources that an orchestrator holds for its proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Number of running proofs.
    pub proofs: usize,
    /// Number of attempts without an outcome.
    pub attempts: usize,
    /// Number of artifacts.
    pub artifacts: usize,
    /// Size of the artifacts in memory and on disk, in compressed bytes.
    pub bytes: u64,
}

/// The workers of the list, each with the token that ends its connection.
type Members = BTreeMap<Member, CancellationToken>;

/// Connections to workers, and the proofs that run on them. Dropping it ends all of them; [`Orchestrator::shutdown`]
/// also waits until they have ended.
pub struct Orchestrator {
    shared: Arc<Shared>,
    members: Mutex<Members>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Orchestrator {
    /// Connects to all workers of `list` at the same time. Workers that cannot be reached cause a warning and are
    /// retried as long as the orchestrator exists. `local` connects to the worker of this process, for the entry
    /// `local` in the list.
    ///
    /// All sessions run on the runtime that polls this future. [`Orchestrator::prove`] may be called from another
    /// runtime.
    ///
    /// # Errors
    /// Fails if no worker can be reached.
    pub async fn connect(
        list: &WorkerList,
        settings: Settings,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, ConnectError> {
        let orchestrator = Self::start(settings, local, None);
        let outcomes = join_all(orchestrator.call(list)).await;
        let mut unreachable = Vec::new();
        for (worker, outcome) in list.0.iter().zip(outcomes) {
            let reason = match outcome {
                Ok(Ok(name)) => {
                    tracing::info!(%name, %worker, "worker reached");
                    continue;
                }
                Ok(Err(reason)) => reason,
                Err(_) => "the task of the connection ended".to_owned(),
            };
            tracing::warn!(%worker, %reason, "worker left out: cannot connect");
            unreachable.push(Unreachable { worker: worker.clone(), reason });
        }
        if unreachable.len() == list.0.len() {
            orchestrator.shutdown().await;
            return Err(ConnectError(unreachable));
        }
        Ok(orchestrator)
    }

    /// Starts an orchestrator without workers, for a process that outlives its worker list. See
    /// [`Orchestrator::set_list`] and [`Orchestrator::serve_joining`]. Tasks whose results are in `memo` are not proven
    /// again.
    ///
    /// All sessions run on the runtime in which this function is called.
    ///
    /// # Panics
    /// Panics if it is called outside a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings, local: Option<Arc<dyn LocalConnector>>, memo: Option<Arc<dyn Memo>>) -> Self {
        let (inbox, inputs) = mpsc::channel(4096);
        let config = scheduler_config(&settings);
        let shared = Arc::new(Shared::new(settings, local, memo, inbox, Handle::current()));
        let orchestrator = Self {
            shared: shared.clone(),
            members: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let core = Core::new(shared, config);
        orchestrator.tasks.spawn(core.run(inputs, orchestrator.stop.clone()));
        orchestrator
    }

    /// Connects to the workers of `list` from now on, and ends the sessions with workers that are no longer in it.
    /// Returns the new workers in the order of the list. Each has a receiver for the outcome of the first connection:
    /// the worker's name, or why the worker cannot be reached.
    pub fn set_list(&self, list: &WorkerList) -> Vec<(Member, oneshot::Receiver<Result<String, String>>)> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member, end| {
            let stays = list.0.contains(member);
            if !stays {
                tracing::info!(worker = %member, "worker removed from the list");
                let mut absences = self.shared.absences();
                end.cancel();
                absences.remove(member, "");
            }
            stays
        });
        let new: Vec<&Member> = list.0.iter().filter(|member| !members.contains_key(member)).collect();
        let call = |member: &Member| {
            let (first, outcome) = oneshot::channel();
            let end = self.stop.child_token();
            members.insert(member.clone(), end.clone());
            self.tasks.spawn(keep_connected(member.clone(), self.shared.clone(), first, end));
            (member.clone(), outcome)
        };
        new.into_iter().map(call).collect()
    }

    fn call(&self, list: &WorkerList) -> Vec<oneshot::Receiver<Result<String, String>>> {
        self.set_list(list).into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Accepts workers that join through `listener`, from the addresses in `allowed`, until the orchestrator ends.
    pub fn serve_joining(&self, listener: TcpListener, allowed: Filter) {
        let (shared, stop, sessions) = (self.shared.clone(), self.stop.clone(), self.tasks.clone());
        let allowed = Arc::new(allowed);
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        let (allowed, shared, stop) = (allowed.clone(), shared.clone(), stop.child_token());
                        sessions.spawn(async move { serve_joined(stream, peer, &allowed, shared, stop).await });
                    }
                    Err(error) => {
                        // The process is probably out of file descriptors, which become free when connections end.
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }

    /// Removes a worker, given by name or address: ends its session if it is connected, and no longer lists it if it is
    /// disconnected. A worker that joined by itself may join again. A worker of the list is connected again when the
    /// list is set the next time.
    ///
    /// # Errors
    /// Fails if no such worker is known.
    pub fn forget(&self, worker: &str) -> Result<(), UnknownWorker> {
        // An address selects a disconnected worker first, and a name selects a connected worker first.
        if self.forget_absent(|absences| absences.forget_at(worker)) {
            return Ok(());
        }
        let id = match self.session_of(worker) {
            Ok(id) => id,
            Err(unknown) => {
                return if self.forget_absent(|absences| absences.forget(worker)) { Ok(()) } else { Err(unknown) };
            }
        };
        let Some(worker) = self.shared.worker(id) else { return Ok(()) };
        worker.let_go.store(true, Ordering::Relaxed);
        match self.members.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker.address) {
            Some(end) => end.cancel(),
            None => worker.closer.close(),
        }
        Ok(())
    }

    /// Removes the disconnected worker that `forget` selects, and stops connecting to it. Returns false if `forget`
    /// selects none.
    fn forget_absent(&self, forget: impl FnOnce(&mut Absences) -> Option<Option<Member>>) -> bool {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        // Locked until no one connects to the worker any more, so that a failed connection does not list it again.
        let mut absences = self.shared.absences();
        let Some(absent) = forget(&mut absences) else { return false };
        if let Some(end) = absent.and_then(|member| members.remove(&member)) {
            end.cancel();
        }
        true
    }

    /// Does the same as [`Orchestrator::shutdown`], for a shared orchestrator. With a lineage, it tells the workers to
    /// keep their attempts for the next orchestrator.
    pub async fn end(&self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all sessions and proofs, and waits until all their tasks have ended.
    pub async fn shutdown(self) {
        self.end().await;
    }

    /// Returns what is held now for all proofs. Soon after the last proof has ended, nothing is held.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let stats = self.shared.store.stats();
        Holdings {
            proofs: self.shared.proofs().len(),
            attempts: self.shared.attempts().len(),
            artifacts: stats.artifacts,
            bytes: stats.bytes,
        }
    }

    /// Returns the counters since the orchestrator started.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.now()
    }

    /// Returns the connected workers in the order in which they connected.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let mut held: BTreeMap<WorkerId, usize> = BTreeMap::new();
        for attempt in self.shared.attempts().values() {
            *held.entry(attempt.worker).or_default() += 1;
        }
        let info = |(id, worker): (&WorkerId, &Arc<Worker>)| WorkerInfo {
            name: worker.name.clone(),
            address: worker.address.to_string(),
            ready: worker.ready.load(Ordering::Relaxed),
            threads: worker.threads,
            slots: worker.slots,
            memory_bytes: worker.memory_bytes,
            cpu: worker.cpu.clone(),
            kinds: worker.kinds.iter().collect(),
            holds: held.get(id).copied().unwrap_or(0),
            done: worker.done.load(Ordering::Relaxed),
            faults: worker.faults.load(Ordering::Relaxed),
            drained: worker.drained.load(Ordering::Relaxed),
            quarantine: worker.quarantine().clone(),
        };
        self.shared.workers().iter().map(info).collect()
    }

    /// Returns the disconnected workers: those that left, and those of the list that cannot be reached. A worker that
    /// had joined by itself stays listed for ten minutes.
    #[must_use]
    pub fn absent_workers(&self) -> Vec<AbsentWorker> {
        self.shared.absences().list(SystemTime::now())
    }

    fn mark_drained(&self, worker: WorkerId, drained: bool) {
        if let Some(worker) = self.shared.worker(worker) {
            worker.drained.store(drained, Ordering::Relaxed);
        }
    }

    fn session_of(&self, worker: &str) -> Result<WorkerId, UnknownWorker> {
        let workers = self.shared.workers();
        let is_it = |found: &Arc<Worker>| found.name == worker || found.address.to_string() == worker;
        let found = workers.iter().find(|(_, found)| is_it(found)).map(|(id, _)| *id);
        found.ok_or_else(|| UnknownWorker {
            wanted: worker.to_owned(),
            connected: workers.values().map(|worker| worker.name.clone()).collect(),
        })
    }

    /// Drains `worker`, given by name or address: it finishes the attempts that it proves and receives no more.
    /// Attempts that only wait there go to other workers. Resolves when the worker holds no attempt, when it is
    /// disconnected, or when it is resumed. It stays drained until [`Orchestrator::resume`], or until it reconnects.
    ///
    /// # Errors
    /// Fails if no such worker is connected.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. While the dispatcher has no room for the request, it also withdraws the
    /// request.
    pub async fn drain(&self, worker: &str) -> Result<(), UnknownWorker> {
        let worker = self.session_of(worker)?;
        // If the dispatcher has ended, no worker receives tasks any more.
        let Ok(place) = self.shared.inbox.reserve().await else { return Ok(()) };
        let (drained, wait) = oneshot::channel();
        // No wait separates these two, so the registry and the scheduler agree even if this future is dropped.
        self.mark_drained(worker, true);
        place.send(Input::Drain { worker, drained });
        // If the dispatcher ends, it drops `drained`, which ends the wait.
        let _ = wait.await;
        Ok(())
    }

    /// Allows a drained worker to receive tasks again.
    ///
    /// # Errors
    /// Fails if no such worker is connected.
    ///
    /// # Cancel safety
    /// Dropping the future before it resolves changes nothing.
    pub async fn resume(&self, worker: &str) -> Result<(), UnknownWorker> {
        let worker = self.session_of(worker)?;
        let Ok(place) = self.shared.inbox.reserve().await else { return Ok(()) };
        self.mark_drained(worker, false);
        place.send(Input::Event(Event::WorkerResumed { worker }));
        Ok(())
    }

    /// Runs `request` through `controller` on the connected workers, until it ends or `cancel` is cancelled. Sends
    /// progress reports to `progress`.
    ///
    /// A proof restarts at most twice, and its timeout counts from the first start. It restarts in these cases:
    /// - Its execution was interrupted from outside.
    /// - A shard needs more memory than any worker has. The run is then cut into smaller shards.
    /// - It used cached results that may be wrong. They are removed from the result cache.
    /// - It does not verify, or a part of it is wrong, and its results were not verified. They are then verified.
    /// - It does not verify although its results do, or a precompile shard could not be proven. Then two workers must
    ///   agree on the deferred events of each core shard.
    ///
    /// # Errors
    /// Returns why there is no proof.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        controller: Arc<dyn ProofController>,
        progress: broadcast::Sender<Progress>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        // A deadline beyond the range of the clock counts as no deadline.
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (mut verify, mut restarts) = (self.shared.settings.verify, 0);
        let mut request = request;
        let evidence = Arc::new(Evidence::default());
        loop {
            let begun = Begun {
                request: request.clone(),
                controller: controller.clone(),
                verify,
                evidence: evidence.clone(),
                deadline,
            };
            let (options, outcome) = self.prove_once(begun, progress.clone(), &cancel).await;
            let failure = match outcome {
                Err(failure) if restarts < MOST_RESTARTS => failure,
                Err(ProofFailure::Interrupted(reason)) => return Err(ProofFailure::Host(reason)),
                outcome => return outcome,
            };
            let mut smaller = None;
            let reason = match &failure {
                ProofFailure::Interrupted(reason) => reason.clone(),
                ProofFailure::Memory(reason) => {
                    let reason = one_line(reason);
                    let Some(cut) = controller.smaller_cut(&options) else { return Err(failure) };
                    request.options.clone_from(&cut.options);
                    let text = format!("{reason}; the run is cut into smaller shards: {}", cut.name);
                    smaller = Some((cut, reason));
                    text
                }
                // The cached results may be wrong. `prove_once` has removed them from the result cache.
                ProofFailure::Unverified(_) | ProofFailure::Internal(_) if evidence.take_recalled() => {
                    failure.to_string()
                }
                ProofFailure::Task { .. } if evidence.is_suspect() && evidence.take_recalled() => failure.to_string(),
                ProofFailure::Unverified(_) if verify == Verify::Final => {
                    verify = Verify::All;
                    failure.to_string()
                }
                // A wrong result can cause any of these failures.
                ProofFailure::Task { .. } | ProofFailure::Internal(_)
                    if verify == Verify::Final && evidence.has_wrong_part() =>
                {
                    verify = Verify::All;
                    failure.to_string()
                }
                // The results are right but the proof is not, or a shard cannot be made from the claimed deferred
                // events.
                ProofFailure::Unverified(_) if evidence.may_tell_of_the_whole() => {
                    evidence.compare();
                    failure.to_string()
                }
                ProofFailure::Task { .. } if evidence.may_tell_of_a_part() => {
                    evidence.compare();
                    failure.to_string()
                }
                _ => return Err(failure),
            };
            restarts += 1;
            let reason = one_line(&reason);
            tracing::warn!(proof_id = request.label, %reason, restarts, "proof restarts");
            let _ = progress.send(Progress::Restarted { reason });
            if let Some((Cut { options, name }, reason)) = smaller {
                let _ = progress.send(Progress::Cut { name, reason, options });
            }
        }
    }

    /// Runs a proof once. Also returns the options with which its run was cut.
    async fn prove_once(
        &self,
        begun: Begun,
        progress: broadcast::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> (String, Result<Proven, ProofFailure>) {
        let Begun { request, controller, verify, evidence, deadline } = begun;
        let id = ProofId(self.shared.next_proof.fetch_add(1, Ordering::Relaxed));
        let state = Arc::new(ProofState::new(id, &request, controller.clone(), verify, evidence, progress));
        let proof = Running { state: state.clone(), shared: self.shared.clone() };
        self.shared.proofs().insert(id, state.clone());
        let started = Input::Event(Event::ProofStarted { proof: id });
        if self.shared.inbox.send(started).await.is_err() {
            return (String::new(), Err(ProofFailure::Cancelled));
        }
        let timeout = request.timeout.zip(deadline);
        let handle = ProofHandle { state: state.clone(), shared: self.shared.clone() };
        let mut run = controller.run(handle, request);
        let failure = tokio::select! {
            outcome = &mut run => Err(outcome),
            () = cancel.cancelled() => Ok(ProofFailure::Cancelled),
            () = self.stop.cancelled() => Ok(ProofFailure::Cancelled),
            () = state.over.cancelled() => Ok(ProofFailure::Cancelled),
            failure = out_of_time(timeout) => Ok(failure),
            failure = out_of_workers(&self.shared, &state) => Ok(failure),
        };
        let outcome = match failure {
            Err(outcome) => outcome,
            Ok(failure) => {
                // The first cause is kept. The run ends by itself, so that its child process and its shared memory are
                // gone before the failure is reported.
                state.fail(failure.clone());
                state.board.close();
                let too_long = async {
                    sleep(LONGEST_END).await;
                    // An audit of unverified results may take longer, as long as the caller still waits for the proof.
                    tokio::select! {
                        () = state.searched() => {}
                        () = cancel.cancelled() => {}
                        () = self.stop.cancelled() => {}
                        _ = out_of_time(timeout) => {}
                    }
                };
                tokio::select! {
                    _ = run => {}
                    () = too_long => {
                        tracing::warn!(proof_id = state.label, "execution of a failed proof did not end in time and was abandoned");
                    }
                }
                Err(failure)
            }
        };
        let outcome = match state.failure() {
            Some(failure) => Err(failure),
            None => outcome,
        };
        drop(proof);
        let is_doubtful = match &outcome {
            // A part of the proof may be wrong although each part was checked.
            Err(ProofFailure::Unverified(_) | ProofFailure::Internal(_)) => !self.stop.is_cancelled(),
            Err(ProofFailure::Task { .. }) => state.evidence.is_suspect(),
            Ok(_) | Err(_) => false,
        };
        if let (Some(memo), true) = (&self.shared.memo, is_doubtful) {
            let (memo, keys) = (memo.clone(), state.memo_keys());
            let _ = tokio::task::spawn_blocking(move || memo.forget(&keys)).await;
        }
        let proven = |output| Proven { output, shards: state.shards.load(Ordering::Relaxed), workers: state.shares() };
        (state.options().to_owned(), outcome.map(proven))
    }
}

async fn out_of_time(timeout: Option<(Duration, Instant)>) -> ProofFailure {
    match timeout {
        Some((timeout, deadline)) => {
            sleep_until(deadline).await;
            ProofFailure::Timeout(timeout)
        }
        None => std::future::pending().await,
    }
}

/// Resolves once, for the whole of `Settings::patience`, no worker was connected, or no connected worker supported a
/// task kind that the proof waits for.
async fn out_of_workers(shared: &Shared, proof: &ProofState) -> ProofFailure {
    let (mut alone_since, mut stuck_since) = (None, None);
    loop {
        sleep(Duration::from_millis(250)).await;
        match TaskKind::ALL.into_iter().filter(|kind| proof.waits_for(*kind)).find_map(|kind| {
            let reasons = shared.inability(kind)?;
            Some((kind, reasons))
        }) {
            Some((kind, reasons)) => {
                let since = *stuck_since.get_or_insert_with(|| {
                    tracing::warn!(%kind, ?reasons, "no connected worker supports this task kind: waiting for one");
                    Instant::now()
                });
                if since.elapsed() >= shared.settings.patience {
                    return ProofFailure::Unable { kind, reasons };
                }
            }
            None => stuck_since = None,
        }
        if !shared.workers().is_empty() {
            alone_since = None;
            continue;
        }
        let since = *alone_since.get_or_insert_with(|| {
            tracing::warn!(last = %shared.last_departure(), "no worker is connected: waiting for one");
            Instant::now()
        });
        if since.elapsed() >= shared.settings.patience {
            return ProofFailure::NoWorkers { waited: since.elapsed(), last: shared.last_departure().clone() };
        }
    }
}

/// Cleans up when the proof ends, also when its future is dropped.
struct Running {
    state: Arc<ProofState>,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.over.cancel();
        self.state.board.close();
        self.state.end_progress();
        self.shared.proofs().remove(&self.state.id);
        self.shared.store.remove_scope(proof_scope(self.state.id));
        let (shared, state) = (self.shared.clone(), self.state.clone());
        if let Err(mpsc::error::TrySendError::Full(input)) = shared.inbox.try_send(Input::End(state)) {
            // The inbox of the dispatcher is full. Wait for room in the background, on the runtime of the dispatcher,
            // because this value may be dropped outside a runtime.
            let runtime = shared.runtime.clone();
            runtime.spawn(async move { shared.inbox.send(input).await });
        }
    }
}
