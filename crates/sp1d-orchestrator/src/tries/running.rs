//! The state of a running try of a proof request.

use super::{
    findings::ProofFindings,
    task_outcomes::TaskOutcomes,
    unverified::{UnverifiedResult, UnverifiedResults},
};
use crate::{
    lock::lock,
    runner::{checks::ProofChecks, failure::ProofFailure, request::ProofRequest, task::TaskSpec},
    scope::try_scope,
    settings::Verify,
    workers::connected_worker::ConnectedWorker,
};
use sp1d_artifacts::{Digest, Store};
use sp1d_model::{ProofEvent, WorkerTasks};
use sp1d_protocol::wire::{self, ToWorker, to_worker};
use sp1d_scheduler::{ShardSize, TaskKind, TryId};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// While this value exists, the try waits for a worker that supports the kind.
pub(crate) struct AwaitedKind<'a> {
    running_try: &'a RunningTry,
    kind: TaskKind,
}

impl Drop for AwaitedKind<'_> {
    fn drop(&mut self) {
        self.running_try.remove_open_task(self.kind);
    }
}

/// The name and the address of a worker, as users know it.
type NameAndAddress = (Arc<str>, Arc<str>);

/// State of a running try of a proof request.
pub(crate) struct RunningTry {
    /// Number of this try. The next try of the request gets another number.
    pub(crate) id: TryId,
    pub(crate) task_outcomes: TaskOutcomes,
    /// Cancelled when the try stops: when it fails, or at its cleanup if it did not fail. The artifacts of a failed try
    /// stay until the cleanup (`TryCleanup`), because an audit may need them.
    pub(crate) stopped: CancellationToken,
    pub(crate) verify: Verify,
    /// What all tries of the request have found out.
    pub(crate) findings: Arc<ProofFindings>,
    /// True if a worker of another origin must confirm claims. Cached results are not used then: their deferred events
    /// may be wrong, and are not claims that could be compared.
    pub(crate) compares_claims: bool,
    /// Options of the request.
    requested_options: String,
    /// Options with the cut that the runner has chosen.
    options: OnceLock<String>,
    /// The chosen cut in trace cells; 0 before the runner has chosen it.
    cut: AtomicU64,
    /// Size of full shards, if the try excludes the workers into which they do not fit. The scheduler has the same size
    /// (`ScheduledTry::shard_size`). Both keep the first size that they get. These are equal, because the runner awaits
    /// `exclude_small_workers` before it sets the cut. Before the cut is set, nothing else excludes workers. All sizes
    /// that follow from the cut are equal.
    excluded_below: OnceLock<ShardSize>,
    /// Only trusted workers get its tasks.
    pub(crate) trusted_only: bool,
    /// Digest of the input, for the result cache. `None` if no results are cached.
    pub(crate) input_digest: Option<Digest>,
    /// Name of the proof in logs, in the field `proof_id`: the label of the request, or the number of this try if the
    /// request has no label.
    pub(crate) label: String,
    /// Empty until the runner sets them.
    checks: OnceLock<Box<dyn ProofChecks>>,
    failure: OnceLock<ProofFailure>,
    /// `None` once the try has ended. The watchers see the end of the proof when the last sender is dropped, and this
    /// value may live longer.
    progress: Mutex<Option<broadcast::Sender<ProofEvent>>>,
    /// Number of accepted results by name and address of the worker. The count of a worker that reconnects continues.
    results_by_worker: Mutex<BTreeMap<NameAndAddress, u64>>,
    /// Number of submitted shards, with those whose results come from the result cache.
    pub(crate) shards: AtomicU64,
    /// Number of tasks without a final result and of other waits for a worker, by kind.
    open_by_kind: [AtomicUsize; TaskKind::ALL.len()],
    unverified: Mutex<UnverifiedResults>,
    /// Whose cached results the try may use; see [`ProofRequest::cache_scope`].
    cache_scope: String,
    /// Keys of the try's results in the result cache. They are removed if these results may be the cause of a failure.
    cached_keys: Mutex<Vec<Digest>>,
}

/// Returns the key of a result in a scope. The key has a fixed length, so that no two scopes have the same key.
fn scoped_key(scope: &str, key: Digest) -> Digest {
    if scope.is_empty() { key } else { Digest::of(&[&key.as_bytes()[..], scope.as_bytes()].concat()) }
}

impl RunningTry {
    pub(crate) fn new(
        id: TryId,
        request: &ProofRequest,
        input_digest: Option<Digest>,
        verify: Verify,
        findings: Arc<ProofFindings>,
        compares_claims: bool,
        progress: broadcast::Sender<ProofEvent>,
    ) -> Self {
        Self {
            id,
            task_outcomes: TaskOutcomes::default(),
            stopped: CancellationToken::new(),
            verify,
            findings,
            compares_claims,
            requested_options: request.options.clone(),
            options: OnceLock::new(),
            cut: AtomicU64::new(0),
            excluded_below: OnceLock::new(),
            trusted_only: request.trusted_only,
            input_digest,
            label: label(id, &request.label),
            checks: OnceLock::new(),
            failure: OnceLock::new(),
            progress: Mutex::new(Some(progress)),
            results_by_worker: Mutex::default(),
            shards: AtomicU64::new(0),
            open_by_kind: Default::default(),
            unverified: Mutex::default(),
            cache_scope: request.cache_scope.clone(),
            cached_keys: Mutex::default(),
        }
    }

    /// Returns the options with the chosen cut, or the options of the request before the runner has chosen.
    pub(crate) fn options(&self) -> &str {
        self.options.get().unwrap_or(&self.requested_options)
    }

    /// Sets the options with the chosen cut. Only the first call counts.
    pub(crate) fn set_options(&self, options: String, cut: u64) {
        if self.options.set(options).is_ok() {
            self.cut.store(cut, Ordering::Relaxed);
        }
    }

    /// Returns the chosen cut in trace cells; 0 before the runner has chosen it.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Records that the try excludes workers into which shards of `size` do not fit. Only the first call counts, as for
    /// the scheduler.
    pub(crate) fn exclude_workers_below(&self, size: ShardSize) {
        let _ = self.excluded_below.set(size);
    }

    /// Returns true if the try excludes small workers.
    pub(crate) fn excludes_small_workers(&self) -> bool {
        self.excluded_below.get().is_some()
    }

    /// Returns true if `worker` may get shards of the try, unless it is too small.
    pub(crate) fn may_prove_shards(&self, worker: &ConnectedWorker) -> bool {
        let proves_shards =
            TaskKind::ALL.into_iter().any(|kind| kind.is_shard() && worker.supported_kinds.contains(kind));
        proves_shards && (worker.trusted || !self.trusted_only)
    }

    /// Notifies `worker` if it gets no shards of the try because it is too small. If its outbox is full, the message is
    /// dropped: it is only for the log of the worker.
    pub(crate) fn notify_if_excluded(&self, worker: &ConnectedWorker) {
        let Some(size) = self.excluded_below.get() else { return };
        if !self.may_prove_shards(worker) || worker.shard_room().fits(*size) {
            return;
        }
        let excluded = wire::ExcludedFromShards { proof: self.label.clone(), cells: size.cells };
        let message = to_worker::Message::ExcludedFromShards(excluded);
        let _ = worker.outbox.try_send(Ok(ToWorker { message: Some(message) }));
    }

    /// Sets the checks of the try. Only the first call counts.
    pub(crate) fn set_checks(&self, checks: Box<dyn ProofChecks>) {
        let _ = self.checks.set(checks);
    }

    /// Returns the checks of the try.
    ///
    /// # Errors
    /// Fails if the runner has not set them, so that nothing counts as checked.
    pub(crate) fn checks(&self) -> Result<&dyn ProofChecks, String> {
        let checks = self.checks.get().ok_or_else(|| "the runner has not set the checks of the proof".to_owned())?;
        Ok(&**checks)
    }

    /// Checks `output`, the content of a result of the task `spec`, with the try's artifacts in `store`. May block.
    ///
    /// # Errors
    /// Returns what is wrong with the result.
    pub(crate) fn check_result(&self, store: &Store, spec: &TaskSpec, output: &[u8]) -> Result<(), String> {
        self.checks()?.check_result(spec, output, &|name: &str| self.read_artifact(store, name))
    }

    /// Returns the content of the try's artifact `name` in `store`; `None` if it does not exist. Fails the try if
    /// the artifact was spilled and cannot be read back. May block.
    pub(crate) fn read_artifact(&self, store: &Store, name: &str) -> Option<Vec<u8>> {
        let stored = store.get(try_scope(self.id), name)?;
        match stored.load() {
            Ok(blob) => Some(blob.decode().expect("blobs are checked before they are stored")),
            Err(error) => {
                self.fail(ProofFailure::Machine(error.to_string()));
                None
            }
        }
    }

    /// Returns the key in the result cache for a result whose inputs have the digest `key`.
    pub(crate) fn scoped_key(&self, key: Digest) -> Digest {
        scoped_key(&self.cache_scope, key)
    }

    /// Records `key`: the result cache holds a result of this try under it, or will.
    pub(crate) fn note_cached_key(&self, key: Digest) {
        lock(&self.cached_keys).push(key);
    }

    pub(crate) fn cached_keys(&self) -> Vec<Digest> {
        lock(&self.cached_keys).clone()
    }

    /// Records the unverified result that `result` makes. Does nothing if all results are verified.
    pub(crate) fn add_unverified(&self, result: impl FnOnce() -> UnverifiedResult) {
        if self.verify == Verify::Final {
            let result = result();
            lock(&self.unverified).add(result);
        }
    }

    /// Keeps the artifact `name`, which nothing else needs any more, if an audit needs it. Returns true if it is kept.
    fn keep_for_audit(&self, name: &str) -> bool {
        self.verify == Verify::Final && lock(&self.unverified).keep_if_needed(name)
    }

    /// Gives up any audit. Returns the artifacts that were only kept for it.
    fn give_up_audit(&self) -> HashSet<String> {
        lock(&self.unverified).give_up()
    }

    /// Returns all unverified results, in the order in which they were accepted.
    pub(crate) fn unverified(&self) -> Vec<UnverifiedResult> {
        lock(&self.unverified).all()
    }

    /// Fails the try, which stops it: its execution and its checks end, and the cleanup follows. Only the first failure
    /// counts. `Orchestrator::prove` decides whether the proof restarts.
    pub(crate) fn fail(&self, failure: ProofFailure) {
        if self.failure.set(failure).is_ok() {
            self.stopped.cancel();
        }
    }

    pub(crate) fn failure(&self) -> Option<ProofFailure> {
        self.failure.get().cloned()
    }

    /// Sends an event to the watchers of the proof.
    pub(crate) fn publish(&self, event: ProofEvent) {
        if let Some(sender) = &*lock(&self.progress) {
            // There may be no watcher.
            let _ = sender.send(event);
        }
    }

    /// Ends the events for the watchers.
    pub(crate) fn end_progress(&self) {
        lock(&self.progress).take();
    }

    /// Counts a new task of `kind`.
    pub(crate) fn add_open_task(&self, kind: TaskKind) {
        self.open_by_kind[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Stops counting a task of `kind`: it has a final result, or it failed.
    pub(crate) fn remove_open_task(&self, kind: TaskKind) {
        self.open_by_kind[kind.index()].fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a wait for a worker that supports `kind` like an open task, until the returned value is dropped.
    pub(crate) fn await_kind(&self, kind: TaskKind) -> AwaitedKind<'_> {
        self.add_open_task(kind);
        AwaitedKind { running_try: self, kind }
    }

    /// Returns true if a task of `kind` is open, or [`Self::await_kind`] waits for a worker that supports it.
    pub(crate) fn needs_kind(&self, kind: TaskKind) -> bool {
        self.open_by_kind[kind.index()].load(Ordering::Relaxed) > 0
    }

    /// Removes the artifact `name` of the try, which nothing needs any more, from `store`, unless it must be kept for
    /// an audit. If the store is under pressure, nothing is kept for an audit.
    pub(crate) fn remove_artifact(&self, store: &Store, name: &str) {
        let scope = try_scope(self.id);
        if !self.keep_for_audit(name) {
            store.remove(scope, name);
        } else if store.is_under_pressure() {
            for name in self.give_up_audit() {
                store.remove(scope, &name);
            }
        }
    }

    /// Counts an accepted result of the worker `name` at `address`.
    pub(crate) fn count_result(&self, name: &Arc<str>, address: &Arc<str>) {
        let mut results = lock(&self.results_by_worker);
        *results.entry((name.clone(), address.clone())).or_default() += 1;
    }

    pub(crate) fn results_by_worker(&self) -> Vec<WorkerTasks> {
        let results = lock(&self.results_by_worker);
        let of_worker = |((name, address), tasks): (&NameAndAddress, &u64)| WorkerTasks {
            name: name.to_string(),
            address: address.to_string(),
            tasks: *tasks,
        };
        results.iter().map(of_worker).collect()
    }
}

/// Returns the name of the proof in logs: the ASCII letters and digits of `requested`, or the number `id` of the try if
/// `requested` contains neither.
fn label(id: TryId, requested: &str) -> String {
    /// A longer name would fill the log lines.
    const MAX_LETTERS: usize = 64;
    let plain: String = requested.chars().filter(char::is_ascii_alphanumeric).take(MAX_LETTERS).collect();
    if plain.is_empty() { id.to_string() } else { plain }
}
