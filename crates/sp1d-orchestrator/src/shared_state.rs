//! The state that all parts of the orchestrator share.
//!
//! Besides the settings, the store, the counters and the channel to the dispatcher, it has these entries and facts:
//!
//! | what | writer | readers |
//! |---|---|---|
//! | [`PoolSnapshot`] | dispatcher | callers that list the workers, sessions that drain, and tries that choose a cut |
//! | registered attempts | dispatcher | sessions, for uploads and downloads |
//! | running tries | each try; the dispatcher and the sessions report, count and fail it | dispatcher and sessions |
//! | connected workers | each session; the dispatcher counts in it and closes it | dispatcher, tries and callers |
//! | disconnected workers, last departure | sessions and connections | callers, and tries without workers |
//! | uploads under way | each upload for itself | uploads, to share the memory |
//! | identities of workers | connections and sessions, when a worker connects | sessions |
//! | contacts: which workers of the list are reached | connections and the list | callers, and tries without workers |
//! | demand: running proof requests | each request for itself | connections and sessions |
//! | result cache | dispatcher; a try removes results that may be wrong | tries, when they submit tasks |
//! | places for checks | each check and each audit for itself | checks, to wait for a place |
//! | limits of the log lines that workers cause | sessions and dispatcher | the same |
//! | limits of the events that workers cause | sessions | the same |
//! | whether the whole orchestrator is stopping | `Orchestrator::end` | sessions, when they end |
//! | whether the dispatcher has panicked | dispatcher | tries and callers |
//!
//! Each entry has one owner, which adds and removes it. Other parts neither add nor remove an entry, but they act on
//! it: for example, the dispatcher and the sessions can fail a try, and the dispatcher ends its tasks and counts its
//! results. The first three rows are published: a reader borrows the present state and cannot change it. The maps of
//! attempts, tries and workers hold handles: the state of a try, or the channel to a worker. What the scheduler knows
//! about a worker is only in the `PoolSnapshot`. A lock is only held for a moment. Only the scheduler decides about
//! tasks. The shared state does not know how sessions and proofs work.

use crate::{
    check_places::CheckPlaces,
    counts::Counters,
    dispatch::input::DispatcherInput,
    lock::lock,
    pool::{
        connected::ConnectedWorker,
        contacts::Contacts,
        demand::Demand,
        dialer::LocalConnector,
        disconnected::{DisconnectedWorkers, is_same},
        identity::{WorkerIdentities, WorkerIdentity},
        list::Member,
        snapshot::PoolSnapshot,
    },
    proof::{attempt_rights::AttemptRights, result_cache::ResultCache, running::RunningTry},
    session::upload_budget::UploadBudget,
    settings::OrchestratorSettings,
};
use sp1d_artifacts::Store;
use sp1d_identity::PeerIdentity;
use sp1d_model::ProofEvent;
use sp1d_protocol::{Rate, RateLimiter, TaskOutputs};
use sp1d_scheduler::{AttemptId, OriginId, SessionId, TaskKind, TryId, WorkerChanges, WorkerId};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

sp1d_model::limits! {
    /// How many log lines the workers of one origin may cause. A worker that reports failures without end writes no
    /// more.
    const MAX_WORKER_LOG_RATE: Rate = Rate { burst: 50, interval: Duration::from_secs(2) }; Events by Worker;
    /// How often the workers of one origin may write into the histories of all running proofs that they came or left. A
    /// worker that connects and leaves again and again writes no more.
    const MAX_WORKER_EVENT_RATE: Rate = Rate { burst: 40, interval: Duration::from_secs(300) }; Events by Worker;
}

/// A registered attempt: it was given to a worker, and it is neither accepted nor discarded. Its worker may fetch and
/// upload artifacts.
#[derive(Clone)]
pub(crate) struct RegisteredAttempt {
    /// The session that holds it, or held it last.
    pub(crate) session: SessionId,
    /// The worker that got it. The worker may be disconnected when the result of the attempt is accepted, so its name
    /// and its address are kept here.
    pub(crate) worker_id: WorkerId,
    pub(crate) worker_name: String,
    pub(crate) worker_address: String,
    pub(crate) running_try: Arc<RunningTry>,
    /// Names of the outputs that it was asked to upload.
    pub(crate) outputs: TaskOutputs,
    /// What it may read and upload.
    pub(crate) rights: Arc<AttemptRights>,
    /// The attempt from before the orchestrator restarted that it may resume. If it does, the names of the artifacts
    /// that it makes contain the number of that attempt.
    pub(crate) resumes: Option<AttemptId>,
}

/// The state that all parts of the orchestrator share.
pub(crate) struct SharedState {
    pub(crate) settings: OrchestratorSettings,
    /// Connects to the worker of this process, if there is one.
    pub(crate) local: Option<Arc<dyn LocalConnector>>,
    pub(crate) store: Store,
    /// The uploads of workers that are not in the store yet.
    pub(crate) uploads: Arc<UploadBudget>,
    pub(crate) result_cache: Option<Arc<dyn ResultCache>>,
    /// The places for checks of workers' outputs, when they arrive and in an audit.
    pub(crate) check_places: CheckPlaces,
    /// Identifies this orchestrator. It changes with every restart.
    pub(crate) instance: [u8; 16],
    pub(crate) inbox: mpsc::Sender<DispatcherInput>,
    /// The runtime of the dispatcher. Callers may use other runtimes, or none.
    pub(crate) runtime: Handle,
    pub(crate) next_task: AtomicU64,
    pub(crate) next_session: AtomicU64,
    pub(crate) next_try: AtomicU64,
    /// The handles of the connected workers. A session adds its worker after the hello, and removes it at its end.
    workers: Mutex<BTreeMap<SessionId, Arc<ConnectedWorker>>>,
    /// The registered attempts. Only the dispatcher changes them.
    attempts: watch::Sender<HashMap<AttemptId, Arc<RegisteredAttempt>>>,
    /// The running tries. A try adds itself at its start, and removes itself at its end.
    tries: watch::Sender<BTreeMap<TryId, Arc<RunningTry>>>,
    /// The identity of each worker over all its sessions.
    identities: Mutex<WorkerIdentities>,
    /// Limits the log lines that workers cause.
    worker_logs: Mutex<RateLimiter<OriginId>>,
    /// Limits how often the running proofs get events about workers that came or left.
    worker_events: Mutex<RateLimiter<OriginId>>,
    /// The scheduler's view of the workers. Only the dispatcher publishes it.
    pool: watch::Sender<PoolSnapshot>,
    /// Which worker left last and why, for the error of a proof that waits in vain.
    last_departure: Mutex<String>,
    /// The workers that should be connected and are not. Sessions and connections change it, and callers read it.
    disconnected: Mutex<DisconnectedWorkers>,
    /// Whether each worker of the list is reached.
    pub(crate) contacts: watch::Sender<Contacts>,
    /// The running proof requests.
    pub(crate) demand: Demand,
    pub(crate) counters: Counters,
    /// True if the whole orchestrator is stopping, and not only one of its sessions.
    pub(crate) is_ending: AtomicBool,
    /// Cancelled when the dispatcher has panicked.
    pub(crate) broken: CancellationToken,
}

/// Returns a random identity. It is not a secret.
fn instance() -> [u8; 16] {
    let half = || RandomState::new().hash_one(std::process::id()).to_le_bytes();
    let mut instance = [0; 16];
    instance[..8].copy_from_slice(&half());
    instance[8..].copy_from_slice(&half());
    instance
}

impl SharedState {
    pub(crate) fn new(
        settings: OrchestratorSettings,
        local: Option<Arc<dyn LocalConnector>>,
        result_cache: Option<Arc<dyn ResultCache>>,
        inbox: mpsc::Sender<DispatcherInput>,
        runtime: Handle,
    ) -> Self {
        Self {
            store: Store::new(settings.store.clone()),
            identities: Mutex::new(WorkerIdentities::new(settings.worker_origins)),
            uploads: Arc::new(UploadBudget::new(settings.store.memory_bytes)),
            settings,
            local,
            result_cache,
            check_places: CheckPlaces::for_this_machine(),
            instance: instance(),
            inbox,
            runtime,
            next_task: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
            next_try: AtomicU64::new(1),
            workers: Mutex::default(),
            attempts: watch::Sender::default(),
            tries: watch::Sender::default(),
            worker_logs: Mutex::new(RateLimiter::new(MAX_WORKER_LOG_RATE)),
            worker_events: Mutex::new(RateLimiter::new(MAX_WORKER_EVENT_RATE)),
            pool: watch::Sender::default(),
            last_departure: Mutex::new("none".to_owned()),
            disconnected: Mutex::default(),
            contacts: watch::Sender::default(),
            demand: Demand::default(),
            counters: Counters::default(),
            is_ending: AtomicBool::new(false),
            broken: CancellationToken::new(),
        }
    }

    pub(crate) fn workers(&self) -> MutexGuard<'_, BTreeMap<SessionId, Arc<ConnectedWorker>>> {
        lock(&self.workers)
    }

    pub(crate) fn worker(&self, id: SessionId) -> Option<Arc<ConnectedWorker>> {
        self.workers().get(&id).cloned()
    }

    /// Publishes what the scheduler changed about the workers. Only the dispatcher calls this, after each event and
    /// before it carries out the commands, so that a caller whom a command notifies finds the change.
    pub(crate) fn publish(&self, changes: WorkerChanges) {
        if !changes.is_empty() {
            self.pool.send_modify(|pool| pool.apply(changes));
        }
    }

    /// Returns the scheduler's view of the workers. The dispatcher cannot publish while the returned value exists.
    pub(crate) fn snapshot(&self) -> watch::Ref<'_, PoolSnapshot> {
        self.pool.borrow()
    }

    /// Ends the session of a worker that has a newer session, or that was silent for longer than its lease.
    pub(crate) fn end_session(&self, id: SessionId) {
        let Some(worker) = self.worker(id) else { return };
        let is_back = self.workers().iter().any(|(other_id, other)| *other_id > id && is_same(other, &worker));
        if is_back {
            worker.close_reason.set("the worker has a newer session".to_owned());
        } else {
            let silence = self.settings.silence().as_secs_f32();
            if worker.close_reason.set(format!("nothing was heard from the worker for {silence} s")) {
                self.counters.on_silence();
            }
        }
        worker.closer.close();
    }

    /// Returns the registered attempts. The dispatcher cannot change them while the returned value exists.
    pub(crate) fn attempts(&self) -> watch::Ref<'_, HashMap<AttemptId, Arc<RegisteredAttempt>>> {
        self.attempts.borrow()
    }

    /// Registers an attempt. Only the dispatcher calls this.
    pub(crate) fn add_attempt(&self, id: AttemptId, attempt: RegisteredAttempt) {
        self.attempts.send_modify(|attempts| _ = attempts.insert(id, Arc::new(attempt)));
    }

    /// Moves the attempt `id` to `session`, a new session of its worker. Returns false if there is no such attempt.
    /// Only the dispatcher calls this.
    pub(crate) fn continue_attempt(&self, id: AttemptId, session: SessionId) -> bool {
        self.attempts.send_if_modified(|attempts| {
            let Some(found) = attempts.get_mut(&id) else { return false };
            Arc::make_mut(found).session = session;
            true
        })
    }

    /// Removes and returns the attempt `id`. Only the dispatcher calls this.
    pub(crate) fn remove_attempt(&self, id: AttemptId) -> Option<Arc<RegisteredAttempt>> {
        let mut removed = None;
        self.attempts.send_if_modified(|attempts| {
            removed = attempts.remove(&id);
            removed.is_some()
        });
        removed
    }

    /// Returns the reasons why no connected worker supports `kind`, or no trusted one if `trusted_only` is set. One
    /// sentence for each worker. `None` if a worker supports it, or if no worker is connected.
    pub(crate) fn missing_capability(&self, kind: TaskKind, trusted_only: bool) -> Option<Vec<String>> {
        let workers = self.workers();
        let may_take =
            |worker: &Arc<ConnectedWorker>| worker.supported_kinds.contains(kind) && (worker.trusted || !trusted_only);
        if workers.is_empty() || workers.values().any(may_take) {
            return None;
        }
        let reason = |worker: &Arc<ConnectedWorker>| {
            if worker.supported_kinds.contains(kind) {
                return format!(
                    "{} ({}): it is not trusted (`sp1d keys issue --trusted`)",
                    worker.name, worker.address
                );
            }
            let missing = worker.missing.get(&kind).map_or("it does not support these tasks", String::as_str);
            format!("{} ({}): {missing}", worker.name, worker.address)
        };
        Some(workers.values().map(reason).collect())
    }

    /// Returns the attempt if it belongs to `session`.
    pub(crate) fn attempt_of(&self, session: SessionId, attempt: AttemptId) -> Option<Arc<RegisteredAttempt>> {
        self.attempts().get(&attempt).filter(|found| found.session == session).cloned()
    }

    /// Returns the identity of the worker `name` at `member`, which is the same in all its sessions. With TLS, its
    /// certificate says who it is (`peer`).
    pub(crate) fn identify(&self, name: &str, member: &Member, peer: Option<&PeerIdentity>) -> WorkerIdentity {
        let connected = self.workers().values().map(|worker| worker.id).collect();
        lock(&self.identities).identify(name, member, peer, &connected)
    }

    /// Notes that the worker `member` of the list was reached at `address`.
    pub(crate) fn note_reached(&self, member: &Member, address: IpAddr) {
        lock(&self.identities).note_reached(member, address);
    }

    /// Decides whether a worker of `origin` may cause a log line now. Returns how many lines were left out before, or
    /// `None` if it may not.
    pub(crate) fn may_log_about(&self, origin: OriginId) -> Option<u64> {
        lock(&self.worker_logs).take(origin, Instant::now())
    }

    /// Tells all running proofs that a worker of `origin` came or left, unless its workers did so too often.
    pub(crate) fn report_to_tries(&self, origin: OriginId, event: &ProofEvent) {
        if lock(&self.worker_events).take(origin, Instant::now()).is_some() {
            self.tries().values().for_each(|running_try| running_try.report(event.clone()));
        }
    }

    /// Returns the running tries. No try starts or ends while the returned value exists.
    pub(crate) fn tries(&self) -> watch::Ref<'_, BTreeMap<TryId, Arc<RunningTry>>> {
        self.tries.borrow()
    }

    /// Adds a try, which starts now.
    pub(crate) fn add_try(&self, running_try: Arc<RunningTry>) {
        self.tries.send_modify(|tries| _ = tries.insert(running_try.id, running_try));
    }

    /// Removes the try `id`, which has ended.
    pub(crate) fn remove_try(&self, id: TryId) {
        self.tries.send_modify(|tries| _ = tries.remove(&id));
    }

    pub(crate) fn disconnected(&self) -> MutexGuard<'_, DisconnectedWorkers> {
        lock(&self.disconnected)
    }

    pub(crate) fn last_departure(&self) -> MutexGuard<'_, String> {
        lock(&self.last_departure)
    }
}
