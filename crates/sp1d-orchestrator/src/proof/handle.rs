//! The handle that a runner uses to run its proof.
//!
//! Its methods are in two files: tasks in `submission`, and everything else here.

use crate::{
    runner::{checks::ProofChecks, failure::ProofFailure, task::ShardWorker},
    scope::try_scope,
    state::{dispatcher_input::DispatcherInput, shared_state::SharedState},
    tries::{running::RunningTry, task_outcomes::TaskOutcomes},
    workers::connected_worker::ConnectedWorker,
};
use sp1d_artifacts::{Blob, Digest, Store, StoreError};
use sp1d_model::ProofEvent;
use sp1d_scheduler::{ShardSize, TaskKind, TryId};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// A handle to a running try of a proof. Cheap to clone. Using it after the end of the try is harmless and has no
/// effect.
#[derive(Clone)]
pub struct ProofHandle {
    pub(super) running_try: Arc<RunningTry>,
    pub(super) shared: Arc<SharedState>,
}

impl ProofHandle {
    /// Returns the number of this try.
    #[must_use]
    pub fn try_id(&self) -> TryId {
        self.running_try.id
    }

    /// Returns the name of the proof in logs.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.running_try.label
    }

    /// Returns true if the results of this try are cached for later proofs.
    #[must_use]
    pub fn caches_results(&self) -> bool {
        self.shared.result_cache.as_ref().is_some_and(|cache| cache.stores_results())
            && !self.running_try.compares_claims
    }

    /// Sets the options with the chosen cut, and the cut: the number of trace cells after which a shard ends. Call it
    /// before the first task is submitted. Only the first call counts.
    ///
    /// Excludes the GPU workers that refuse shards of this cut, if another connected worker may prove them. The runner
    /// may not have seen these workers when it chose the cut.
    pub async fn set_options(&self, options: String, cut: u64) {
        self.running_try.set_options(options, cut);
        let cells = self.running_try.cut();
        if !self.running_try.excludes_small_workers() && self.has_refusing_worker(cells) {
            // Workers on processors may try any shard.
            self.exclude_small_workers(ShardSize { cells, memory_bytes: 0 }).await;
        }
    }

    /// Returns true if a connected GPU worker refuses shards of `cut` cells, and another worker may prove them. If all
    /// workers refuse them, the shards must fail at once and not wait for a larger worker.
    ///
    /// Call it after the cut is set. The sessions of workers that connect later know the cut then.
    fn has_refusing_worker(&self, cut: u64) -> bool {
        let workers = self.shared.workers();
        let refuses = |worker: &ConnectedWorker| worker.largest_cut.is_some_and(|largest| largest < cut);
        let (mut is_refused, mut is_taken) = (false, false);
        for worker in workers.values().filter(|worker| self.running_try.may_prove_shards(worker)) {
            is_refused |= refuses(worker);
            is_taken |= !refuses(worker);
        }
        is_refused && is_taken
    }

    /// Sets the checks of the try. Call it before the first task is submitted. Only the first call counts.
    pub fn set_checks(&self, checks: impl ProofChecks) {
        self.running_try.set_checks(Box::new(checks));
    }

    /// Returns what bounds the shards of each connected worker that supports `kind` and may get tasks of the try.
    #[must_use]
    pub fn shard_workers(&self, kind: TaskKind) -> Vec<ShardWorker> {
        let pool = self.shared.snapshot();
        let workers = self.shared.workers();
        let trusted_only = self.running_try.trusted_only;
        let able = workers
            .iter()
            .filter(|(_, worker)| worker.supported_kinds.contains(kind) && (worker.trusted || !trusted_only));
        able.map(|(session, worker)| ShardWorker {
            name: worker.name.to_string(),
            memory: *worker.attempt_memory(),
            largest_cut: worker.largest_cut,
            provers: worker.provers,
            pace: pool.pace(*session, kind),
            paced_cut: Some(worker.cut_of_last_result[kind.index()].load(Ordering::Relaxed)).filter(|cut| *cut > 0),
        })
        .collect()
    }

    /// Waits until a connected worker supports `kind`. Then returns the same as [`ProofHandle::shard_workers`]. The
    /// wait counts like an open task of this kind: the try fails if no connected worker supports the kind for as long
    /// as the patience of the settings.
    ///
    /// # Errors
    /// Fails once the try has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub async fn wait_for_capability(&self, kind: TaskKind) -> Result<Vec<ShardWorker>, ProofFailure> {
        /// How often to look for such a worker.
        const CHECK_INTERVAL: Duration = Duration::from_millis(200);
        let _awaited = self.running_try.await_kind(kind);
        loop {
            let workers = self.shard_workers(kind);
            if !workers.is_empty() {
                return Ok(workers);
            }
            tokio::select! {
                () = self.stopped().cancelled() => return Err(ProofFailure::Cancelled),
                () = sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    /// Returns the outcomes and the message channels of the try's tasks.
    #[must_use]
    pub fn task_outcomes(&self) -> &TaskOutcomes {
        &self.running_try.task_outcomes
    }

    /// Returns a token that is cancelled when the try stops: when it fails, or when it ends without a failure.
    #[must_use]
    pub fn stopped(&self) -> &CancellationToken {
        &self.running_try.stopped
    }

    /// Fails the try, which stops it. Only the first failure counts. The proof may restart, which is another try.
    pub fn fail(&self, failure: ProofFailure) {
        self.running_try.fail(failure);
    }

    /// Checks that a connected worker supports `kind`. Also succeeds if no worker is connected, if another worker may
    /// connect soon (it is being called, or serves another orchestrator), if the settings say that a proof waits for
    /// such a worker, or if the proof is only for trusted workers: such a proof always waits for them.
    ///
    /// # Errors
    /// Returns the reasons why no connected worker supports `kind`.
    pub fn check_capability(&self, kind: TaskKind) -> Result<(), ProofFailure> {
        match self.shared.missing_capability(kind, self.running_try.trusted_only) {
            Some(reasons)
                if !self.shared.settings.wait_for_capabilities
                    && !self.running_try.trusted_only
                    && !self.shared.contacts.borrow().is_any_expected() =>
            {
                Err(ProofFailure::Unsupported { kind, reasons })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Sends an event to the watchers of the proof.
    pub fn publish(&self, event: ProofEvent) {
        self.running_try.publish(event);
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Stores `content` as artifact `name` of the try.
    ///
    /// # Errors
    /// Fails if the name has different content, or if there is no room.
    pub async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), StoreError> {
        let (proof, name) = (self.clone(), name.to_owned());
        let put = move || proof.put_blocking(&name, Blob::encode_owned(content));
        tokio::task::spawn_blocking(put).await.expect("storing an artifact does not panic")
    }

    /// Does the same for a blob. May block.
    pub(super) fn put_blocking(&self, name: &str, blob: Blob) -> Result<(), StoreError> {
        let scope = try_scope(self.running_try.id);
        self.store().put(scope, name, blob)?;
        // Once the try has stopped, its cleanup may already have removed its scope. An artifact that is stored later
        // must not stay.
        if self.running_try.stopped.is_cancelled() {
            self.store().remove(scope, name);
        }
        Ok(())
    }

    /// Returns the digest of the try's artifact `name`; `None` if it does not exist.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<Digest> {
        Some(self.store().describe(try_scope(self.running_try.id), name)?.digest)
    }

    /// Returns the content of the try's artifact `name`; `None` if it does not exist. Fails the try if the artifact
    /// was spilled and cannot be read back.
    pub async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (proof, name) = (self.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || proof.get_blocking(&name))
            .await
            .expect("reading an artifact does not panic")
    }

    /// Does the same as [`ProofHandle::get`]. May block.
    pub(super) fn get_blocking(&self, name: &str) -> Option<Vec<u8>> {
        self.running_try.read_artifact(self.store(), name)
    }

    /// Returns true if the try has an artifact `name`.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.store().describe(try_scope(self.running_try.id), name).is_some()
    }

    /// Resolves when the store has room for the artifacts of an execution. This is usually at once, unless artifacts
    /// arrive faster than workers use them.
    pub async fn wait_for_room(&self) {
        self.store().wait_for_room().await;
    }

    /// Removes the try's artifact `name`, unless it must be kept for an audit.
    pub fn remove(&self, name: &str) {
        self.running_try.remove_artifact(self.store(), name);
    }

    /// Sends `input` to the dispatcher. Fails the try if the dispatcher has ended.
    pub(crate) async fn send(&self, input: DispatcherInput) {
        if self.shared.inbox.send(input).await.is_err() {
            self.fail(ProofFailure::Internal("the orchestrator has stopped".to_owned()));
        }
    }
}
