//! The state that all parts of the orchestrator share.
//!
//! Types say who writes most of it. The registered attempts, the running tries and the scheduler's view of the workers
//! can only be read here: see [`published`](super::published). An upload, a check and a proof request each take their
//! share of [`UploadBudget`], [`CheckLimiter`] and [`Demand`], and return it at their end. The types do not say who
//! writes the other entries and facts:
//!
//! | what | writer | readers |
//! |---|---|---|
//! | connected workers | each session; the dispatcher and `Membership` change and close them | dispatcher, callers |
//! | disconnected workers | sessions and connections; `Membership` and `NameFollower` remove workers | callers |
//! | last departure | sessions | tries without workers |
//! | identities of workers | connections and sessions, when a worker connects; the list | sessions |
//! | contacts: which workers of the list are reached | connections and the list | callers, and tries without workers |
//! | result cache | dispatcher; a try removes results that may be wrong | tries, when they submit tasks |
//! | limits of the log lines that workers cause | sessions and dispatcher | the same |
//! | limits of the events that workers cause | sessions and dispatcher | the same |
//! | whether the whole orchestrator is stopping | `Orchestrator::end` | sessions, when they end |
//! | whether the dispatcher has panicked | dispatcher | tries and callers |
//!
//! Each entry has one owner, which adds and removes it. Other parts neither add nor remove an entry, but they act on
//! it: for example, the dispatcher and the sessions can fail a try, and the dispatcher ends its tasks and counts its
//! results. The maps of attempts, tries and workers hold handles: the state of a try, or the channel to a worker. What
//! the scheduler knows about a worker is only in the `PoolSnapshot`. A lock is only held for a moment. Only the
//! scheduler decides about tasks. The shared state does not know how sessions and proofs work.

use super::{
    dispatcher_input::DispatcherInput,
    published::{DispatchWriter, RegisteredAttempt, RegisteredAttempts, RunningTries, StateReader, TryWriter},
    upload_budget::UploadBudget,
};
use crate::{
    check_limiter::CheckLimiter,
    counts::Counters,
    describe_first_workers::describe_first_workers,
    lock::lock,
    settings::OrchestratorSettings,
    tries::result_cache::ResultCache,
    workers::{
        connected_worker::ConnectedWorker,
        contacts::Contacts,
        demand::Demand,
        disconnected::{DisconnectedWorkers, is_same},
        identity::{WorkerIdentities, WorkerIdentity},
        local_connector::LocalConnector,
        snapshot::PoolSnapshot,
        worker_address::WorkerAddress,
    },
};
use sp1d_artifacts::Store;
use sp1d_identity::PeerIdentity;
use sp1d_model::{ProofEvent, hint};
use sp1d_protocol::{Rate, RateLimiter};
use sp1d_scheduler::{AttemptId, OriginId, SessionId, TaskKind};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, RwLockReadGuard,
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

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// How many log lines the workers of one origin may cause. A worker that reports failures without end writes no
    /// more.
    const MAX_WORKER_LOG_RATE: Rate = Rate { burst: 50, interval: Duration::from_secs(2) }; Events by Worker;
    /// How often the workers of one origin may write into the histories of all running proofs that they came or left. A
    /// worker that connects and leaves again and again writes no more.
    const MAX_WORKER_EVENT_RATE: Rate = Rate { burst: 40, interval: Duration::from_secs(300) }; Events by Worker;
    /// How often the histories of all running proofs may tell that a worker of one origin starts to drain. A client
    /// that drains and resumes a worker again and again writes no more, and does not use up `MAX_WORKER_EVENT_RATE`.
    const MAX_WORKER_DRAIN_RATE: Rate = Rate { burst: 20, interval: Duration::from_secs(300) }; Events by Worker;
    /// Maximum wait of a proof while no connected worker that supports its tasks can prove. The setting `patience_s`
    /// applies if it is longer. A worker whose last prover ended loses its session if none is loaded again for as long.
    /// A normal load ends earlier: a prover waits up to 15 minutes for the loads of others on its machine, and then
    /// loads for up to 15 minutes.
    pub(crate) const MAX_UNREADY_TIME: Duration = Duration::from_secs(30 * 60); Time by Worker;
}

/// Limits the events of the running proofs about workers, for each origin.
struct WorkerEventLimits {
    /// For workers that come or leave.
    changes: RateLimiter<OriginId>,
    /// For workers that start to drain. Otherwise the drains of many workers that leave at once would suppress the
    /// reasons why they left.
    drains: RateLimiter<OriginId>,
}

impl WorkerEventLimits {
    const fn new() -> Self {
        Self { changes: RateLimiter::new(MAX_WORKER_EVENT_RATE), drains: RateLimiter::new(MAX_WORKER_DRAIN_RATE) }
    }

    /// Decides whether the proofs get `event` about a worker of `origin`, which happens at `now`.
    fn allow(&mut self, origin: OriginId, event: &ProofEvent, now: Instant) -> bool {
        let limiter =
            if matches!(event, ProofEvent::WorkerDraining { .. }) { &mut self.drains } else { &mut self.changes };
        limiter.take(origin, now).is_some()
    }
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
    /// Runs the checks of workers' outputs, when they arrive and in an audit.
    pub(crate) check_limiter: CheckLimiter,
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
    /// The registered attempts.
    attempts: StateReader<RegisteredAttempts>,
    /// The running tries.
    tries: StateReader<RunningTries>,
    /// The identity of each worker over all its sessions.
    identities: Mutex<WorkerIdentities>,
    /// Limits the log lines that workers cause.
    worker_logs: Mutex<RateLimiter<OriginId>>,
    /// Limits how often the running proofs get events about workers.
    worker_events: Mutex<WorkerEventLimits>,
    /// The scheduler's view of the workers.
    pool: StateReader<PoolSnapshot>,
    /// Which worker left last and why, for the error of a proof that waits in vain.
    last_departure: Mutex<String>,
    /// The workers that should be connected and are not. Sessions and connections add and remove workers. A worker is
    /// also removed when the list or its name loses it, or when it is forgotten. Callers read it.
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
    /// Creates the state before any worker is connected. The writers write the parts that can only be read here.
    pub(crate) fn new(
        settings: OrchestratorSettings,
        local: Option<Arc<dyn LocalConnector>>,
        result_cache: Option<Arc<dyn ResultCache>>,
        inbox: mpsc::Sender<DispatcherInput>,
        runtime: Handle,
        (dispatch_writer, try_writer): (&DispatchWriter, &TryWriter),
    ) -> Self {
        let (attempts, pool) = dispatch_writer.readers();
        let store = Store::new(settings.store.clone());
        // Not an error: small proofs need no disk, and the folder may be mounted later.
        if let Err(error) = store.check_spill_folder() {
            let reason = hint::one_line(&error.to_string());
            tracing::warn!(%reason, "large proofs may fail: artifacts cannot be written to disk");
        }
        Self {
            store,
            identities: Mutex::new(WorkerIdentities::new(settings.worker_origins)),
            uploads: Arc::new(UploadBudget::new(settings.store.memory_bytes)),
            settings,
            local,
            result_cache,
            check_limiter: CheckLimiter::for_this_machine(),
            instance: instance(),
            inbox,
            runtime,
            next_task: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
            next_try: AtomicU64::new(1),
            workers: Mutex::default(),
            attempts,
            tries: try_writer.reader(),
            worker_logs: Mutex::new(RateLimiter::new(MAX_WORKER_LOG_RATE)),
            worker_events: Mutex::new(WorkerEventLimits::new()),
            pool,
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

    /// Returns the scheduler's view of the workers. The dispatcher cannot publish while the returned value exists.
    pub(crate) fn snapshot(&self) -> RwLockReadGuard<'_, PoolSnapshot> {
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
    pub(crate) fn attempts(&self) -> RwLockReadGuard<'_, RegisteredAttempts> {
        self.attempts.borrow()
    }

    /// Returns the reasons why no connected worker supports `kind`, or no trusted one if `trusted_only` is set: one
    /// sentence for each of the first workers, and then the number of the others. `None` if a worker supports it, or if
    /// no worker is connected.
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
            let missing = worker.missing_capabilities.get(&kind);
            let missing = missing.map_or("it does not support these tasks", String::as_str);
            format!("{} ({}): {missing}", worker.name, worker.address)
        };
        Some(describe_first_workers(workers.values(), reason))
    }

    /// Returns why none of the connected workers that support `kind` can prove now: one sentence for each of the first
    /// workers, and then the number of the others. If `trusted_only` is set, only trusted workers count. `None` if one
    /// of them can, or if none supports the kind.
    pub(crate) fn unready_workers(&self, kind: TaskKind, trusted_only: bool) -> Option<Vec<String>> {
        let pool = self.snapshot();
        let workers = self.workers();
        let able = workers
            .iter()
            .filter(|(_, worker)| worker.supported_kinds.contains(kind) && (worker.trusted || !trusted_only));
        let obstacles: Vec<_> =
            able.map(|(session, worker)| Some((worker, pool.obstacle(*session)?))).collect::<Option<_>>()?;
        let describe = |(worker, obstacle): (&Arc<ConnectedWorker>, &str)| {
            format!("{} ({}): {obstacle}", worker.name, worker.address)
        };
        (!obstacles.is_empty()).then(|| describe_first_workers(obstacles.into_iter(), describe))
    }

    /// Returns the attempt if it belongs to `session`.
    pub(crate) fn attempt_of(&self, session: SessionId, attempt: AttemptId) -> Option<Arc<RegisteredAttempt>> {
        self.attempts().get(&attempt).filter(|found| found.session == session).cloned()
    }

    /// Returns the identity of the worker `name` at `worker_address`, which is the same in all its sessions. With TLS,
    /// its certificate says who it is (`peer`).
    pub(crate) fn identify(
        &self,
        name: &str,
        worker_address: &WorkerAddress,
        peer: Option<&PeerIdentity>,
    ) -> WorkerIdentity {
        let connected = self.workers().values().map(|worker| worker.worker_id).collect();
        lock(&self.identities).identify(name, worker_address, peer, &connected)
    }

    /// Notes that the worker `worker_address` of the list was reached at `address`.
    pub(crate) fn note_reached(&self, worker_address: &WorkerAddress, address: IpAddr) {
        lock(&self.identities).note_reached(worker_address, address);
    }

    /// Forgets the identity of the worker `worker_address`, which the list no longer has.
    pub(crate) fn forget_listed(&self, worker_address: &WorkerAddress) {
        lock(&self.identities).forget_listed(worker_address);
    }

    /// Decides whether a worker of `origin` may cause a log line now. Returns how many lines were suppressed before, or
    /// `None` if it may not.
    pub(crate) fn may_log_about(&self, origin: OriginId) -> Option<u64> {
        lock(&self.worker_logs).take(origin, Instant::now())
    }

    /// Tells the watchers of all running proofs that a worker of `origin` came, left or starts to drain, unless its
    /// workers did so too often.
    pub(crate) fn publish_to_tries(&self, origin: OriginId, event: &ProofEvent) {
        if lock(&self.worker_events).allow(origin, event, Instant::now()) {
            self.tries().values().for_each(|running_try| running_try.publish(event.clone()));
        }
    }

    /// Returns the running tries. No try starts or ends while the returned value exists.
    pub(crate) fn tries(&self) -> RwLockReadGuard<'_, RunningTries> {
        self.tries.borrow()
    }

    pub(crate) fn disconnected(&self) -> MutexGuard<'_, DisconnectedWorkers> {
        lock(&self.disconnected)
    }

    pub(crate) fn last_departure(&self) -> MutexGuard<'_, String> {
        lock(&self.last_departure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drains_of_workers_do_not_suppress_the_reasons_why_they_left() {
        let (origin, now) = (OriginId(1), Instant::now());
        let draining = ProofEvent::WorkerDraining { worker: "one".to_owned() };
        let lost = ProofEvent::WorkerLost { worker: "one".to_owned(), reason: "it leaves".to_owned() };
        let mut limits = WorkerEventLimits::new();
        let mut allowed = |event: &ProofEvent| (0..100).filter(|_| limits.allow(origin, event, now)).count();
        assert_eq!((allowed(&draining), allowed(&lost)), (20, 40));
        assert!(!limits.allow(origin, &lost, now));
        assert!(limits.allow(OriginId(2), &lost, now));
    }
}
