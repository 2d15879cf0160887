//! The audit of unverified results after a proof has failed.

use super::{
    handle::ProofHandle,
    unverified::{Audit, UnverifiedResult},
};
use crate::{
    dispatch::input::DispatcherInput,
    runner::failure::ProofFailure,
    timed_check::{MAX_CHECK_TIME, start_check},
};
use futures::StreamExt;
use sp1d_model::clean_line;
use sp1d_protocol::MessageLimits;
use sp1d_scheduler::DispatchEvent;
use tokio::time::timeout;

impl ProofHandle {
    /// Audits the unverified results after the proof has failed, and reports the workers that sent wrong ones to the
    /// scheduler. Does nothing if results are verified when they arrive, or if wrong results cannot be the cause of the
    /// failure. Call it before the runner returns, because the artifacts of the proof are removed then. The records
    /// of shards may be removed earlier.
    pub async fn find_wrong_parts(&self) {
        if !matches!(
            self.state.failure(),
            Some(ProofFailure::Task { .. } | ProofFailure::Unverified(_) | ProofFailure::Internal(_))
        ) {
            return;
        }
        let all = self.state.unverified();
        let _running = self.state.start_audit();
        let mut audit = Audit::new(&all);
        let half = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        let mut outcomes = futures::stream::iter(all.into_iter().map(|part| self.check_again(part))).buffered(half);
        while let Some((part, outcome)) = outcomes.next().await {
            let Some(reason) = audit.judge(&part, outcome) else { continue };
            let reason = clean_line(&reason, MessageLimits::FAILURE_BYTES);
            let UnverifiedResult { worker_id, worker, .. } = part;
            tracing::warn!(%worker, %reason, "worker sent a wrong result");
            self.state.findings.mark_wrong_result();
            self.send(DispatcherInput::Event(DispatchEvent::ProvenWrong { worker: worker_id, reason })).await;
        }
    }

    /// Verifies an unverified result. The outcome is `None` if the result or an artifact that its check needs is
    /// missing, because a disk that loses artifacts is not the fault of the worker.
    async fn check_again(&self, part: UnverifiedResult) -> (UnverifiedResult, Option<Result<(), String>>) {
        let (proof, shared, checked) = (self.state.clone(), self.shared.clone(), part.clone());
        let check = move || {
            let read = |name: &str| proof.read_artifact(&shared.store, name);
            let has_all = checked.needs().all(|name| read(name).is_some());
            let output = if has_all { read(checked.name()) } else { None };
            output.map(|output| proof.check(&shared.store, &checked.spec, &output))
        };
        let outcome = match start_check(check) {
            // A check that panics or hangs has no outcome.
            Ok(outcome) => timeout(MAX_CHECK_TIME, outcome).await.ok().and_then(Result::ok).flatten(),
            Err(error) => {
                tracing::warn!(%error, "cannot start a thread for a check");
                None
            }
        };
        (part, outcome)
    }
}
