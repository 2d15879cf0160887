//! A running proof, as its controller sees it.

use crate::{
    believed::{Beliefs, Believed, Inquest},
    board::{Outcome, TaskBoard},
    controller::{AttemptMemory, Checked, CheckedMarker, ProofController, ProofFailure, ProofRequest, TaskSpec},
    core::Input,
    evidence::Evidence,
    memo::{Memo, recall},
    orchestrator::Verify,
    progress::{Progress, WorkerShare},
    shared::{Shared, proof_scope},
};
use artifacts::{Blob, Digest, Store, StoreError};
use futures::StreamExt;
use scheduler::{Event, ProofId, TaskId, TaskKind};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// While it is there, somebody looks for wrong parts.
struct Searching<'a>(&'a ProofState);

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.searching.send_replace(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How logs call the proof `id`: as was asked, in letters and digits, or else by its number.
fn label(id: ProofId, asked: &str) -> String {
    const LONGEST: usize = 64;
    let plain: String = asked.chars().filter(char::is_ascii_alphanumeric).take(LONGEST).collect();
    if plain.is_empty() { id.to_string() } else { plain }
}

/// What the orchestrator keeps of a running proof.
pub(crate) struct ProofState {
    pub(crate) id: ProofId,
    pub(crate) board: TaskBoard,
    pub(crate) over: CancellationToken,
    pub(crate) verify: Verify,
    pub(crate) evidence: Arc<Evidence>,
    /// How it was asked to cut the run.
    asked_options: String,
    /// How the run is cut, once its controller has chosen.
    options: OnceLock<String>,
    /// How logs call it.
    pub(crate) label: String,
    controller: Arc<dyn ProofController>,
    failure: OnceLock<ProofFailure>,
    /// Gone when the proof is over, so that whoever watches sees the end.
    progress: Mutex<Option<broadcast::Sender<Progress>>>,
    /// By name and address: a worker that reconnects is the same to a person.
    shares: Mutex<BTreeMap<(String, String), u64>>,
    pub(crate) shards: AtomicU64,
    /// Tasks without a final result, by kind.
    open: [AtomicUsize; TaskKind::ALL.len()],
    beliefs: Mutex<Beliefs>,
    /// What the memo has of it, to be forgotten should the whole be wrong.
    memo_keys: Mutex<Vec<Digest>>,
    /// Somebody looks for the reason why the whole is wrong.
    searching: watch::Sender<bool>,
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
            asked_options: request.options.clone(),
            options: OnceLock::new(),
            label: label(id, &request.label),
            controller,
            failure: OnceLock::new(),
            progress: Mutex::new(Some(progress)),
            shares: Mutex::default(),
            shards: AtomicU64::new(0),
            open: Default::default(),
            beliefs: Mutex::default(),
            memo_keys: Mutex::default(),
            searching: watch::Sender::new(false),
        }
    }

    /// How the run is cut, as far as that is known.
    pub(crate) fn options(&self) -> &str {
        self.options.get().unwrap_or(&self.asked_options)
    }

    pub(crate) fn memo_key(&self, proof: &ProofHandle, spec: &TaskSpec) -> Option<Digest> {
        self.controller.memo_key(proof, spec)
    }

    /// The memo has a result of this proof, or had.
    pub(crate) fn note_memo(&self, key: Digest) {
        lock(&self.memo_keys).push(key);
    }

    pub(crate) fn memo_keys(&self) -> Vec<Digest> {
        lock(&self.memo_keys).clone()
    }

    /// Notes a result that counts unverified; nothing is noted where all are verified.
    pub(crate) fn believe(&self, believed: Believed) {
        if self.verify == Verify::Final {
            lock(&self.beliefs).add(believed);
        }
    }

    /// True for an artifact that stays for finding out who delivered a wrong part, should the whole be wrong. Nobody
    /// else needs it any more.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.verify == Verify::Final && lock(&self.beliefs).keep(name)
    }

    /// Nobody will find out. The artifacts that were only kept for that.
    pub(crate) fn give_up_beliefs(&self) -> HashSet<String> {
        lock(&self.beliefs).give_up()
    }

    /// Resolves when nobody looks for wrong parts any more.
    pub(crate) async fn searched(&self) {
        // It fails only when the sender is gone, which is borrowed here.
        let _ = self.searching.subscribe().wait_for(|searching| !*searching).await;
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

    /// How logs call it.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.state.label
    }

    /// True when results are kept for later proofs.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        self.shared.memo.as_ref().is_some_and(|memo| memo.keeps()) && !self.state.evidence.compares()
    }

    /// How its run is cut: as its request says, or as its controller has chosen.
    #[must_use]
    pub fn options(&self) -> &str {
        self.state.options()
    }

    /// Sets how the run is cut, before the first task is submitted. The first choice stays.
    pub fn set_options(&self, options: String) {
        let _ = self.state.options.set(options);
    }

    /// What attempts can have of the memory of each connected worker that supports `kind`; `None` for a worker that
    /// does not say.
    #[must_use]
    pub fn attempt_memory(&self, kind: TaskKind) -> Vec<Option<AttemptMemory>> {
        let workers = self.shared.workers();
        let able = workers.values().filter(|worker| worker.kinds.contains(kind));
        able.map(|worker| *worker.memory()).collect()
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

    /// Checks that a connected worker does tasks of `kind`. Passes when nobody is connected, or where that is waited
    /// for: somebody may come.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn check_ability(&self, kind: TaskKind) -> Result<(), ProofFailure> {
        match self.shared.inability(kind) {
            Some(reasons) if !self.shared.settings.waits_for_abilities => Err(ProofFailure::Unable { kind, reasons }),
            Some(_) | None => Ok(()),
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
        let put = move || proof.put_now(&name, Blob::encode(&content));
        tokio::task::spawn_blocking(put).await.expect("keeping an artifact does not panic")
    }

    /// The same for a blob, on a thread that may block.
    pub(crate) fn put_now(&self, name: &str, blob: Blob) -> Result<(), StoreError> {
        let scope = proof_scope(self.state.id);
        self.store().put(scope, name, blob)?;
        // The end of the proof cleared the scope; what comes after it must not stay.
        if self.state.over.is_cancelled() {
            self.store().remove(scope, name);
        }
        Ok(())
    }

    /// Digest of the artifact `name` of the proof; `None` when there is none.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<Digest> {
        Some(self.store().describe(proof_scope(self.state.id), name)?.digest)
    }

    /// Content of the artifact `name` of the proof; `None` when there is none. One that was spilled and cannot be read
    /// back ends the proof.
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

    /// Resolves when the store has room for what an execution makes: at once, but where artifacts come faster than
    /// workers use them.
    pub async fn wait_for_room(&self) {
        self.store().wait_for_room().await;
    }

    /// Forgets the artifact `name` of the proof, unless it may tell who is to blame.
    pub fn remove(&self, name: &str) {
        self.shared.remove(&self.state, name);
    }

    /// Verifies the parts that were believed unverified, when the whole came out wrong or could not be made, and has
    /// those blamed who delivered wrong ones. Does nothing where parts are verified when they come, or where the proof
    /// ended for another reason. To be called when the proof has failed, and the controller can still check parts;
    /// records of shards may be gone then.
    pub async fn find_wrong_parts(&self) {
        if !matches!(
            self.state.failure(),
            Some(ProofFailure::Task { .. } | ProofFailure::Unverified(_) | ProofFailure::Internal(_))
        ) {
            return;
        }
        let all = lock(&self.state.beliefs).all();
        self.state.searching.send_replace(true);
        let _over = Searching(&self.state);
        let mut inquest = Inquest::new(&all);
        let half = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        let mut verdicts = futures::stream::iter(all.into_iter().map(|part| self.check_again(part))).buffered(half);
        while let Some((part, verdict)) = verdicts.next().await {
            let Some(reason) = inquest.hear(&part, verdict) else { continue };
            let Believed { peer, worker, .. } = part;
            tracing::warn!(%worker, %reason, "a worker was found out");
            self.state.evidence.found_wrong_part();
            self.tell(Input::Event(Event::PeerBlamed { peer, reason })).await;
        }
    }

    /// What verifying a believed part comes to; `None` when it or what it takes is gone: a disk that gives it back no
    /// more is not the worker's fault.
    async fn check_again(&self, part: Believed) -> (Believed, Option<Result<(), String>>) {
        let (proof, checked) = (self.clone(), part.clone());
        let check = move || {
            let there = checked.needs().all(|name| proof.get_now(name).is_some());
            let output = checked.name().filter(|_| there).and_then(|name| proof.get_now(name));
            output.map(|output| proof.state.check(Checked { proof: &proof, spec: &checked.spec, output }))
        };
        // A check that panics has no verdict either.
        let verdict = tokio::task::spawn_blocking(check).await.unwrap_or(None);
        (part, verdict)
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

    /// A task for a worker. Waits while the orchestrator is busy; never fails: a proof that is over has all its tasks
    /// ended.
    pub async fn submit(&self, spec: TaskSpec) -> TaskId {
        let task = self.next_task();
        self.state.report(Progress::Submitted(spec.kind));
        let key = match &self.shared.memo {
            // What was claimed earlier is what a comparison is to find out about.
            Some(memo) if !self.state.evidence.compares() => {
                let key = self.state.memo_key(self, &spec);
                if let Some(key) = key
                    && self.recall(memo.clone(), key, task, &spec).await
                {
                    return task;
                }
                key
            }
            Some(_) | None => None,
        };
        self.tell(Input::Submit { proof: self.state.clone(), task, spec, key }).await;
        task
    }

    /// Has `task` done by what is remembered under `key`; false when that does not do.
    async fn recall(&self, memo: Arc<dyn Memo>, key: Digest, task: TaskId, spec: &TaskSpec) -> bool {
        let (proof, asked) = (self.clone(), spec.clone());
        let recalled = tokio::task::spawn_blocking(move || {
            let Some(found) = memo.find(key) else { return false };
            let Err(reason) = recall(&proof, &asked, found) else { return true };
            // That the proof is over is not its fault.
            if !proof.over().is_cancelled() {
                tracing::warn!(proof_id = proof.label(), task_id = %task, %reason, "a remembered result is wrong and was forgotten");
                memo.forget(&[key]);
            }
            false
        });
        // A check that panics has found nothing.
        if !recalled.await.unwrap_or(false) {
            return false;
        }
        self.state.note_memo(key);
        self.state.evidence.recall();
        if spec.kind.is_shard() {
            self.state.shards.fetch_add(1, Ordering::Relaxed);
        }
        self.state.report(Progress::Remembered(spec.kind));
        if let Some(marker) = spec.marker {
            self.state.board.end(marker, Outcome::Succeeded);
        }
        self.state.board.end(task, Outcome::Succeeded);
        true
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
