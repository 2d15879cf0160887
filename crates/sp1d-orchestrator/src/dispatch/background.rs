//! Work of the dispatcher that takes time: checks of what attempts upload, and the storing of cached results. It runs
//! on other threads. The outcomes of checks arrive as inputs of the dispatcher.

use crate::{
    check_limiter::{CheckEnd, CheckedOutput},
    runner::{failure::ProofFailure, task::TaskSpec},
    scope::attempt_scope,
    settings::Verify,
    state::{
        dispatcher_input::{DispatcherInput, ForwardedEvent},
        shared_state::SharedState,
    },
    tries::running::RunningTry,
};
use sp1d_artifacts::{Store, StoreError};
use sp1d_model::clean_line;
use sp1d_protocol::MessageLimits;
use sp1d_scheduler::{AttemptId, TaskId};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker as BackgroundTasks;

/// The running work.
pub(super) struct BackgroundWork {
    shared: Arc<SharedState>,
    running: BackgroundTasks,
}

impl BackgroundWork {
    pub(super) fn new(shared: Arc<SharedState>) -> Self {
        Self { shared, running: BackgroundTasks::new() }
    }

    /// Starts the check of the result of `attempt`.
    pub(super) fn spawn_result_check(&self, running_try: Arc<RunningTry>, spec: TaskSpec, attempt: AttemptId) {
        let shared = self.shared.clone();
        let output = match running_try.verify {
            Verify::All => CheckedOutput::Result(spec.kind()),
            Verify::Final => CheckedOutput::ResultPresence,
        };
        self.spawn_check(
            running_try,
            attempt,
            output,
            move |running_try| check_result(running_try, &shared.store, &spec, attempt),
            move |outcome| DispatcherInput::Event(ForwardedEvent::ResultChecked { attempt, outcome }),
        );
    }

    /// Starts the check of the deferred events that `attempt`, an attempt of `task`, uploaded for its marker. SP1 makes
    /// precompile shards from them without checking them.
    pub(super) fn spawn_events_check(
        &self,
        running_try: Arc<RunningTry>,
        spec: TaskSpec,
        task: TaskId,
        attempt: AttemptId,
    ) {
        let shared = self.shared.clone();
        self.spawn_check(
            running_try,
            attempt,
            CheckedOutput::DeferredEvents,
            move |running_try| check_deferred_events(running_try, &shared.store, &spec, attempt),
            move |outcome| DispatcherInput::DeferredEventsChecked { task, attempt, outcome },
        );
    }

    /// Runs `work` on another thread. [`BackgroundWork::end`] waits for it.
    pub(super) fn run_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.running.spawn_blocking(work);
    }

    /// Waits until no outcome is awaited any more. The thread of a check that hangs may continue.
    pub(super) async fn end(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Runs `check` on uploads of `attempt`, on another thread. Then sends the dispatcher the input that `input` makes
    /// from the outcome. Also tells the dispatcher if the check is delayed.
    fn spawn_check<T: Send + 'static>(
        &self,
        running_try: Arc<RunningTry>,
        attempt: AttemptId,
        output: CheckedOutput,
        check: impl FnOnce(&RunningTry) -> Result<T, String> + Send + 'static,
        input: impl FnOnce(Result<T, String>) -> DispatcherInput + Send + 'static,
    ) {
        let shared = self.shared.clone();
        let worker = shared.attempts().get(&attempt).map(|registered| registered.worker_id);
        self.running.spawn(async move {
            let checked = running_try.clone();
            let run = async {
                let Some(worker) = worker else {
                    return CheckEnd::Returned(Err("the attempt is over".to_owned()), Duration::ZERO);
                };
                let (sender, delayed) = oneshot::channel::<()>();
                // Not a task of its own: it would be started for each check, and few checks are delayed.
                let report = async {
                    // Fails if the check has ended without a delay.
                    if delayed.await.is_ok() {
                        let event = ForwardedEvent::CheckDelayed { attempt };
                        // If the dispatcher has ended, no one needs the report.
                        let _ = shared.inbox.send(DispatcherInput::Event(event)).await;
                    }
                };
                let checking = shared.check_limiter.run(worker, output, sender, move || check(&checked));
                let (end, ()) = tokio::join!(checking, report);
                end
            };
            let end = tokio::select! {
                // Once the try has stopped, its cleanup may remove the artifacts at any time, so the output cannot be
                // checked. The worker is not at fault.
                biased;
                () = running_try.stopped.cancelled() => return,
                end = run => end,
            };
            let (outcome, took) = match end {
                CheckEnd::Returned(outcome, took) => (outcome, took),
                CheckEnd::Panicked => (Err("the check panicked".to_owned()), Duration::ZERO),
                CheckEnd::TimedOut(limit) => (Err(format!("its check took longer than {} s", limit.as_secs())), limit),
                CheckEnd::Blocked(limit) => {
                    let text = format!("another check of its worker still runs after {} s", limit.as_secs());
                    (Err(text), Duration::ZERO)
                }
                CheckEnd::NotStarted(error) => {
                    return running_try.fail(ProofFailure::Machine(format!("cannot start a thread for a check: {error}")));
                }
            };
            tracing::debug!(proof_id = running_try.label, attempt = attempt.0, milliseconds = took.as_millis(), "checked");
            // The check itself may have stopped the try, because of a fault of this machine. If the attempt was
            // discarded meanwhile, its uploads or its inputs were missing, and the worker is not at fault.
            if running_try.stopped.is_cancelled() || !shared.attempts().contains_key(&attempt) {
                return;
            }
            // The reason may contain names that the worker chose.
            let outcome = outcome.map_err(|reason| clean_line(&reason, MessageLimits::FAILURE_BYTES));
            // With `Verify::Final`, no check is counted: a result check only tests whether the result exists, and a
            // count of the checks of deferred events alone would mislead.
            if running_try.verify == Verify::All {
                shared.counters.on_checked(took, outcome.is_ok());
            }
            if let Err(reason) = &outcome {
                tracing::warn!(proof_id = running_try.label, attempt = attempt.0, %reason, "output of an attempt rejected");
            }
            // If the dispatcher has ended, no one needs the outcome.
            let _ = shared.inbox.send(input(outcome)).await;
        });
    }
}

fn check_result(running_try: &RunningTry, store: &Store, spec: &TaskSpec, attempt: AttemptId) -> Result<(), String> {
    let name = spec.payload.result();
    let stored = store.get(attempt_scope(attempt), name).ok_or("the worker delivered no result")?;
    if running_try.verify == Verify::Final {
        return Ok(());
    }
    let blob = stored.load().map_err(|error| fail_for_disk_error(running_try, &error))?;
    let output = blob.decode().map_err(|error| error.to_string())?;
    running_try.check_result(store, spec, &output)
}

fn check_deferred_events(
    running_try: &RunningTry,
    store: &Store,
    spec: &TaskSpec,
    attempt: AttemptId,
) -> Result<Vec<String>, String> {
    let result = spec.payload.result();
    let uploaded = |name: &str| {
        // The result belongs to the attempt until it is accepted.
        if name == result {
            return None;
        }
        let stored = store.get(attempt_scope(attempt), name)?;
        stored.load().map_err(|error| fail_for_disk_error(running_try, &error)).ok()
    };
    running_try.checks()?.check_deferred_events(spec, &uploaded)
}

/// Fails the try, because a spilled artifact that cannot be read back is the fault of this machine and not of a
/// worker. Returns the error as text.
fn fail_for_disk_error(running_try: &RunningTry, error: &StoreError) -> String {
    running_try.fail(ProofFailure::Machine(error.to_string()));
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::{TestState, shard};

    /// Checks the result of an attempt that has uploaded nothing, and that is discarded meanwhile if `is_discarded`.
    /// Checks whether this counts as a wrong output of its worker.
    async fn check_missing_result(is_discarded: bool, is_counted: bool) {
        let mut state = TestState::new();
        let attempt = AttemptId(1);
        state.register(attempt.0, 1, 7);
        let background = BackgroundWork::new(state.shared.clone());
        background.spawn_result_check(state.running_try.clone(), shard(), attempt);
        if is_discarded {
            // The tokio task of the check starts at the next `await`.
            assert!(state.writer.remove_attempt(attempt).is_some());
        }
        background.end().await;
        assert_eq!(state.shared.counters.now().checks_wrong, u64::from(is_counted));
        assert_eq!(state.inputs.try_recv().is_ok(), is_counted, "the dispatcher hears of the outcome if it counts");
    }

    #[tokio::test]
    async fn the_check_of_a_discarded_attempt_does_not_count() {
        check_missing_result(true, false).await;
        check_missing_result(false, true).await;
    }
}
