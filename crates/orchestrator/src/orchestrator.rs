//! The orchestrator as its users hold it.

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
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest wait for a failed proof's execution to end.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Most attempts that a worker may hold at a time: it drops more than it can count, and nobody needs as many.
pub const MOST_SHARDS: u32 = 128;

/// How an orchestrator behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it proves with; workers must have the same.
    pub build: Build,
    /// Attempts that a worker may hold at a time for each of its provers, from assignment to report: 1 for the least
    /// memory. A worker holds at most [`MOST_SHARDS`].
    pub shard_batch_size: u32,
    /// Whether all workers share the work, or as few as finish as early.
    pub placement: Placement,
    /// Time between signs of life.
    pub heartbeat: Duration,
    /// Signs of life that may be missed before a side gives the other up.
    pub missed_heartbeats: u32,
    /// How long a proof waits when no worker at all is connected.
    pub patience: Duration,
    /// What artifacts may take of memory and disk.
    pub store: artifacts::Limits,
    /// Which results are verified before anything is built on them.
    pub verify: Verify,
    /// Reported failures and rejected results after which a task fails for good, and its proof with it; at least 1.
    pub max_failures: u32,
    /// Workers lost with a task after which it fails for good; at least 1.
    pub max_losses: u32,
    /// Whether a proof that nobody who is connected can finish waits for somebody who can, as long as it does when
    /// nobody is connected, or fails before it begins.
    pub waits_for_abilities: bool,
    /// The highest number of an attempt that was ever given before, 0 for none: with a memo, names of artifacts must
    /// not come again.
    pub attempts_before: u64,
    /// The same for all orchestrators that go on with each other's proofs, one after another: workers go on with what
    /// an earlier one gave them. Nothing for one that comes after none. Takes a memo.
    pub lineage: Option<[u8; 16]>,
}

impl Settings {
    /// The defaults for `build`: two attempts, spread, heartbeats of a second of which three may be missed, a minute of
    /// patience, a quarter of the memory for artifacts, every result verified, three failures and five losses.
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

    /// Silence after which the other side is given up.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heartbeat * self.missed_heartbeats.max(1)
    }
}

/// A worker that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Which one.
    pub worker: Member,
    /// Why it was not reached.
    pub reason: String,
}

/// No worker of the list could be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("none of the {} workers can be reached: {}; start them with `sp1d worker`, or correct the list", .0.len(), Listed(.0))]
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

/// Which results are verified before anything is built on them. The finished proof always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Every one, as it comes: some 50 ms of a core of the orchestrator's for each. What is wrong is done again
    /// elsewhere, and who sent it is blamed.
    #[default]
    All,
    /// None but the finished proof. When that does not verify the parts are, those who delivered wrong ones are blamed,
    /// and the whole is proven again with every part verified as it comes: for pools whose workers are trusted, and
    /// orchestrators with few cores. Results stay in the store until the proof's end, as long as there is room for what
    /// is under way.
    Final,
}

impl Verify {
    /// Every policy, the default first.
    pub const ALL: [Self; 2] = [Self::All, Self::Final];

    /// Stable name, as configurations and logs show it.
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
    /// Where it was reached.
    pub address: String,
    /// Its prover is loaded.
    pub ready: bool,
    /// Threads that prove, as it says.
    pub threads: u32,
    /// Memory of its machine in bytes, as it says; 0 for unknown.
    pub memory_bytes: u64,
    /// Its processor, as it says.
    pub cpu: String,
    /// Kinds of tasks that it does.
    pub kinds: Vec<TaskKind>,
    /// Attempts that it may hold.
    pub slots: u32,
    /// Attempts that it holds.
    pub holds: usize,
    /// Tasks whose result counted, since it connected.
    pub done: u64,
    /// Attempts that failed or came out wrong, since it connected.
    pub faults: u64,
    /// It gets nothing more, until it is resumed.
    pub drained: bool,
    /// Why it gets nothing for a while, if so.
    pub quarantine: Option<String>,
}

/// No connected worker has this name or address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no worker {wanted} is connected; those that are: {}", Joined(connected))]
pub struct UnknownWorker {
    /// What was asked for.
    pub wanted: String,
    /// Names of those that are connected.
    pub connected: Vec<String>,
}

struct Joined<'a>(&'a [String]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// Times that a proof is begun again.
const MOST_RESTARTS: u32 = 2;

/// What a run of a proof begins with.
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
    /// What the controller made.
    pub output: ProofOutput,
    /// Shards it was made of.
    pub shards: u64,
    /// Who did how much.
    pub workers: Vec<WorkerShare>,
}

/// What an orchestrator holds for its proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Running proofs.
    pub proofs: usize,
    /// Attempts whose outcome is open.
    pub attempts: usize,
    /// Artifacts.
    pub artifacts: usize,
    /// Bytes of artifacts in memory, compressed.
    pub bytes: u64,
}

/// Who is in the pool by the list, each with what ends its connection.
type Members = BTreeMap<Member, CancellationToken>;

/// Connections to workers, and the proofs that run on them. Everything ends when it is dropped;
/// [`Orchestrator::shutdown`] also waits for it.
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
    /// Connects to all workers of `list` at the same time. Those that cannot be reached are warned about and tried
    /// again as long as the orchestrator lives. `local` is the way to the worker of this process, for the list's entry
    /// `local`.
    ///
    /// All sessions live on the runtime that polls this future; [`Orchestrator::prove`] may be called from another.
    ///
    /// # Errors
    /// When none can be reached.
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
                Err(_) => "the connection's task ended".to_owned(),
            };
            tracing::warn!(%worker, %reason, "worker left out: it cannot be reached");
            unreachable.push(Unreachable { worker: worker.clone(), reason });
        }
        if unreachable.len() == list.0.len() {
            orchestrator.shutdown().await;
            return Err(ConnectError(unreachable));
        }
        Ok(orchestrator)
    }

    /// An orchestrator without workers, for one that lives longer than its list: see [`Orchestrator::set_list`] and
    /// [`Orchestrator::serve_joining`]. What `memo` remembers is not done again.
    ///
    /// All sessions live on the runtime that this is called in.
    #[must_use]
    pub fn start(settings: Settings, local: Option<Arc<dyn LocalConnector>>, memo: Option<Arc<dyn Memo>>) -> Self {
        let (inbox, inputs) = mpsc::channel(4096);
        let config = scheduler_config(&settings);
        let shared = Arc::new(Shared::new(settings, local, memo, inbox));
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

    /// Calls the workers of `list` from now on, and ends the sessions with those that are no longer in it. Says how
    /// each that is new was reached, in the list's order.
    pub fn set_list(&self, list: &WorkerList) -> Vec<(Member, oneshot::Receiver<Result<String, String>>)> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member, end| {
            let stays = list.0.contains(member);
            if !stays {
                tracing::info!(worker = %member, "a worker is no longer in the list");
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

    /// Takes workers that come by themselves through `listener`, from the addresses that `allowed` names, until the
    /// orchestrator ends.
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
                        // Out of file descriptors, most likely: they come back when connections end.
                        tracing::warn!(%error, "accept a connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }

    /// Lets a worker go, a connected or an absent one: one that came by itself may come again, one of the list is
    /// called again when the list is set.
    ///
    /// # Errors
    /// When no such worker is known.
    pub fn forget(&self, worker: &str) -> Result<(), UnknownWorker> {
        // Of two of one name the one that is there stays.
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

    /// Has nobody expect the absent worker that `forget` takes out; false when it takes none.
    fn forget_absent(&self, forget: impl FnOnce(&mut Absences) -> Option<Option<Member>>) -> bool {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        // Held until nobody calls it any more, so that no call in vain brings it back.
        let mut absences = self.shared.absences();
        let Some(absent) = forget(&mut absences) else { return false };
        if let Some(end) = absent.and_then(|member| members.remove(&member)) {
            end.cancel();
        }
        true
    }

    /// As [`Orchestrator::shutdown`], for one that others hold too. With a lineage, workers are told to wait for the
    /// next one with what they have.
    pub async fn end(&self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all sessions and proofs, and waits until nothing of them runs any more.
    pub async fn shutdown(self) {
        self.end().await;
    }

    /// What is held now, over all proofs: nothing, soon after the last of them ended.
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

    /// What was counted since it began.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.now()
    }

    /// The connected workers, in the order in which they came.
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

    /// Workers that left, or that the list names and nobody reaches. Those that had come by themselves are remembered
    /// for ten minutes.
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

    /// Lets `worker`, a name or an address, finish what it proves and gives it nothing more; what only waits on it goes
    /// to others. Resolves when it holds nothing, or is gone. It stays drained until [`Orchestrator::resume`], or until
    /// it connects anew.
    ///
    /// # Errors
    /// When no such worker is connected.
    ///
    /// # Cancel safety
    /// Dropping the future ends the waiting only.
    pub async fn drain(&self, worker: &str) -> Result<(), UnknownWorker> {
        let worker = self.session_of(worker)?;
        self.mark_drained(worker, true);
        let (drained, wait) = oneshot::channel();
        // A core that is gone drops the question, which is an answer.
        let _ = self.shared.inbox.send(Input::Drain { worker, drained }).await;
        let _ = wait.await;
        Ok(())
    }

    /// Gives tasks again to a worker that was drained.
    ///
    /// # Errors
    /// When no such worker is connected.
    pub async fn resume(&self, worker: &str) -> Result<(), UnknownWorker> {
        let worker = self.session_of(worker)?;
        self.mark_drained(worker, false);
        let _ = self.shared.inbox.send(Input::Event(Event::WorkerResumed { worker })).await;
        Ok(())
    }

    /// Runs `request` through `controller` on the connected workers, until `cancel`. What happens on the way goes to
    /// `progress`.
    ///
    /// An execution that was cut short from outside is begun again, and so is a proof that does not verify where its
    /// parts were not verified; the latter with every part verified. When they were, or when a precompile shard could
    /// not be proven, it is begun again with the events of each core shard compared between two workers. Its timeout
    /// counts from the first beginning.
    ///
    /// # Errors
    /// Why there is no proof.
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
        // One that is beyond the clock's end is none.
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
                    let Some(cut) = controller.smaller_cut(&options) else { return Err(failure) };
                    request.options.clone_from(&cut.options);
                    let text = format!("{reason}; the run is cut into smaller shards: {}", cut.name);
                    smaller = Some((cut, reason.clone()));
                    text
                }
                // What was remembered may be what is wrong; it is forgotten by now.
                ProofFailure::Unverified(_) | ProofFailure::Internal(_) if evidence.take_recalled() => {
                    failure.to_string()
                }
                ProofFailure::Task { .. } if evidence.is_suspect() && evidence.take_recalled() => failure.to_string(),
                ProofFailure::Unverified(_) if verify == Verify::Final => {
                    verify = Verify::All;
                    failure.to_string()
                }
                // Nothing comes of wrong parts, in whatever way it shows.
                ProofFailure::Task { .. } | ProofFailure::Internal(_)
                    if verify == Verify::Final && evidence.has_wrong_part() =>
                {
                    verify = Verify::All;
                    failure.to_string()
                }
                // The parts are right and the whole is not, or a part cannot be made of what others claimed.
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
            tracing::warn!(proof_id = request.label, %reason, restarts, "the proof is begun again");
            let _ = progress.send(Progress::Restarted { reason });
            if let Some((Cut { options, name }, reason)) = smaller {
                let _ = progress.send(Progress::Cut { name, reason, options });
            }
        }
    }

    /// Runs a proof once, and says how its run was cut.
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
                // The first cause stays; the run ends by itself, so that its child process and shared memory are gone
                // before anybody hears of the failure.
                state.fail(failure.clone());
                state.board.close();
                let too_long = async {
                    sleep(LONGEST_END).await;
                    // Looking for wrong parts may take its time, as long as somebody waits for the proof.
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
                        tracing::warn!(proof_id = state.label, "the proof's execution did not end in time and was abandoned");
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
            // Something it is made of may be wrong, however well each part was checked.
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

/// Resolves when nobody has been connected, or nobody who can do what the proof waits for, for as long as the settings
/// allow.
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
                    tracing::warn!(%kind, ?reasons, "no connected worker does such tasks: waiting for one that does");
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
            tracing::warn!(last = %shared.last_departure(), "no worker is connected: waiting for one to come back");
            Instant::now()
        });
        if since.elapsed() >= shared.settings.patience {
            return ProofFailure::NoWorkers { waited: since.elapsed(), last: shared.last_departure().clone() };
        }
    }
}

/// Cleans up when the proof is over, also when its future is dropped.
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
            // The core is behind; it will get there.
            tokio::spawn(async move { shared.inbox.send(input).await });
        }
    }
}
