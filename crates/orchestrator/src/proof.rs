//! A running proof: its state, and the handle that its controller uses.

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

/// An audit is running while this value exists.
struct Searching<'a>(&'a ProofState);

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.searching.send_replace(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the name of proof `id` in logs: the ASCII letters and digits of `asked`, or the number of the proof if there
/// are none.
fn label(id: ProofId, asked: &str) -> String {
    const LONGEST: usize = 64;
    let plain: String = asked.chars().filter(char::is_ascii_alphanumeric).take(LONGEST).collect();
    if plain.is_empty() { id.to_string() } else { plain }
}

/// State of a running proof.
pub(crate) struct ProofState {
    pub(crate) id: ProofId,
    pub(crate) board: TaskBoard,
    pub(crate) over: CancellationToken,
    pub(crate) verify: Verify,
    pub(crate) evidence: Arc<Evidence>,
    /// Options of the request.
    asked_options: String,
    /// Options with the cut that the controller has chosen.
    options: OnceLock<String>,
    /// Name of the proof in logs.
    pub(crate) label: String,
    controller: Arc<dyn ProofController>,
    failure: OnceLock<ProofFailure>,
    /// `None` once the proof has ended, so that its watchers see the end.
    progress: Mutex<Option<broadcast::Sender<Progress>>>,
    /// Number of accepted results by name and address of the worker. A worker that reconnects keeps its number.
    shares: Mutex<BTreeMap<(String, String), u64>>,
    pub(crate) shards: AtomicU64,
    /// Number of tasks without a final result, by kind.
    open: [AtomicUsize; TaskKind::ALL.len()],
    beliefs: Mutex<Beliefs>,
    /// Keys of the proof's results in the result cache, which are removed if the finished proof is wrong.
    memo_keys: Mutex<Vec<Digest>>,
    /// True while an audit is running.
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

    /// Returns the options with the chosen cut, or the options of the request before the controller has chosen.
    pub(crate) fn options(&self) -> &str {
        self.options.get().unwrap_or(&self.asked_options)
    }

    pub(crate) fn memo_key(&self, proof: &ProofHandle, spec: &TaskSpec) -> Option<Digest> {
        self.controller.memo_key(proof, spec)
    }

    /// Records that the result cache has, or had, a result of this proof under `key`.
    pub(crate) fn note_memo(&self, key: Digest) {
        lock(&self.memo_keys).push(key);
    }

    pub(crate) fn memo_keys(&self) -> Vec<Digest> {
        lock(&self.memo_keys).clone()
    }

    /// Records an unverified result. Does nothing if all results are verified.
    pub(crate) fn believe(&self, believed: Believed) {
        if self.verify == Verify::Final {
            lock(&self.beliefs).add(believed);
        }
    }

    /// Returns true if the artifact `name`, which nothing else needs any more, must be kept for an audit.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.verify == Verify::Final && lock(&self.beliefs).keep(name)
    }

    /// Gives up any audit. Returns the artifacts that were only kept for it.
    pub(crate) fn give_up_beliefs(&self) -> HashSet<String> {
        lock(&self.beliefs).give_up()
    }

    /// Resolves when no audit is running.
    pub(crate) async fn searched(&self) {
        // This fails only if the sender is dropped, and `self` holds the sender.
        let _ = self.searching.subscribe().wait_for(|searching| !*searching).await;
    }

    /// Ends the proof with `failure`. Only the first failure counts.
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
            // There may be no watcher.
            let _ = sender.send(progress);
        }
    }

    /// Ends the progress reports.
    pub(crate) fn end_progress(&self) {
        lock(&self.progress).take();
    }

    /// Counts a new task of `kind`.
    pub(crate) fn begin(&self, kind: TaskKind) {
        self.open[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a task of `kind` as completed.
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

/// A handle to a running proof. Cheap to clone. Using it after the end of the proof is harmless and has no effect.
#[derive(Clone)]
pub struct ProofHandle {
    pub(crate) state: Arc<ProofState>,
    pub(crate) shared: Arc<Shared>,
}

impl ProofHandle {
    /// Returns the id of the proof.
    #[must_use]
    pub fn id(&self) -> ProofId {
        self.state.id
    }

    /// Returns true if `other` belongs to the same proof. Ids are only unique within one orchestrator.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Returns the name of the proof in logs.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.state.label
    }

    /// Returns true if the results of this proof are cached for later proofs.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        self.shared.memo.as_ref().is_some_and(|memo| memo.keeps()) && !self.state.evidence.compares()
    }

    /// Returns the options with the chosen cut, or the options of the request before the controller has chosen.
    #[must_use]
    pub fn options(&self) -> &str {
        self.state.options()
    }

    /// Sets the options with the chosen cut. Call it before the first task is submitted. Only the first call counts.
    pub fn set_options(&self, options: String) {
        let _ = self.state.options.set(options);
    }

    /// Returns how much memory attempts can use on each connected worker that supports `kind`; `None` for a worker that
    /// does not report it.
    #[must_use]
    pub fn attempt_memory(&self, kind: TaskKind) -> Vec<Option<AttemptMemory>> {
        let workers = self.shared.workers();
        let able = workers.values().filter(|worker| worker.kinds.contains(kind));
        able.map(|worker| *worker.memory()).collect()
    }

    /// Returns the statuses and the message channels of the proof's tasks.
    #[must_use]
    pub fn board(&self) -> &TaskBoard {
        &self.state.board
    }

    /// Returns a token that is cancelled when the proof ends, whatever its outcome.
    #[must_use]
    pub fn over(&self) -> &CancellationToken {
        &self.state.over
    }

    /// Ends the proof with `failure`. Only the first failure counts.
    pub fn fail(&self, failure: ProofFailure) {
        self.state.fail(failure);
    }

    /// Checks that a connected worker supports `kind`. Also succeeds if no worker is connected, or if the settings say
    /// that a proof waits for such a worker.
    ///
    /// # Errors
    /// Returns the reasons why no connected worker supports `kind`.
    pub fn check_ability(&self, kind: TaskKind) -> Result<(), ProofFailure> {
        match self.shared.inability(kind) {
            Some(reasons) if !self.shared.settings.waits_for_abilities => Err(ProofFailure::Unable { kind, reasons }),
            Some(_) | None => Ok(()),
        }
    }

    /// Sends a progress report to the watchers of the proof.
    pub fn report(&self, progress: Progress) {
        self.state.report(progress);
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Stores `content` as artifact `name` of the proof.
    ///
    /// # Errors
    /// Fails if the name has different content, or if there is no room.
    pub async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), StoreError> {
        let (proof, name) = (self.clone(), name.to_owned());
        let put = move || proof.put_now(&name, Blob::encode(&content));
        tokio::task::spawn_blocking(put).await.expect("storing an artifact does not panic")
    }

    /// Does the same for a blob, on a thread that may block.
    pub(crate) fn put_now(&self, name: &str, blob: Blob) -> Result<(), StoreError> {
        let scope = proof_scope(self.state.id);
        self.store().put(scope, name, blob)?;
        // The end of the proof removed its scope. An artifact that is stored later must not stay.
        if self.state.over.is_cancelled() {
            self.store().remove(scope, name);
        }
        Ok(())
    }

    /// Returns the digest of the proof's artifact `name`; `None` if it does not exist.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<Digest> {
        Some(self.store().describe(proof_scope(self.state.id), name)?.digest)
    }

    /// Returns the content of the proof's artifact `name`; `None` if it does not exist. Fails the proof if the artifact
    /// was spilled and cannot be read back.
    pub async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (proof, name) = (self.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || proof.get_now(&name)).await.expect("reading an artifact does not panic")
    }

    /// Does the same as [`ProofHandle::get`], on a thread that may block.
    #[must_use]
    pub fn get_now(&self, name: &str) -> Option<Vec<u8>> {
        let stored = self.store().get(proof_scope(self.state.id), name)?;
        match stored.load() {
            Ok(blob) => Some(blob.decode().expect("blobs are checked before they are stored")),
            Err(error) => {
                self.fail(ProofFailure::Host(error.to_string()));
                None
            }
        }
    }

    /// Returns true if the proof has an artifact `name`.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.store().describe(proof_scope(self.state.id), name).is_some()
    }

    /// Resolves when the store has room for the artifacts of an execution. This is usually at once, unless artifacts
    /// arrive faster than workers use them.
    pub async fn wait_for_room(&self) {
        self.store().wait_for_room().await;
    }

    /// Removes the proof's artifact `name`, unless it must be kept for an audit.
    pub fn remove(&self, name: &str) {
        self.shared.remove(&self.state, name);
    }

    /// Audits the unverified results after the proof has failed, and records faults of the workers that sent wrong
    /// ones. Does nothing if results are verified when they arrive, or if wrong results cannot be the cause of the
    /// failure. Call it while the controller can still check results. The records of shards may be removed by then.
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
            tracing::warn!(%worker, %reason, "worker sent a wrong result");
            self.state.evidence.found_wrong_part();
            self.tell(Input::Event(Event::PeerBlamed { peer, reason })).await;
        }
    }

    /// Verifies an unverified result. The verdict is `None` if the result or an artifact that its check needs is
    /// missing, because a disk that loses artifacts is not the fault of the worker.
    async fn check_again(&self, part: Believed) -> (Believed, Option<Result<(), String>>) {
        let (proof, checked) = (self.clone(), part.clone());
        let check = move || {
            let there = checked.needs().all(|name| proof.get_now(name).is_some());
            let output = checked.name().filter(|_| there).and_then(|name| proof.get_now(name));
            output.map(|output| proof.state.check(Checked { proof: &proof, spec: &checked.spec, output }))
        };
        // A check that panics gives no verdict.
        let verdict = tokio::task::spawn_blocking(check).await.unwrap_or(None);
        (part, verdict)
    }

    fn next_task(&self) -> TaskId {
        let task = TaskId(self.shared.next_task.fetch_add(1, Ordering::Relaxed));
        self.state.board.open(task);
        task
    }

    /// Opens a task that the controller carries out itself. The controller also ends it, on the task tracker.
    #[must_use]
    pub fn open_local_task(&self) -> TaskId {
        self.next_task()
    }

    /// Submits a marker: a task that a worker completes while it works on another task.
    pub async fn submit_marker(&self) -> TaskId {
        let task = self.next_task();
        self.tell(Input::Event(Event::MarkerSubmitted { proof: self.state.id, task })).await;
        task
    }

    /// Submits a task for a worker. Waits while the orchestrator is busy. Never fails: if the proof has ended, the task
    /// counts as failed.
    pub async fn submit(&self, spec: TaskSpec) -> TaskId {
        let task = self.next_task();
        self.state.report(Progress::Submitted(spec.kind));
        let key = match &self.shared.memo {
            // A comparison of deferred claims must not use cached claims, because they may be wrong.
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

    /// Completes `task` with the cached result under `key`. Returns false if there is no usable result.
    async fn recall(&self, memo: Arc<dyn Memo>, key: Digest, task: TaskId, spec: &TaskSpec) -> bool {
        let (proof, asked) = (self.clone(), spec.clone());
        let recalled = tokio::task::spawn_blocking(move || {
            let Some(found) = memo.find(key) else { return false };
            let Err(reason) = recall(&proof, &asked, found) else { return true };
            // A failure after the end of the proof is not the fault of the cached result.
            if !proof.over().is_cancelled() {
                tracing::warn!(proof_id = proof.label(), task_id = %task, %reason, "cached result is wrong and was removed");
                memo.forget(&[key]);
            }
            false
        });
        // A check that panics counts as no result.
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

    /// Returns a receiver of the task's outcome, which arrives when the task ends.
    pub fn watch(&self, task: TaskId) -> oneshot::Receiver<Outcome> {
        self.state.board.watch(task)
    }

    /// Returns the only receiver of the task's messages; `None` if it is already taken.
    pub fn receive(&self, task: TaskId) -> Option<mpsc::UnboundedReceiver<Vec<u8>>> {
        self.state.board.receive(task)
    }
}
