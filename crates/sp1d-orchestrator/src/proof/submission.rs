//! How a runner submits tasks.

use super::{
    cached_result::{CachedResultError, use_cached_result},
    handle::ProofHandle,
};
use crate::{
    runner::{failure::ProofFailure, task::TaskSpec},
    state::dispatcher_input::{DispatcherInput, ForwardedEvent},
    tries::{
        attempt_rights::AttemptRights,
        result_cache::ResultCache,
        submitted_task::{DeferredEventUploads, SubmittedTask},
        task_outcomes::TaskOutcome,
    },
};
use sp1d_artifacts::Digest;
use sp1d_model::{ProofEvent, hint::one_line};
use sp1d_scheduler::{ShardSize, TaskId};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{mpsc, oneshot};

impl ProofHandle {
    fn next_task(&self) -> TaskId {
        let task = TaskId(self.shared.next_task.fetch_add(1, Ordering::Relaxed));
        self.running_try.task_outcomes.open(task);
        task
    }

    /// Opens a task that the runner carries out itself. The runner also ends it, in the task outcomes.
    #[must_use]
    pub fn open_local_task(&self) -> TaskId {
        self.next_task()
    }

    /// Excludes small workers: those into which shards of `size` do not fit get no shard of the try, even if they
    /// connect later. They are notified. If no connected worker is large enough, the shards wait a minute for one. Only
    /// the first call counts.
    pub async fn exclude_small_workers(&self, size: ShardSize) {
        let try_id = self.running_try.id;
        // The session of a worker that becomes ready from now on notifies it.
        self.running_try.exclude_workers_below(size);
        self.send(DispatcherInput::Event(ForwardedEvent::SmallWorkersExcluded { try_id, size })).await;
        for worker in self.shared.workers().values() {
            self.running_try.notify_if_excluded(worker);
        }
    }

    /// Submits a marker: an empty task that no worker runs. It is complete when the deferred events of its core shard
    /// are accepted.
    pub async fn submit_marker(&self) -> TaskId {
        let marker = self.next_task();
        let submitted = ForwardedEvent::MarkerSubmitted { try_id: self.running_try.id, marker };
        self.send(DispatcherInput::Event(submitted)).await;
        marker
    }

    /// Submits a task for a worker. Waits while the inbox of the dispatcher is full. Returns no error: if the try has
    /// stopped, the task counts as failed. If the checks are not set, the try fails.
    pub async fn submit(&self, spec: TaskSpec) -> TaskId {
        let task = self.next_task();
        // Without checks, every result of the task would count as wrong, although no worker is at fault.
        if let Err(text) = self.running_try.checks() {
            self.fail(ProofFailure::Internal(text));
        }
        self.running_try.publish(ProofEvent::Submitted { kind: spec.kind() });
        let key = match &self.shared.result_cache {
            Some(cache) if !self.running_try.compares_claims => {
                let checks = self.running_try.checks().ok();
                let key = checks.and_then(|checks| checks.result_key(&spec, &|name: &str| self.digest(name)));
                let key = key.map(|key| self.running_try.scoped_key(key));
                if let Some(key) = key
                    && self.use_cached(cache.clone(), key, task, &spec).await
                {
                    return task;
                }
                key
            }
            Some(_) | None => None,
        };
        let rights = Arc::new(self.rights_of(&spec).await);
        let (running_try, event_uploads) = (self.running_try.clone(), DeferredEventUploads::new());
        let submitted = SubmittedTask { running_try, spec, rights, key, event_uploads };
        self.send(DispatcherInput::Submit { task, submitted }).await;
        task
    }

    /// Returns what the attempts of the task `spec` may read and upload.
    async fn rights_of(&self, spec: &TaskSpec) -> AttemptRights {
        let blocks = self.running_try.checks().is_ok_and(|checks| checks.named_artifacts_may_block(spec));
        if !blocks {
            // A switch to a blocking thread takes longer than finding the rights in memory.
            return self.find_rights(spec);
        }
        let (proof, spec) = (self.clone(), spec.clone());
        let find = move || proof.find_rights(&spec);
        tokio::task::spawn_blocking(find).await.expect("reading a record does not panic")
    }

    /// Does the same as `rights_of`. Blocks if the checks read artifacts for the names in the record.
    fn find_rights(&self, spec: &TaskSpec) -> AttemptRights {
        // Without checks, the try has failed.
        let Ok(checks) = self.running_try.checks() else { return AttemptRights::new(spec, Vec::new(), 0) };
        let named = checks.named_artifacts(spec, &|name: &str| self.get_blocking(name));
        let max_event_bytes = spec.payload.marker().map_or(0, |_| checks.max_event_bytes(spec));
        AttemptRights::new(spec, named, max_event_bytes)
    }

    /// Completes `task` with the cached result under `key`. Returns false if there is no usable result.
    async fn use_cached(&self, cache: Arc<dyn ResultCache>, key: Digest, task: TaskId, spec: &TaskSpec) -> bool {
        let (proof, checked_spec) = (self.clone(), spec.clone());
        let used = tokio::task::spawn_blocking(move || {
            let Some(found) = cache.find(key) else { return false };
            match use_cached_result(&proof, &checked_spec, found) {
                Ok(()) => return true,
                // A failure after the try has stopped is not the fault of the cached result.
                Err(_) if proof.stopped().is_cancelled() => {}
                Err(CachedResultError::Wrong(reason)) => {
                    tracing::warn!(proof_id = proof.label(), task = task.0, %reason, "cached result is wrong and was removed");
                    cache.forget(&[key]);
                }
                Err(CachedResultError::Store(error)) => {
                    let reason = one_line(&error.to_string());
                    tracing::warn!(proof_id = proof.label(), task = task.0, %reason, "cannot store a cached result; the task is proven");
                }
            }
            false
        });
        // A check that panics counts as no result.
        if !used.await.unwrap_or(false) {
            return false;
        }
        self.running_try.note_cached_key(key);
        self.running_try.findings.mark_cached_results_used();
        if spec.kind().is_shard() {
            self.running_try.shards.fetch_add(1, Ordering::Relaxed);
        }
        self.running_try.publish(ProofEvent::CachedResult { kind: spec.kind() });
        if let Some(marker) = spec.payload.marker() {
            self.running_try.task_outcomes.end(marker.task, TaskOutcome::Succeeded);
        }
        self.running_try.task_outcomes.end(task, TaskOutcome::Succeeded);
        true
    }

    /// Returns a receiver of the task's outcome, which arrives when the task ends.
    pub fn watch(&self, task: TaskId) -> oneshot::Receiver<TaskOutcome> {
        self.running_try.task_outcomes.watch(task)
    }

    /// Takes the only receiver of the task's messages; `None` if it is already taken. After the end of the task or of
    /// the try, always returns a receiver: it yields the messages that are left, and then ends.
    pub fn take_receiver(&self, task: TaskId) -> Option<mpsc::UnboundedReceiver<Vec<u8>>> {
        self.running_try.task_outcomes.take_receiver(task)
    }
}
