//! Runs a proof, from its request to its end, and restarts it if that can help.

use super::{
    audit::audit,
    handle::ProofHandle,
    out_of_workers::out_of_workers,
    proof_runner::ProofRunner,
    restart::{Restart, RestartFacts, final_failure, restart_after},
};
use crate::{
    pool::first_contact::wait_for_first_connections,
    runner::{
        failure::{ProofFailure, dispatcher_panicked},
        request::{ProofOutput, ProofRequest},
    },
    scope::try_scope,
    settings::Verify,
    state::{
        dispatcher_input::{DispatcherInput, ForwardedEvent},
        published::TryWriter,
        shared_state::SharedState,
    },
    tries::{findings::ProofFindings, running::RunningTry},
};
use sp1d_artifacts::Digest;
use sp1d_model::{ProofEvent, WorkerTasks, hint::one_line};
use sp1d_scheduler::{ClaimHistory, ShareGroup, TryId};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum wait for the execution of a failed try to end.
    const END_TIMEOUT: Duration = Duration::from_secs(10); Time by Program;
}

/// A finished proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The output of the runner.
    pub output: ProofOutput,
    /// Number of shards.
    pub shards: u64,
    /// Number of tasks that each worker completed.
    pub workers: Vec<WorkerTasks>,
}

/// The input of one try of a proof.
struct TryInput {
    request: ProofRequest,
    runner: Arc<dyn ProofRunner>,
    verify: Verify,
    findings: Arc<ProofFindings>,
    /// The claims of earlier tries.
    claims: ClaimHistory,
    deadline: Option<Instant>,
}

/// How one try of a proof ended.
struct EndedTry {
    /// Name of the proof in logs.
    label: String,
    /// The options of the request, with the cut that the runner has chosen.
    options: String,
    outcome: Result<Proven, ProofFailure>,
    /// The claims of this try and of earlier tries.
    claims: ClaimHistory,
}

/// Runs the proofs of an orchestrator.
pub(crate) struct ProofRun<'a> {
    pub(crate) shared: &'a Arc<SharedState>,
    pub(crate) try_writer: &'a TryWriter,
    /// Cancelled when the orchestrator ends.
    pub(crate) stop: &'a CancellationToken,
}

impl ProofRun<'_> {
    /// See [`Orchestrator::prove`](crate::Orchestrator::prove).
    pub(crate) async fn prove(
        &self,
        request: ProofRequest,
        runner: Arc<dyn ProofRunner>,
        progress: broadcast::Sender<ProofEvent>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        // A deadline beyond the range of the clock counts as no deadline.
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // While this value exists, the orchestrator connects to workers, and waits for its turn at them.
        let _demand = self.shared.demand.start();
        tokio::select! {
            () = wait_for_first_connections(self.shared) => {}
            () = cancel.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        let (mut verify, mut restarts) = (self.shared.settings.verify, 0);
        let mut request = request;
        let (findings, mut claims) = (Arc::new(ProofFindings::default()), ClaimHistory::default());
        loop {
            let input = TryInput {
                request: request.clone(),
                runner: runner.clone(),
                verify,
                findings: findings.clone(),
                claims,
                deadline,
            };
            let ended = self.prove_once(input, progress.clone(), &cancel).await;
            let EndedTry { label, options, outcome, .. } = ended;
            claims = ended.claims;
            let failure = match outcome {
                Ok(proven) => return Ok(proven),
                Err(failure) if self.shared.broken.is_cancelled() => return Err(final_failure(failure)),
                Err(failure) => failure,
            };
            let facts = RestartFacts {
                restarts,
                verify,
                options_to_choose_again: runner.choose_cut_again(&options),
                smaller_cut: runner.smaller_cut(&options),
                has_used_cached_results: findings.has_used_cached_results(),
                has_wrong_result: findings.has_wrong_result(),
                has_claims: claims.has_claims(),
                are_claims_suspect: findings.are_claims_suspect(),
                compares_claims: claims.is_comparing(),
            };
            let Some(restart) = restart_after(&failure, &facts) else { return Err(final_failure(failure)) };
            restarts += 1;
            let mut reason = one_line(&failure.to_string());
            let mut cut_event = None;
            match restart {
                Restart::Same => {}
                Restart::ChooseCutAgain(options) => {
                    request.options = options;
                    reason.push_str("; the cut is chosen again, for the connected workers");
                }
                Restart::SmallerCut(cut) => {
                    request.options.clone_from(&cut.options);
                    let text = format!("{reason}; the run is cut into smaller shards: {}", cut.setting);
                    cut_event = Some(ProofEvent::Cut { setting: cut.setting, reason, options: cut.options });
                    reason = text;
                }
                Restart::WithoutCachedResults => findings.clear_cached_results_used(),
                Restart::VerifyAll => verify = Verify::All,
                Restart::CompareClaims => claims.start_comparing(),
            }
            tracing::warn!(proof_id = label, %reason, restarts, "proof restarts");
            let _ = progress.send(ProofEvent::Restarted { reason });
            if let Some(event) = cut_event {
                let _ = progress.send(event);
            }
        }
    }

    /// Tries a proof once.
    async fn prove_once(
        &self,
        input: TryInput,
        progress: broadcast::Sender<ProofEvent>,
        cancel: &CancellationToken,
    ) -> EndedTry {
        let TryInput { mut request, runner, verify, findings, claims, deadline } = input;
        let id = TryId(self.shared.next_try.fetch_add(1, Ordering::Relaxed));
        request.trusted_only |= self.shared.settings.trusted_only;
        let trusted_only = request.trusted_only;
        let input_digest = self.input_digest(&request).await;
        let compares = claims.is_comparing();
        let running_try = Arc::new(RunningTry::new(id, &request, input_digest, verify, findings, compares, progress));
        let cleanup = TryCleanup::new(running_try.clone(), self.try_writer.clone(), self.shared.clone());
        let group = ShareGroup(request.share_group);
        let event = ForwardedEvent::TryStarted { try_id: id, group, claims: claims.clone(), trusted_only };
        let started = DispatcherInput::Event(event);
        let ended = |outcome, claims| EndedTry {
            label: running_try.label.clone(),
            options: running_try.options().to_owned(),
            outcome,
            claims,
        };
        if self.shared.inbox.send(started).await.is_err() {
            let is_broken = self.shared.broken.is_cancelled();
            let failure = if is_broken { dispatcher_panicked() } else { ProofFailure::Cancelled };
            return ended(Err(failure), claims);
        }
        let timeout = request.timeout.zip(deadline);
        let outcome = self.run_to_end(&running_try, &*runner, request, timeout, cancel).await;
        let outcome = match running_try.failure() {
            Some(failure) => Err(failure),
            None => outcome,
        };
        if let Err(failure) = &outcome {
            running_try.fail(failure.clone());
            // Before the cleanup, which removes the artifacts. The audit takes as long as it needs, while the caller
            // still waits for the proof.
            tokio::select! {
                () = audit(self.shared, &running_try, failure) => {}
                () = cancel.cancelled() => {}
                () = self.stop.cancelled() => {}
                _ = out_of_time(timeout) => {}
            }
        }
        // Before the cleanup, because the dispatcher forgets the claims then.
        let claims = if outcome.is_err() { self.claims_of(id).await.unwrap_or(claims) } else { claims };
        drop(cleanup);
        if let Err(failure) = &outcome {
            self.forget_doubtful_results(&running_try, failure).await;
        }
        let (shards, workers) = (running_try.shards.load(Ordering::Relaxed), running_try.results_by_worker());
        ended(outcome.map(|output| Proven { output, shards, workers }), claims)
    }

    /// Returns the digest of the input of `request`, which cached results carry. `None` if no results are cached.
    async fn input_digest(&self, request: &ProofRequest) -> Option<Digest> {
        self.shared.result_cache.as_ref().filter(|cache| cache.stores_results())?;
        let stdin = request.stdin.clone();
        tokio::task::spawn_blocking(move || Digest::of(&stdin)).await.ok()
    }

    /// Returns the claims of a running try; `None` if the dispatcher does not know the try, or has ended.
    async fn claims_of(&self, try_id: TryId) -> Option<ClaimHistory> {
        let (reply, claims) = oneshot::channel();
        self.shared.inbox.send(DispatcherInput::Claims { try_id, reply }).await.ok()?;
        claims.await.ok()
    }

    /// Lets the runner work until it ends, or until the try must end for another reason.
    async fn run_to_end(
        &self,
        running_try: &Arc<RunningTry>,
        runner: &dyn ProofRunner,
        request: ProofRequest,
        timeout: Option<(Duration, Instant)>,
        cancel: &CancellationToken,
    ) -> Result<ProofOutput, ProofFailure> {
        let handle = ProofHandle { running_try: running_try.clone(), shared: self.shared.clone() };
        let mut run = runner.run(handle, request);
        let failure = tokio::select! {
            // A finished proof counts, even if it is cancelled or its time ends at the same moment.
            biased;
            outcome = &mut run => return outcome,
            () = cancel.cancelled() => ProofFailure::Cancelled,
            () = self.stop.cancelled() => ProofFailure::Cancelled,
            () = running_try.stopped.cancelled() => ProofFailure::Cancelled,
            failure = out_of_time(timeout) => failure,
            failure = out_of_workers(self.shared, running_try) => failure,
        };
        // `fail` keeps an earlier cause. Then wait until the runner has ended, so that its child process and its shared
        // memory are gone before the failure is reported.
        running_try.fail(failure.clone());
        running_try.task_outcomes.close();
        tokio::select! {
            _ = run => {}
            () = sleep(END_TIMEOUT) => {
                tracing::warn!(proof_id = running_try.label, "execution of a failed try did not end in time and was abandoned");
            }
        }
        Err(failure)
    }

    /// Removes the cached results of the try from the result cache if they may be the cause of `failure`.
    async fn forget_doubtful_results(&self, running_try: &RunningTry, failure: &ProofFailure) {
        let is_doubtful = match failure {
            // A part of the proof may be wrong although each part was checked.
            ProofFailure::WrongProof(_) | ProofFailure::Internal(_) => {
                !self.stop.is_cancelled() && !self.shared.broken.is_cancelled()
            }
            ProofFailure::Task { .. } | ProofFailure::TaskOutOfMemory { .. } => {
                running_try.findings.are_claims_suspect()
            }
            _ => false,
        };
        if let (Some(cache), true) = (&self.shared.result_cache, is_doubtful) {
            let (cache, keys) = (cache.clone(), running_try.cached_keys());
            let _ = tokio::task::spawn_blocking(move || cache.forget(&keys)).await;
        }
    }
}

/// Resolves when the timeout has passed. Never resolves without a timeout.
async fn out_of_time(timeout: Option<(Duration, Instant)>) -> ProofFailure {
    match timeout {
        Some((timeout, deadline)) => {
            sleep_until(deadline).await;
            ProofFailure::Timeout(timeout)
        }
        None => std::future::pending().await,
    }
}

/// Adds a try to the running tries. Cleans up when the try ends, also when its future is dropped.
struct TryCleanup {
    running_try: Arc<RunningTry>,
    tries: TryWriter,
    shared: Arc<SharedState>,
}

impl TryCleanup {
    fn new(running_try: Arc<RunningTry>, tries: TryWriter, shared: Arc<SharedState>) -> Self {
        tries.add_try(running_try.clone());
        Self { running_try, tries, shared }
    }
}

impl Drop for TryCleanup {
    fn drop(&mut self) {
        self.running_try.stopped.cancel();
        self.running_try.task_outcomes.close();
        self.running_try.end_progress();
        self.tries.remove_try(self.running_try.id);
        self.shared.store.remove_scope(try_scope(self.running_try.id));
        let (shared, running_try) = (self.shared.clone(), self.running_try.clone());
        if let Err(mpsc::error::TrySendError::Full(input)) = shared.inbox.try_send(DispatcherInput::EndTry(running_try))
        {
            // The inbox of the dispatcher is full. Wait for room in the background, on the runtime of the dispatcher,
            // because this value may be dropped outside a runtime.
            let runtime = shared.runtime.clone();
            runtime.spawn(async move { shared.inbox.send(input).await });
        }
    }
}
