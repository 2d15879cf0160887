//! Runs a proof, from its request to its end, and restarts it if that can help.

use super::{
    handle::ProofHandle,
    restart::{Restart, TryFacts, final_failure, restart_after},
    running::RunningProof,
};
use crate::{
    audit::deferred_claims::DeferredClaims,
    dispatch::input::DispatcherInput,
    orchestrator::Orchestrator,
    pool::first_contact::settle,
    registry::Registry,
    runner::{
        failure::{ProofFailure, dispatcher_panicked},
        interface::ProofRunner,
        request::{ProofOutput, ProofRequest},
    },
    scope::proof_scope,
    settings::Verify,
};
use sp1d_model::{ProofEvent, WorkerTasks, hint::one_line};
use sp1d_scheduler::{DispatchEvent, ProofId, TaskKind};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

sp1d_model::limits! {
    /// Maximum wait for the execution of a failed proof to end. An audit of unverified results may take longer.
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
struct ProofTryInput {
    request: ProofRequest,
    runner: Arc<dyn ProofRunner>,
    verify: Verify,
    claims: Arc<DeferredClaims>,
    deadline: Option<Instant>,
}

/// How one try of a proof ended.
struct EndedTry {
    /// Name of the proof in logs.
    label: String,
    /// The options of the request, with the cut that the runner has chosen.
    options: String,
    outcome: Result<Proven, ProofFailure>,
}

impl Orchestrator {
    /// Runs `request` through `runner` on the connected workers, until it ends or `cancel` is cancelled. Sends
    /// events to `progress`.
    ///
    /// A proof restarts at most twice, and its timeout counts from the first start. It restarts in these cases:
    /// - Its execution was interrupted from outside.
    /// - A shard needs more memory than any worker has. The run is then cut into smaller shards.
    /// - It used cached results that may be wrong. They are removed from the result cache.
    /// - It does not verify, or a part of it is wrong, and its results were not verified. They are then verified.
    /// - It does not verify although its results do, or a precompile shard could not be proven. Then the
    ///   workers' claims about deferred events are compared: a second worker must make the same claims for each core
    ///   shard, if another worker is available or has made other claims.
    ///
    /// # Errors
    /// Returns why there is no proof.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        runner: Arc<dyn ProofRunner>,
        progress: broadcast::Sender<ProofEvent>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        // A deadline beyond the range of the clock counts as no deadline.
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Workers are called, and kept from other orchestrators, until this value is dropped.
        let _demand = self.registry.demand.start();
        tokio::select! {
            () = settle(&self.registry) => {}
            () = cancel.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        let (mut verify, mut restarts) = (self.registry.settings.verify, 0);
        let mut request = request;
        let claims = Arc::new(DeferredClaims::default());
        loop {
            let input = ProofTryInput {
                request: request.clone(),
                runner: runner.clone(),
                verify,
                claims: claims.clone(),
                deadline,
            };
            let EndedTry { label, options, outcome } = self.prove_once(input, progress.clone(), &cancel).await;
            let failure = match outcome {
                Ok(proven) => return Ok(proven),
                Err(failure) if self.broken().is_cancelled() => return Err(final_failure(failure)),
                Err(failure) => failure,
            };
            let facts = TryFacts {
                restarts,
                verify,
                smaller_cut: runner.smaller_cut(&options),
                has_cached_use: claims.has_cached_use(),
                has_wrong_result: claims.has_wrong_result(),
                has_claimed_events: claims.has_claimed_events(),
                are_claims_suspect: claims.is_suspect(),
                compares_claims: claims.compares(),
            };
            let Some(restart) = restart_after(&failure, &facts) else { return Err(final_failure(failure)) };
            restarts += 1;
            let mut reason = one_line(&failure.to_string());
            let mut cut_event = None;
            match restart {
                Restart::Same => {}
                Restart::SmallerCut(cut) => {
                    request.options.clone_from(&cut.options);
                    let text = format!("{reason}; the run is cut into smaller shards: {}", cut.name);
                    cut_event = Some(ProofEvent::Cut { name: cut.name, reason, options: cut.options });
                    reason = text;
                }
                Restart::WithoutCachedResults => claims.clear_cached_use(),
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
        input: ProofTryInput,
        progress: broadcast::Sender<ProofEvent>,
        cancel: &CancellationToken,
    ) -> EndedTry {
        let ProofTryInput { request, runner, verify, claims, deadline } = input;
        let id = ProofId(self.registry.next_proof.fetch_add(1, Ordering::Relaxed));
        let state = Arc::new(RunningProof::new(id, &request, verify, claims, progress));
        let cleanup = ProofCleanup { state: state.clone(), registry: self.registry.clone() };
        self.registry.add_proof(state.clone());
        let started = DispatcherInput::Event(DispatchEvent::ProofStarted { proof: id });
        let ended = |outcome| EndedTry { label: state.label.clone(), options: state.options().to_owned(), outcome };
        if self.registry.inbox.send(started).await.is_err() {
            let is_broken = self.broken().is_cancelled();
            return ended(Err(if is_broken { dispatcher_panicked() } else { ProofFailure::Cancelled }));
        }
        let outcome = self.run_to_end(&state, &*runner, request, deadline, cancel).await;
        let outcome = match state.failure() {
            Some(failure) => Err(failure),
            None => outcome,
        };
        drop(cleanup);
        if let Err(failure) = &outcome {
            self.forget_doubtful_results(&state, failure).await;
        }
        let proven = |output| Proven { output, shards: state.shards.load(Ordering::Relaxed), workers: state.shares() };
        ended(outcome.map(proven))
    }

    /// Lets the runner work until it ends, or until the try must end for another reason.
    async fn run_to_end(
        &self,
        state: &Arc<RunningProof>,
        runner: &dyn ProofRunner,
        request: ProofRequest,
        deadline: Option<Instant>,
        cancel: &CancellationToken,
    ) -> Result<ProofOutput, ProofFailure> {
        let timeout = request.timeout.zip(deadline);
        let handle = ProofHandle { state: state.clone(), registry: self.registry.clone() };
        let mut run = runner.run(handle, request);
        let failure = tokio::select! {
            // A finished proof counts, even if it is cancelled or its time ends at the same moment.
            biased;
            outcome = &mut run => return outcome,
            () = cancel.cancelled() => ProofFailure::Cancelled,
            () = self.stop.cancelled() => ProofFailure::Cancelled,
            () = state.ended.cancelled() => ProofFailure::Cancelled,
            failure = out_of_time(timeout) => failure,
            failure = out_of_workers(&self.registry, state) => failure,
        };
        // The first cause is kept. The runner ends by itself, so that its child process and its shared memory are
        // gone before the failure is reported.
        state.fail(failure.clone());
        state.tracker.close();
        let too_long = async {
            sleep(END_TIMEOUT).await;
            // An audit of unverified results may take longer, as long as the caller still waits for the proof.
            tokio::select! {
                () = state.audit_ended() => {}
                () = cancel.cancelled() => {}
                () = self.stop.cancelled() => {}
                _ = out_of_time(timeout) => {}
            }
        };
        tokio::select! {
            _ = run => {}
            () = too_long => {
                tracing::warn!(proof_id = state.label, "execution of a failed proof did not end in time and was abandoned");
            }
        }
        Err(failure)
    }

    /// Removes the cached results of the proof from the result cache if they may be the cause of `failure`.
    async fn forget_doubtful_results(&self, state: &RunningProof, failure: &ProofFailure) {
        let is_doubtful = match failure {
            // A part of the proof may be wrong although each part was checked.
            ProofFailure::Unverified(_) | ProofFailure::Internal(_) => {
                !self.stop.is_cancelled() && !self.broken().is_cancelled()
            }
            ProofFailure::Task { .. } => state.claims.is_suspect(),
            _ => false,
        };
        if let (Some(cache), true) = (&self.registry.result_cache, is_doubtful) {
            let (cache, keys) = (cache.clone(), state.cached_keys());
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

/// Resolves once, for the whole of the patience in the settings, no worker was connected, or no connected worker
/// supported a task kind that the proof waits for. A better place in a worker's queue starts the patience anew.
async fn out_of_workers(registry: &Registry, proof: &RunningProof) -> ProofFailure {
    let (mut alone_since, mut stuck_since) = (None, None);
    let mut seen_advances = 0;
    loop {
        sleep(Duration::from_millis(250)).await;
        match TaskKind::ALL.into_iter().filter(|kind| proof.waits_for(*kind)).find_map(|kind| {
            let reasons = registry.missing_capability(kind)?;
            Some((kind, reasons))
        }) {
            Some((kind, reasons)) => {
                let since = *stuck_since.get_or_insert_with(|| {
                    tracing::warn!(%kind, ?reasons, "no connected worker supports this task kind: waiting for one");
                    Instant::now()
                });
                if since.elapsed() >= registry.settings.patience {
                    return ProofFailure::Unsupported { kind, reasons };
                }
            }
            None => stuck_since = None,
        }
        if !registry.workers().is_empty() {
            alone_since = None;
            continue;
        }
        let (workers, advances) = {
            let contacts = registry.contacts.borrow();
            (contacts.busy(), contacts.advances())
        };
        if advances != seen_advances {
            (seen_advances, alone_since) = (advances, None);
        }
        let since = *alone_since.get_or_insert_with(|| {
            // The wait for each busy worker is logged where it happens.
            if workers.is_empty() {
                tracing::warn!(last = %registry.last_departure(), "no worker is connected: waiting for one");
            }
            Instant::now()
        });
        let waited = since.elapsed();
        if waited >= registry.settings.patience {
            return if workers.is_empty() {
                ProofFailure::NoWorkers { waited, last: registry.last_departure().clone() }
            } else {
                ProofFailure::WorkersBusy { waited, workers }
            };
        }
    }
}

/// Cleans up when the proof ends, also when its future is dropped.
struct ProofCleanup {
    state: Arc<RunningProof>,
    registry: Arc<Registry>,
}

impl Drop for ProofCleanup {
    fn drop(&mut self) {
        self.state.ended.cancel();
        self.state.tracker.close();
        self.state.end_progress();
        self.registry.remove_proof(self.state.id);
        self.registry.store.remove_scope(proof_scope(self.state.id));
        let (registry, state) = (self.registry.clone(), self.state.clone());
        if let Err(mpsc::error::TrySendError::Full(input)) = registry.inbox.try_send(DispatcherInput::EndProof(state)) {
            // The inbox of the dispatcher is full. Wait for room in the background, on the runtime of the dispatcher,
            // because this value may be dropped outside a runtime.
            let runtime = registry.runtime.clone();
            runtime.spawn(async move { registry.inbox.send(input).await });
        }
    }
}
