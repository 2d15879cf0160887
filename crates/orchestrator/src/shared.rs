//! The registry: the state that the parts of the orchestrator share. Its locks are only held for a moment, and only the
//! dispatcher makes decisions.

use crate::{
    absent::{Absences, is_same},
    controller::AttemptMemory,
    core::Input,
    counts::Counters,
    dialler::LocalConnector,
    list::Member,
    memo::Memo,
    orchestrator::Settings,
    proof::ProofState,
};
use artifacts::{Scope, Store};
use protocol::{Closer, wire::ToWorker};
use scheduler::{AttemptId, KindSet, PeerId, ProofId, TaskKind, WorkerId};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};
use tokio::{runtime::Handle, sync::mpsc};

/// Returns the scope of a proof's artifacts.
pub(crate) fn proof_scope(proof: ProofId) -> Scope {
    Scope(proof.0 * 2)
}

/// Returns the scope of the artifacts that an attempt has delivered and that are not accepted yet.
pub(crate) fn attempt_scope(attempt: AttemptId) -> Scope {
    Scope(attempt.0 * 2 + 1)
}

/// Why a session ended. The first reason is the cause. Later reasons are its consequences, and are ignored.
#[derive(Debug, Default)]
pub(crate) struct Farewell(Mutex<Option<String>>);

impl Farewell {
    pub(crate) fn say(&self, reason: String) {
        self.is_first(reason);
    }

    /// Records the reason unless there is one already. Returns true if this is the first reason.
    fn is_first(&self, reason: String) -> bool {
        let mut said = lock(&self.0);
        let is_first = said.is_none();
        said.get_or_insert(reason);
        is_first
    }

    pub(crate) fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }
}

/// A connected worker.
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) address: Member,
    pub(crate) kinds: KindSet,
    /// Why it does not support the other task kinds.
    pub(crate) missing: BTreeMap<TaskKind, String>,
    pub(crate) outbox: mpsc::Sender<Result<ToWorker, tonic::Status>>,
    pub(crate) closer: Closer,
    pub(crate) farewell: Arc<Farewell>,
    pub(crate) ready: AtomicBool,
    pub(crate) threads: u32,
    /// Maximum number of attempts that it may hold.
    pub(crate) slots: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) memory: Mutex<Option<AttemptMemory>>,
    pub(crate) cpu: String,
    pub(crate) done: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) drained: AtomicBool,
    /// True if the worker is not expected back.
    pub(crate) let_go: AtomicBool,
    pub(crate) quarantine: Mutex<Option<String>>,
}

impl Worker {
    /// Returns how much memory attempts on the worker can use, as it last reported.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Option<AttemptMemory>> {
        lock(&self.memory)
    }

    /// Returns why the worker is quarantined; `None` if it is not quarantined.
    pub(crate) fn quarantine(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.quarantine)
    }
}

/// A live attempt. Its worker may fetch and deliver artifacts.
pub(crate) struct Attempt {
    pub(crate) worker: WorkerId,
    pub(crate) proof: Arc<ProofState>,
    /// Names of the outputs that it was asked to deliver.
    pub(crate) outputs: Vec<String>,
    /// The attempt of an earlier run that it may resume. If it does, the names of the artifacts that it makes contain
    /// the number of that attempt.
    pub(crate) resumes: Option<AttemptId>,
}

/// The state that the parts of the orchestrator share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// Connects to the worker of this process, if there is one.
    pub(crate) local: Option<Arc<dyn LocalConnector>>,
    pub(crate) store: Store,
    /// The result cache.
    pub(crate) memo: Option<Arc<dyn Memo>>,
    /// Identifies this orchestrator. It changes with every restart.
    pub(crate) instance: [u8; 16],
    pub(crate) inbox: mpsc::Sender<Input>,
    /// The runtime of the dispatcher. Callers may use other runtimes, or none.
    pub(crate) runtime: Handle,
    pub(crate) next_task: AtomicU64,
    pub(crate) next_worker: AtomicU64,
    pub(crate) next_proof: AtomicU64,
    workers: Mutex<BTreeMap<WorkerId, Arc<Worker>>>,
    attempts: Mutex<HashMap<AttemptId, Arc<Attempt>>>,
    proofs: Mutex<BTreeMap<ProofId, Arc<ProofState>>>,
    /// Identity of each worker over all its sessions, by address, or by name and IP address if the worker joined.
    peers: Mutex<BTreeMap<String, PeerId>>,
    /// Which worker left last and why, for the error of a proof that waits in vain.
    last_departure: Mutex<String>,
    absences: Mutex<Absences>,
    pub(crate) counters: Counters,
    /// True if the whole orchestrator is stopping, and not only one of its sessions.
    pub(crate) ends: AtomicBool,
}

/// Returns a random identity. It is not a secret.
fn instance() -> [u8; 16] {
    let half = || RandomState::new().hash_one(std::process::id()).to_le_bytes();
    let mut instance = [0; 16];
    instance[..8].copy_from_slice(&half());
    instance[8..].copy_from_slice(&half());
    instance
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        local: Option<Arc<dyn LocalConnector>>,
        memo: Option<Arc<dyn Memo>>,
        inbox: mpsc::Sender<Input>,
        runtime: Handle,
    ) -> Self {
        Self {
            store: Store::new(settings.store.clone()),
            settings,
            local,
            memo,
            instance: instance(),
            inbox,
            runtime,
            next_task: AtomicU64::new(1),
            next_worker: AtomicU64::new(1),
            next_proof: AtomicU64::new(1),
            workers: Mutex::default(),
            attempts: Mutex::default(),
            proofs: Mutex::default(),
            peers: Mutex::default(),
            last_departure: Mutex::new("none".to_owned()),
            absences: Mutex::default(),
            counters: Counters::default(),
            ends: AtomicBool::new(false),
        }
    }

    pub(crate) fn workers(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Arc<Worker>>> {
        lock(&self.workers)
    }

    pub(crate) fn worker(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.workers().get(&id).cloned()
    }

    /// Ends the session of a worker that has a newer session, or that was silent for longer than its lease.
    pub(crate) fn end_session(&self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        let is_back = self.workers().iter().any(|(other_id, other)| {
            *other_id > id && is_same(&other.address, &other.name, &worker.address, &worker.name)
        });
        if is_back {
            worker.farewell.say("the worker has a newer session".to_owned());
        } else {
            let silence = self.settings.silence().as_secs_f32();
            if worker.farewell.is_first(format!("nothing was heard from the worker for {silence} s")) {
                self.counters.on_silence();
            }
        }
        worker.closer.close();
    }

    pub(crate) fn attempts(&self) -> MutexGuard<'_, HashMap<AttemptId, Arc<Attempt>>> {
        lock(&self.attempts)
    }

    /// Returns the reasons why no connected worker supports `kind`, one sentence for each worker. `None` if a worker
    /// supports it, or if no worker is connected.
    pub(crate) fn inability(&self, kind: TaskKind) -> Option<Vec<String>> {
        let workers = self.workers();
        if workers.is_empty() || workers.values().any(|worker| worker.kinds.contains(kind)) {
            return None;
        }
        let reason = |worker: &Arc<Worker>| {
            let missing = worker.missing.get(&kind).map_or("it does not support these tasks", String::as_str);
            format!("{} ({}): {missing}", worker.name, worker.address)
        };
        Some(workers.values().map(reason).collect())
    }

    /// Returns the attempt if it belongs to `worker`.
    pub(crate) fn attempt_of(&self, worker: WorkerId, attempt: AttemptId) -> Option<Arc<Attempt>> {
        self.attempts().get(&attempt).filter(|found| found.worker == worker).cloned()
    }

    /// Returns the identity of the worker `name` at `member`, which is the same in all its sessions.
    pub(crate) fn peer(&self, name: &str, member: &Member) -> PeerId {
        let key = match member {
            // The port differs in each session.
            Member::Joined(peer) => format!("{name} at {}", peer.ip().to_canonical()),
            Member::Remote(_) | Member::Local => member.to_string(),
        };
        let mut peers = lock(&self.peers);
        let next = PeerId(peers.len() as u64 + 1);
        *peers.entry(key).or_insert(next)
    }

    /// Removes the artifact `name` of `proof`, which nothing needs any more, unless it must be kept for an audit. If
    /// the store is under pressure, nothing is kept for an audit.
    pub(crate) fn remove(&self, proof: &ProofState, name: &str) {
        let scope = proof_scope(proof.id);
        if !proof.keeps(name) {
            self.store.remove(scope, name);
        } else if self.store.is_under_pressure() {
            for name in proof.give_up_beliefs() {
                self.store.remove(scope, &name);
            }
        }
    }

    pub(crate) fn proofs(&self) -> MutexGuard<'_, BTreeMap<ProofId, Arc<ProofState>>> {
        lock(&self.proofs)
    }

    pub(crate) fn absences(&self) -> MutexGuard<'_, Absences> {
        lock(&self.absences)
    }

    pub(crate) fn last_departure(&self) -> MutexGuard<'_, String> {
        lock(&self.last_departure)
    }
}
