//! How long a proof waits for workers that can prove its tasks.

use crate::{
    runner::failure::ProofFailure,
    state::shared_state::{MAX_UNREADY_TIME, SharedState},
    tries::running::RunningTry,
};
use sp1d_scheduler::TaskKind;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the workers are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A warning follows after this wait for a prover. A load usually takes less. A multiple of [`POLL_INTERVAL`].
const UNREADY_WARNING: Duration = Duration::from_secs(60);

/// Resolves with a failure if one of these waits takes too long:
///
/// - No worker is connected. The limit is the setting `patience`. The time starts anew when this orchestrator gets a
///   better place in a worker's queue.
/// - No connected worker supports a task kind that the try needs. The limit is the same. The time ends only when such
///   a worker is connected.
/// - Connected workers support the kind, and none of them can prove: their provers are not loaded, or they are
///   draining. The limit is the longer of the setting `patience` and [`MAX_UNREADY_TIME`]. Only the time counts in
///   which such a worker is connected, and it starts anew when a worker can prove.
pub(super) async fn out_of_workers(shared: &SharedState, running_try: &RunningTry) -> ProofFailure {
    let (mut without_worker_since, mut unsupported_since) = (None, None);
    let (mut unready_for, mut seen_advances) = (Duration::ZERO, 0);
    let trusted_only = running_try.trusted_only;
    let needed_kinds = || TaskKind::ALL.into_iter().filter(move |kind| running_try.needs_kind(*kind));
    loop {
        sleep(POLL_INTERVAL).await;
        let is_any_connected = !shared.workers().is_empty();
        let unsupported = needed_kinds().find_map(|kind| Some((kind, shared.missing_capability(kind, trusted_only)?)));
        let unready = needed_kinds().find_map(|kind| Some((kind, shared.unready_workers(kind, trusted_only)?)));
        let can_prove = is_any_connected && unsupported.is_none() && unready.is_none();
        match unsupported {
            Some((kind, reasons)) => {
                let since = *unsupported_since.get_or_insert_with(|| {
                    let what = if trusted_only { "trusted worker" } else { "worker" };
                    tracing::warn!(%kind, ?reasons, "no connected {what} supports this task kind: waiting for one");
                    Instant::now()
                });
                if since.elapsed() >= shared.settings.patience {
                    return ProofFailure::Unsupported { kind, reasons };
                }
            }
            None if is_any_connected => unsupported_since = None,
            // A worker that lacks the kind and comes and goes does not prolong the wait.
            None => {}
        }
        match unready {
            Some((kind, workers)) => {
                unready_for += POLL_INTERVAL;
                if unready_for == UNREADY_WARNING {
                    tracing::warn!(%kind, ?workers, "no connected worker is ready for this task kind: waiting for one");
                }
                if unready_for >= shared.settings.patience.max(MAX_UNREADY_TIME) {
                    return ProofFailure::WorkersNotReady { kind, waited: unready_for, workers };
                }
            }
            None if can_prove => unready_for = Duration::ZERO,
            // A worker that comes and goes and never can prove does not prolong the wait.
            None => {}
        }
        if is_any_connected {
            without_worker_since = None;
            continue;
        }
        let (workers, advances) = {
            let contacts = shared.contacts.borrow();
            (contacts.serving_others(), contacts.advances())
        };
        if advances != seen_advances {
            (seen_advances, without_worker_since) = (advances, None);
        }
        let since = *without_worker_since.get_or_insert_with(|| {
            // The wait for each worker that serves another orchestrator is logged where it happens.
            if workers.is_empty() {
                tracing::warn!(last = %shared.last_departure(), "no worker is connected: waiting for one");
            }
            Instant::now()
        });
        let waited = since.elapsed();
        if waited >= shared.settings.patience {
            return if workers.is_empty() {
                ProofFailure::NoWorkers { waited, last: shared.last_departure().clone() }
            } else {
                ProofFailure::WorkersTaken { waited, workers }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::TestState;
    use sp1d_scheduler::{KindSet, SessionId, WorkerChanges, WorkerStatus};
    use tokio::time::timeout;

    /// A worker that is ready in its session, holds no attempt and is not draining.
    fn ready() -> WorkerStatus {
        WorkerStatus {
            has_loaded_prover: true,
            slots: 1,
            available_kinds: KindSet::all(),
            on_probation: KindSet::default(),
            held: 0,
            draining: false,
            paces: [None; TaskKind::ALL.len()],
        }
    }

    fn publish(state: &TestState, status: Option<WorkerStatus>) {
        let sessions = vec![(SessionId(1), status)];
        state.writer.publish_workers(WorkerChanges { sessions, ..WorkerChanges::default() });
    }

    /// The only worker has `status` for six hours. Checks that the proof fails after half an hour with a text that
    /// contains `part`, or that it still waits if `part` is `None`.
    async fn check(status: Option<WorkerStatus>, part: Option<&str>) {
        let state = TestState::new();
        state.running_try.add_open_task(TaskKind::ProveShard);
        let _messages = state.connect(1, 7, KindSet::all());
        publish(&state, status);
        let start = Instant::now();
        let failure = timeout(Duration::from_secs(6 * 3600), out_of_workers(&state.shared, &state.running_try)).await;
        let Some(part) = part else {
            assert!(failure.is_err(), "{failure:?}");
            return;
        };
        let failure = failure.expect("the proof still waits");
        assert!(matches!(failure, ProofFailure::WorkersNotReady { kind: TaskKind::ProveShard, .. }), "{failure}");
        let text = failure.to_string();
        assert!(text.contains("worker (") && text.contains(part), "{text}");
        let waited = start.elapsed();
        assert!(waited >= MAX_UNREADY_TIME && waited < 2 * MAX_UNREADY_TIME, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connected_worker_that_cannot_prove_does_not_prolong_the_wait_forever() {
        check(None, Some("its prover is not loaded yet")).await;
        check(Some(WorkerStatus { has_loaded_prover: false, ..ready() }), Some("its last prover ended")).await;
        check(Some(WorkerStatus { draining: true, ..ready() }), Some("it is draining")).await;
        let drained_early = WorkerStatus { draining: true, has_loaded_prover: false, slots: 0, ..ready() };
        check(Some(drained_early), Some("it is draining")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_can_prove_does_not_fail_the_proof() {
        check(Some(ready()), None).await;
        // A quarantine ends by itself.
        check(Some(WorkerStatus { available_kinds: KindSet::default(), ..ready() }), None).await;
        // It proves its last attempts.
        check(Some(WorkerStatus { draining: true, held: 1, ..ready() }), None).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_prover_starts_anew_once_a_worker_could_prove() {
        let state = TestState::new();
        state.running_try.add_open_task(TaskKind::ProveShard);
        let _messages = state.connect(1, 7, KindSet::all());
        let loads_slowly = async {
            for _ in 0..5 {
                publish(&state, Some(WorkerStatus { has_loaded_prover: false, ..ready() }));
                sleep(MAX_UNREADY_TIME * 2 / 3).await;
                publish(&state, Some(ready()));
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            failure = out_of_workers(&state.shared, &state.running_try) => panic!("{failure}"),
            () = loads_slowly => {}
        }
    }

    /// The other worker lacks the task kind, and stays.
    #[tokio::test(start_paused = true)]
    async fn a_worker_without_prover_that_comes_and_goes_does_not_prolong_the_wait() {
        let state = TestState::new();
        state.running_try.add_open_task(TaskKind::ProveShard);
        let _other = state.connect(2, 8, KindSet::only(TaskKind::ShrinkWrap));
        let comes_and_goes = async {
            for _ in 0..600 {
                let _messages = state.connect(1, 7, KindSet::all());
                sleep(Duration::from_secs(10)).await;
                state.shared.workers().remove(&SessionId(1));
                sleep(Duration::from_secs(10)).await;
            }
        };
        let failure = tokio::select! {
            failure = out_of_workers(&state.shared, &state.running_try) => failure,
            () = comes_and_goes => panic!("the proof still waits"),
        };
        assert!(matches!(failure, ProofFailure::WorkersNotReady { .. }), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_comes_and_goes_does_not_prolong_the_wait_for_a_task_kind() {
        let state = TestState::new();
        state.running_try.add_open_task(TaskKind::ProveShard);
        let comes_and_goes = async {
            for _ in 0..60 {
                let _messages = state.connect(1, 7, [TaskKind::ShrinkWrap].into_iter().collect());
                sleep(Duration::from_secs(10)).await;
                state.shared.workers().remove(&SessionId(1));
                sleep(Duration::from_secs(1)).await;
            }
        };
        let failure = tokio::select! {
            failure = out_of_workers(&state.shared, &state.running_try) => failure,
            () = comes_and_goes => panic!("the proof still waits"),
        };
        assert!(matches!(failure, ProofFailure::Unsupported { kind: TaskKind::ProveShard, .. }), "{failure}");
    }
}
