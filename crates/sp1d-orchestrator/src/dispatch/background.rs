//! Work of the dispatcher that takes time: checks of what attempts upload, and the storing of cached results. It runs
//! on other threads. The outcomes of checks arrive as inputs of the dispatcher.

use super::input::DispatcherInput;
use crate::{
    proof::handle::ProofHandle,
    runner::{failure::ProofFailure, task::TaskSpec},
    scope::attempt_scope,
    settings::Verify,
};
use sp1d_artifacts::StoreError;
use sp1d_scheduler::{AttemptId, DispatchEvent};
use std::sync::Arc;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::TaskTracker as BackgroundTasks;

/// The running work.
pub(super) struct BackgroundWork {
    /// Limits how many checks run at the same time.
    check_permits: Arc<Semaphore>,
    running: BackgroundTasks,
}

impl BackgroundWork {
    pub(super) fn new() -> Self {
        // A check uses one core for about 50 ms. Half of the cores are left to the executor.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { check_permits: Arc::new(Semaphore::new(cores.div_ceil(2))), running: BackgroundTasks::new() }
    }

    /// Starts the check of the result of `attempt`.
    pub(super) fn spawn_result_check(&self, handle: ProofHandle, spec: TaskSpec, attempt: AttemptId) {
        self.spawn_check(
            handle,
            attempt,
            move |handle| check_result(handle, &spec, attempt),
            move |outcome| DispatchEvent::ResultChecked { attempt, outcome },
        );
    }

    /// Starts the check of the deferred events that `attempt` uploaded for its marker. SP1 makes precompile shards from
    /// them without checking them.
    pub(super) fn spawn_marker_check(&self, handle: ProofHandle, spec: TaskSpec, attempt: AttemptId) {
        self.spawn_check(
            handle,
            attempt,
            move |handle| check_marker(handle, &spec, attempt),
            move |outcome| DispatchEvent::MarkerChecked { attempt, outcome },
        );
    }

    /// Runs `work` on another thread. [`BackgroundWork::end`] waits for it.
    pub(super) fn run_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.running.spawn_blocking(work);
    }

    /// Waits until all work has ended.
    pub(super) async fn end(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Runs `check` on uploads of `attempt`, on another thread. Then sends the dispatcher the event that `event` makes
    /// from the outcome.
    fn spawn_check(
        &self,
        handle: ProofHandle,
        attempt: AttemptId,
        check: impl FnOnce(&ProofHandle) -> Result<(), String> + Send + 'static,
        event: impl FnOnce(Result<(), String>) -> DispatchEvent + Send + 'static,
    ) {
        let permits = self.check_permits.clone();
        self.running.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let (checked, start) = (handle.clone(), Instant::now());
            let outcome = tokio::task::spawn_blocking(move || check(&checked)).await;
            let took = start.elapsed();
            tracing::debug!(proof_id = handle.label(), attempt = attempt.0, milliseconds = took.as_millis(), "checked");
            // A proof that has ended cannot be checked, which is not the fault of the worker.
            if handle.ended().is_cancelled() {
                return;
            }
            let outcome = outcome.unwrap_or_else(|_| Err("the check panicked".to_owned()));
            // With `Verify::Final`, the check of a result only tests whether the result exists, so it is not counted.
            if handle.state.verify == Verify::All {
                handle.registry.counters.on_checked(took, outcome.is_ok());
            }
            if let Err(reason) = &outcome {
                tracing::warn!(proof_id = handle.label(), attempt = attempt.0, %reason, "output of an attempt rejected");
            }
            // If the dispatcher has ended, no one needs the outcome.
            let _ = handle.registry.inbox.send(DispatcherInput::Event(event(outcome))).await;
        });
    }
}

fn check_result(handle: &ProofHandle, spec: &TaskSpec, attempt: AttemptId) -> Result<(), String> {
    let name = spec.payload.result();
    let stored = handle.registry.store.get(attempt_scope(attempt), name).ok_or("the worker delivered no result")?;
    if handle.state.verify == Verify::Final {
        return Ok(());
    }
    let blob = stored.load().map_err(|error| fail_for_disk_error(handle, &error))?;
    let output = blob.decode().map_err(|error| error.to_string())?;
    handle.check(spec, &output)
}

fn check_marker(handle: &ProofHandle, spec: &TaskSpec, attempt: AttemptId) -> Result<(), String> {
    let result = spec.payload.result();
    let uploaded = |name: &str| {
        // The result belongs to the attempt until it is accepted.
        if name == result {
            return None;
        }
        let stored = handle.registry.store.get(attempt_scope(attempt), name)?;
        stored.load().map_err(|error| fail_for_disk_error(handle, &error)).ok()
    };
    handle.state.checks()?.check_marker(spec, &uploaded)
}

/// Fails the proof, because a spilled artifact that cannot be read back is the fault of this machine and not of a
/// worker. Returns the error as text.
fn fail_for_disk_error(handle: &ProofHandle, error: &StoreError) -> String {
    handle.fail(ProofFailure::Machine(error.to_string()));
    error.to_string()
}
