//! The audit of unverified results after their try has failed.

use crate::{
    check_limiter::{CheckEnd, CheckedOutput},
    runner::failure::ProofFailure,
    state::{
        dispatcher_input::{DispatcherInput, ForwardedEvent},
        shared_state::SharedState,
    },
    tries::{
        running::RunningTry,
        unverified::{Audit, UnverifiedResult},
    },
};
use futures::StreamExt;
use sp1d_model::clean_line;
use sp1d_protocol::MessageLimits;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Maximum number of results whose verification runs or waits. It is larger than the number of checks that run at the
/// same time, so that checks of different workers run side by side.
const MAX_WAITING_RESULTS: usize = 256;

/// Audits the unverified results of a try that `failure` has ended, and tells the scheduler which workers sent
/// wrong results. Does nothing if results are verified when they arrive, or if wrong results cannot be the cause of the
/// failure. The artifacts of the try must still be in the store. The records of shards are not needed.
///
/// # Cancel safety
/// Dropping the future ends the audit. A check that has started continues on its thread.
pub(super) async fn audit(shared: &Arc<SharedState>, running_try: &Arc<RunningTry>, failure: &ProofFailure) {
    if !matches!(
        failure,
        ProofFailure::Task { .. }
            | ProofFailure::TaskOutOfMemory { .. }
            | ProofFailure::WrongProof(_)
            | ProofFailure::Internal(_)
    ) {
        return;
    }
    let all = running_try.unverified();
    let mut audit = Audit::new(&all);
    let outcomes = all.into_iter().map(|result| verify_late(shared, running_try, result));
    let mut outcomes = futures::stream::iter(outcomes).buffered(MAX_WAITING_RESULTS);
    while let Some((result, outcome)) = outcomes.next().await {
        let Some(reason) = audit.judge(&result, outcome) else { continue };
        let reason = clean_line(&reason, MessageLimits::FAILURE_BYTES);
        let UnverifiedResult { worker_id, worker, .. } = result;
        tracing::warn!(%worker, %reason, "worker sent a wrong result");
        running_try.findings.mark_wrong_result();
        let proven_wrong = ForwardedEvent::ProvenWrong { worker: worker_id, reason };
        // If the dispatcher has ended, no worker gets another task.
        let _ = shared.inbox.send(DispatcherInput::Event(proven_wrong)).await;
    }
}

/// Verifies an unverified result. The outcome is `None` if the result or an artifact that its check needs is missing,
/// because a disk that loses artifacts is not the fault of the worker.
async fn verify_late(
    shared: &Arc<SharedState>,
    running_try: &Arc<RunningTry>,
    result: UnverifiedResult,
) -> (UnverifiedResult, Option<Result<(), String>>) {
    let (owned_shared, owned_try, checked) = (shared.clone(), running_try.clone(), result.clone());
    // The error is `None` if an artifact is missing.
    let check = move || {
        let store = &owned_shared.store;
        let read = |name: &str| owned_try.read_artifact(store, name);
        let has_all = checked.needed_artifacts().all(|name| read(name).is_some());
        let output = if has_all { read(checked.name()) } else { None };
        let Some(output) = output else { return Err(None) };
        owned_try.check_result(store, &checked.spec, &output).map_err(Some)
    };
    let output = CheckedOutput::Result(result.spec.kind());
    // The try has failed already, so no task waits.
    let (delayed, _) = oneshot::channel();
    let outcome = match shared.check_limiter.run(result.worker_id, output, delayed, check).await {
        CheckEnd::Returned(Ok(()), _) => Some(Ok(())),
        CheckEnd::Returned(Err(reason), _) => reason.map(Err),
        // A check that panics, hangs, or waits for one that hangs, has no outcome.
        CheckEnd::Panicked | CheckEnd::TimedOut(_) | CheckEnd::Blocked(_) => None,
        CheckEnd::NotStarted(error) => {
            tracing::warn!(%error, "cannot start a thread for a check");
            None
        }
    };
    (result, outcome)
}
