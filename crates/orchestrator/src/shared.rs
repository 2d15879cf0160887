//! What the orchestrator's parts share: maps that answer at once. Decisions are the core's alone.

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
use tokio::sync::mpsc;

/// Artifacts of a proof.
pub(crate) fn proof_scope(proof: ProofId) -> Scope {
    Scope(proof.0 * 2)
}

/// What an attempt delivered and nobody has accepted yet.
pub(crate) fn attempt_scope(attempt: AttemptId) -> Scope {
    Scope(attempt.0 * 2 + 1)
}

/// Why a session ended. Whoever ends it says so first: what is noticed afterwards is a consequence.
#[derive(Debug, Default)]
pub(crate) struct Farewell(Mutex<Option<String>>);

impl Farewell {
    pub(crate) fn say(&self, reason: String) {
        self.is_first(reason);
    }

    /// Says it too; true when nothing was said before.
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
    /// Why it does not do others.
    pub(crate) missing: BTreeMap<TaskKind, String>,
    pub(crate) outbox: mpsc::Sender<Result<ToWorker, tonic::Status>>,
    pub(crate) closer: Closer,
    pub(crate) farewell: Arc<Farewell>,
    pub(crate) ready: AtomicBool,
    pub(crate) threads: u32,
    /// Attempts that it may hold.
    pub(crate) slots: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) memory: Mutex<Option<AttemptMemory>>,
    pub(crate) cpu: String,
    pub(crate) done: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) drained: AtomicBool,
    /// Nobody expects it back.
    pub(crate) let_go: AtomicBool,
    pub(crate) quarantine: Mutex<Option<String>>,
}

impl Worker {
    /// What attempts on it can have of its memory, as it said last.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Option<AttemptMemory>> {
        lock(&self.memory)
    }

    /// Why it gets nothing for a while, if so.
    pub(crate) fn quarantine(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.quarantine)
    }
}

/// An attempt that may fetch and deliver.
pub(crate) struct Attempt {
    pub(crate) worker: WorkerId,
    pub(crate) proof: Arc<ProofState>,
    /// What it was asked to deliver.
    pub(crate) outputs: Vec<String>,
    /// The attempt of an earlier run that it may go on with, and whose name is in what it makes then.
    pub(crate) resumes: Option<AttemptId>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// The way to the worker of this process, if it has one.
    pub(crate) local: Option<Arc<dyn LocalConnector>>,
    pub(crate) store: Store,
    /// Results of earlier times.
    pub(crate) memo: Option<Arc<dyn Memo>>,
    /// Tells this orchestrator from others, and from itself before a restart.
    pub(crate) instance: [u8; 16],
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) next_task: AtomicU64,
    pub(crate) next_worker: AtomicU64,
    pub(crate) next_proof: AtomicU64,
    workers: Mutex<BTreeMap<WorkerId, Arc<Worker>>>,
    attempts: Mutex<HashMap<AttemptId, Arc<Attempt>>>,
    proofs: Mutex<BTreeMap<ProofId, Arc<ProofState>>>,
    /// Who is behind a session, by address.
    peers: Mutex<BTreeMap<String, PeerId>>,
    /// Why the last worker left, for the one who waits in vain.
    last_departure: Mutex<String>,
    absences: Mutex<Absences>,
    pub(crate) counters: Counters,
    /// The orchestrator as a whole ends, and not a session of it alone.
    pub(crate) ends: AtomicBool,
}

/// Unlike any other's; no secret.
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
    ) -> Self {
        Self {
            store: Store::new(settings.store.clone()),
            settings,
            local,
            memo,
            instance: instance(),
            inbox,
            next_task: AtomicU64::new(1),
            next_worker: AtomicU64::new(1),
            next_proof: AtomicU64::new(1),
            workers: Mutex::default(),
            attempts: Mutex::default(),
            proofs: Mutex::default(),
            peers: Mutex::default(),
            last_departure: Mutex::new("none was ever connected".to_owned()),
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

    /// Ends the session of a worker that is in a new one, or of which nothing was heard for a lease.
    pub(crate) fn end_session(&self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        let is_back = self.workers().iter().any(|(other_id, other)| {
            *other_id > id && is_same(&other.address, &other.name, &worker.address, &worker.name)
        });
        if is_back {
            worker.farewell.say("the worker is in a new session".to_owned());
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

    /// Why nobody who is connected does tasks of `kind`, a sentence for each worker; `None` when somebody does, or when
    /// nobody is connected.
    pub(crate) fn inability(&self, kind: TaskKind) -> Option<Vec<String>> {
        let workers = self.workers();
        if workers.is_empty() || workers.values().any(|worker| worker.kinds.contains(kind)) {
            return None;
        }
        let reason = |worker: &Arc<Worker>| {
            let missing = worker.missing.get(&kind).map_or("it does not do such tasks", String::as_str);
            format!("{} ({}): {missing}", worker.name, worker.address)
        };
        Some(workers.values().map(reason).collect())
    }

    /// The attempt, if it is `worker`'s.
    pub(crate) fn attempt_of(&self, worker: WorkerId, attempt: AttemptId) -> Option<Arc<Attempt>> {
        self.attempts().get(&attempt).filter(|found| found.worker == worker).cloned()
    }

    /// Who the worker called `name` at `member` is, the same over all its sessions.
    pub(crate) fn peer(&self, name: &str, member: &Member) -> PeerId {
        let key = match member {
            // Its port is another one each time.
            Member::Joined(peer) => format!("{name} at {}", peer.ip().to_canonical()),
            Member::Remote(_) | Member::Local => member.to_string(),
        };
        let mut peers = lock(&self.peers);
        let next = PeerId(peers.len() as u64 + 1);
        *peers.entry(key).or_insert(next)
    }

    /// Removes the artifact `name` of `proof`, which nobody needs any more, unless it may tell who is to blame. Where
    /// room is short, nothing is kept for that.
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
