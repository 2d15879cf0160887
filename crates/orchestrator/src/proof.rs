//! A running proof, as its controller sees it.

use crate::{
    board::{Outcome, TaskBoard},
    controller::{Checked, CheckedMarker, ProofController, ProofFailure, ProofRequest, TaskInput, TaskSpec},
    core::Input,
    evidence::Evidence,
    orchestrator::Verify,
    progress::{Progress, WorkerShare},
    shared::{Shared, proof_scope},
};
use artifacts::{Blob, Store, StoreError};
use scheduler::{Event, PeerId, ProofId, TaskId, TaskKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the orchestrator keeps of a running proof.
pub(crate) struct ProofState {
    pub(crate) id: ProofId,
    pub(crate) board: TaskBoard,
    pub(crate) over: CancellationToken,
    pub(crate) verify: Verify,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) options: String,
    controller: Arc<dyn ProofController>,
    failure: OnceLock<ProofFailure>,
    /// Gone when the proof is over, so that whoever watches sees the end.
    progress: Mutex<Option<broadcast::Sender<Progress>>>,
    /// By name and address: a worker that reconnects is the same to a person.
    shares: Mutex<BTreeMap<(String, String), u64>>,
    pub(crate) shards: AtomicU64,
    /// Tasks without a final result, by kind.
    open: [AtomicUsize; TaskKind::ALL.len()],
    /// Results that were believed unverified, in the order they were accepted.
    believed: Mutex<Vec<Believed>>,
}

/// A result that counts though nobody has verified it.
pub(crate) struct Believed {
    pub(crate) spec: TaskSpec,
    pub(crate) peer: PeerId,
    pub(crate) worker: String,
}

impl Believed {
    /// True for an artifact that verifying it takes. What shards are made of is large, and what it says was noted.
    fn needs(&self, name: &str) -> bool {
        let is_input = |input: &TaskInput| matches!(input, TaskInput::Artifact { name: input, .. } if input == name);
        self.spec.outputs.first().is_some_and(|output| output == name)
            || !self.spec.kind.is_shard() && self.spec.inputs.iter().any(is_input)
    }
}

impl ProofState {
    pub(crate) fn new(
        id: ProofId,
        request: &ProofRequest,
        controller: Arc<dyn ProofController>,
        verify: Verify,
        evidence: Arc<Evidence>,
        progress: broadcast::Sender<Progress>,
    ) -> Self {
        Self {
            id,
            board: TaskBoard::default(),
            over: CancellationToken::new(),
            verify,
            evidence,
            options: request.options.clone(),
            controller,
            failure: OnceLock::new(),
            progress: Mutex::new(Some(progress)),
            shares: Mutex::default(),
            shards: AtomicU64::new(0),
            open: Default::default(),
            believed: Mutex::default(),
        }
    }

    /// Notes a result that counts unverified; nothing is noted where all are verified.
    pub(crate) fn believe(&self, believed: Believed) {
        if self.verify == Verify::Final {
            lock(&self.believed).push(believed);
        }
    }

    /// True for an artifact that is kept for finding out who delivered a wrong part, should the whole be wrong.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        lock(&self.believed).iter().any(|believed| believed.needs(name))
    }

    /// Ends the proof with `failure`, unless it has ended.
    pub(crate) fn fail(&self, failure: ProofFailure) {
        if self.failure.set(failure).is_ok() {
            self.over.cancel();
        }
    }

    pub(crate) fn failure(&self) -> Option<ProofFailure> {
        self.failure.get().cloned()
    }

    pub(crate) fn report(&self, progress: Progress) {
        if let Some(sender) = &*lock(&self.progress) {
            // Nobody has to look.
            let _ = sender.send(progress);
        }
    }

    /// Nothing more is reported.
    pub(crate) fn end_progress(&self) {
        lock(&self.progress).take();
    }

    /// A task of `kind` has to be done.
    pub(crate) fn begin(&self, kind: TaskKind) {
        self.open[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// A task of `kind` has its final result.
    pub(crate) fn done(&self, kind: TaskKind) {
        self.open[kind.index()].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn waits_for(&self, kind: TaskKind) -> bool {
        self.open[kind.index()].load(Ordering::Relaxed) > 0
    }

    pub(crate) fn check(&self, result: Checked<'_>) -> Result<(), String> {
        self.controller.check(result)
    }

    pub(crate) fn check_marker(&self, marker: CheckedMarker<'_>) -> Result<(), String> {
        self.controller.check_marker(marker)
    }

    pub(crate) fn count(&self, name: &str, address: &str) {
        let mut shares = lock(&self.shares);
        *shares.entry((name.to_owned(), address.to_owned())).or_default() += 1;
    }

    pub(crate) fn shares(&self) -> Vec<WorkerShare> {
        let shares = lock(&self.shares);
        let share = |((name, address), tasks): (&(String, String), &u64)| WorkerShare {
            name: name.clone(),
            address: address.clone(),
            tasks: *tasks,
        };
        shares.iter().map(share).collect()
    }
}

/// A running proof. Cheap to clone; useless, but harmless, once the proof is over.
#[derive(Clone)]
pub struct ProofHandle {
    pub(crate) state: Arc<ProofState>,
    pub(crate) shared: Arc<Shared>,
}

impl ProofHandle {
    /// The proof's id.
    #[must_use]
    pub fn id(&self) -> ProofId {
        self.state.id
    }

    /// True when `other` is of the same proof: ids are only unique within an orchestrator.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Statuses and message channels of its tasks.
    #[must_use]
    pub fn board(&self) -> &TaskBoard {
        &self.state.board
    }

    /// Cancelled when the proof is over, whatever the outcome.
    #[must_use]
    pub fn over(&self) -> &CancellationToken {
        &self.state.over
    }

    /// Ends the proof with `failure`, unless it has ended.
    pub fn fail(&self, failure: ProofFailure) {
        self.state.fail(failure);
    }

    /// Checks that a connected worker does tasks of `kind`. Passes when nobody is connected: somebody may come.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn check_ability(&self, kind: TaskKind) -> Result<(), ProofFailure> {
        match self.shared.inability(kind) {
            Some(reasons) => Err(ProofFailure::Unable { kind, reasons }),
            None => Ok(()),
        }
    }

    /// Tells whoever watches.
    pub fn report(&self, progress: Progress) {
        self.state.report(progress);
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Keeps `content` as an artifact of the proof.
    ///
    /// # Errors
    /// When the name has other content, or when there is no room for it.
    pub async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), StoreError> {
        let (proof, name) = (self.clone(), name.to_owned());
        let put = move || {
            let scope = proof_scope(proof.state.id);
            proof.store().put(scope, &*name, Blob::encode(&content))?;
            // The end of the proof cleared the scope; what comes after it must not stay.
            if proof.state.over.is_cancelled() {
                proof.store().remove(scope, &name);
            }
            Ok(())
        };
        tokio::task::spawn_blocking(put).await.expect("keeping an artifact does not panic")
    }

    /// Content of the artifact `name` of the proof; `None` when there is none. One that was spilled and cannot be read back ends the proof.
    pub async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (proof, name) = (self.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || proof.get_now(&name)).await.expect("reading an artifact does not panic")
    }

    /// The same, on a thread that may block.
    #[must_use]
    pub fn get_now(&self, name: &str) -> Option<Vec<u8>> {
        let stored = self.store().get(proof_scope(self.state.id), name)?;
        match stored.load() {
            Ok(blob) => Some(blob.decode().expect("a stored blob was checked when it came")),
            Err(error) => {
                self.fail(ProofFailure::Host(error.to_string()));
                None
            }
        }
    }

    /// True when the proof has an artifact `name`.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.store().describe(proof_scope(self.state.id), name).is_some()
    }

    /// Resolves when the store has room for what an execution makes: at once, but where artifacts come faster than workers use them.
    pub async fn wait_for_room(&self) {
        self.store().wait_for_room().await;
    }

    /// Forgets the artifact `name` of the proof, unless it may tell who is to blame.
    pub fn remove(&self, name: &str) {
        if !self.state.keeps(name) {
            self.store().remove(proof_scope(self.state.id), name);
        }
    }

    /// Verifies the parts that were believed unverified, after the whole came out wrong or could not be made, and has those blamed who delivered wrong ones. Does
    /// nothing where parts are verified when they come, or where the proof ended for another reason. To be called while the controller can still check parts.
    pub async fn find_wrong_parts(&self) {
        if !matches!(
            self.state.failure(),
            None | Some(ProofFailure::Task { .. } | ProofFailure::Unverified(_) | ProofFailure::Internal(_))
        ) {
            return;
        }
        let mut wrong: BTreeSet<String> = BTreeSet::new();
        let believed = std::mem::take(&mut *lock(&self.state.believed));
        for Believed { spec, peer, worker } in believed {
            let Some(name) = spec.outputs.first().cloned() else { continue };
            let of_wrong =
                |input: &TaskInput| matches!(input, TaskInput::Artifact { name, .. } if wrong.contains(name));
            // What is made of a wrong part is wrong through no fault of its own.
            if spec.inputs.iter().any(of_wrong) {
                wrong.insert(name);
                continue;
            }
            let (proof, output) = (self.clone(), name.clone());
            let check = move || {
                // A disk that gives it back no more is not the worker's fault.
                let Some(output) = proof.get_now(&output) else { return Ok(()) };
                proof.state.check(Checked { proof: &proof, spec: &spec, output })
            };
            let verdict = tokio::task::spawn_blocking(check).await;
            if let Err(reason) = verdict.unwrap_or_else(|_| Err("checking it panicked".to_owned())) {
                tracing::warn!(%worker, part = %name, %reason, "a worker was found out");
                wrong.insert(name);
                self.state.evidence.found_wrong_part();
                self.tell(Input::Event(Event::PeerBlamed { peer, reason })).await;
            }
        }
    }

    fn next_task(&self) -> TaskId {
        let task = TaskId(self.shared.next_task.fetch_add(1, Ordering::Relaxed));
        self.state.board.open(task);
        task
    }

    /// A task that the controller itself carries out: it ends it on the board.
    #[must_use]
    pub fn open_local_task(&self) -> TaskId {
        self.next_task()
    }

    /// A task that a worker completes on its way to another.
    pub async fn submit_marker(&self) -> TaskId {
        let task = self.next_task();
        self.tell(Input::Event(Event::MarkerSubmitted { proof: self.state.id, task })).await;
        task
    }

    /// A task for a worker. Waits while the orchestrator is busy; never fails: a proof that is over has all its tasks ended.
    pub async fn submit(&self, spec: TaskSpec) -> TaskId {
        let task = self.next_task();
        self.state.report(Progress::Submitted(spec.kind));
        self.tell(Input::Submit { proof: self.state.clone(), task, spec }).await;
        task
    }

    async fn tell(&self, input: Input) {
        if self.shared.inbox.send(input).await.is_err() {
            self.state.fail(ProofFailure::Internal("the orchestrator has stopped".to_owned()));
        }
    }

    /// Resolves to the task's end.
    pub fn watch(&self, task: TaskId) -> oneshot::Receiver<Outcome> {
        self.state.board.watch(task)
    }

    /// The one receiver of a task's messages; `None` when it is taken.
    pub fn receive(&self, task: TaskId) -> Option<mpsc::UnboundedReceiver<Vec<u8>>> {
        self.state.board.receive(task)
    }
}
