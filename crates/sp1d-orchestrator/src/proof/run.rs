//! Runs a proof, from its request to its end, and restarts it if that can help.

use super::{handle::ProofHandle, running::RunningProof};
use crate::{
    audit::deferred_claims::DeferredClaims,
    controller::{
        failure::ProofFailure,
        interface::ProofController,
        request::{Cut, ProofOutput, ProofRequest},
    },
    dispatch::input::DispatcherInput,
    orchestrator::Orchestrator,
    registry::Registry,
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

/// Maximum wait for the execution of a failed proof to end. An audit of unverified results may take longer.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of restarts of a proof.
const MAX_RESTARTS: u32 = 2;

/// A finished proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The output of the controller.
    pub output: ProofOutput,
    /// Number of shards.
    pub shards: u64,
    /// Number of tasks that each worker completed.
    pub workers: Vec<WorkerTasks>,
}

/// The input of one try of a proof.
struct ProofTryInput {
    request: ProofRequest,
    controller: Arc<dyn ProofController>,
    verify: Verify,
    claims: Arc<DeferredClaims>,
    deadline: Option<Instant>,
}

impl Orchestrator {
    /// Runs `request` through `controller` on the connected workers, until it ends or `cancel` is cancelled. Sends
    /// events to `progress`.
    ///
    /// A proof restarts at most twice, and its timeout counts from the first start. It restarts in these cases:
    /// - Its execution was interrupted from outside.
    /// - A shard needs more memory than any worker has. The run is then cut into smaller shards.
    /// - It used cached results that may be wrong. They are removed from the result cache.
    /// - It does not verify, or a part of it is wrong, and its results were not verified. They are then verified.
    /// - It does not verify although its results do, or a precompile shard could not be proven. Then two workers must
    ///   agree on the deferred events of each core shard.
    ///
    /// # Errors
    /// Returns why there is no proof.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the proof.
    pub async fn prove(
        &self,
        request: ProofRequest,
        controller: Arc<dyn ProofController>,
        progress: broadcast::Sender<ProofEvent>,
        cancel: CancellationToken,
    ) -> Result<Proven, ProofFailure> {
        // A deadline beyond the range of the clock counts as no deadline.
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (mut verify, mut restarts) = (self.registry.settings.verify, 0);
        let mut request = request;
        let claims = Arc::new(DeferredClaims::default());
        loop {
            let input = ProofTryInput {
                request: request.clone(),
                controller: controller.clone(),
                verify,
                claims: claims.clone(),
                deadline,
            };
            let (options, outcome) = self.prove_once(input, progress.clone(), &cancel).await;
            let failure = match outcome {
                Err(failure) if restarts < MAX_RESTARTS => failure,
                Err(ProofFailure::Interrupted(reason)) => return Err(ProofFailure::Machine(reason)),
                outcome => return outcome,
            };
            let mut smaller = None;
            let reason = match &failure {
                ProofFailure::Interrupted(reason) => reason.clone(),
                ProofFailure::OutOfMemory(reason) => {
                    let reason = one_line(reason);
                    let Some(cut) = controller.smaller_cut(&options) else { return Err(failure) };
                    request.options.clone_from(&cut.options);
                    let text = format!("{reason}; the run is cut into smaller shards: {}", cut.name);
                    smaller = Some((cut, reason));
                    text
                }
                // The cached results may be wrong. `prove_once` has removed them from the result cache.
                ProofFailure::Unverified(_) | ProofFailure::Internal(_) if claims.take_cached_use() => {
                    failure.to_string()
                }
                ProofFailure::Task { .. } if claims.is_suspect() && claims.take_cached_use() => failure.to_string(),
                ProofFailure::Unverified(_) if verify == Verify::Final => {
                    verify = Verify::All;
                    failure.to_string()
                }
                // A wrong result can cause any of these failures.
                ProofFailure::Task { .. } | ProofFailure::Internal(_)
                    if verify == Verify::Final && claims.has_wrong_result() =>
                {
                    verify = Verify::All;
                    failure.to_string()
                }
                // The results are right but the proof is not, or a shard cannot be made from the claimed deferred
                // events.
                ProofFailure::Unverified(_) if claims.may_explain_proof() => {
                    claims.start_comparing();
                    failure.to_string()
                }
                ProofFailure::Task { .. } if claims.may_explain_shard() => {
                    claims.start_comparing();
                    failure.to_string()
                }
                _ => return Err(failure),
            };
            restarts += 1;
            let reason = one_line(&reason);
            tracing::warn!(proof_id = request.label, %reason, restarts, "proof restarts");
            let _ = progress.send(ProofEvent::Restarted { reason });
            if let Some((Cut { options, name }, reason)) = smaller {
                let _ = progress.send(ProofEvent::Cut { name, reason, options });
            }
        }
    }

    /// Tries a proof once. Also returns the options with the cut that the controller has chosen.
    async fn prove_once(
        &self,
        input: ProofTryInput,
        progress: broadcast::Sender<ProofEvent>,
        cancel: &CancellationToken,
    ) -> (String, Result<Proven, ProofFailure>) {
        let ProofTryInput { request, controller, verify, claims, deadline } = input;
        let id = ProofId(self.registry.next_proof.fetch_add(1, Ordering::Relaxed));
        let state = Arc::new(RunningProof::new(id, &request, verify, claims, progress));
        let proof = ProofCleanup { state: state.clone(), registry: self.registry.clone() };
        self.registry.proofs().insert(id, state.clone());
        let started = DispatcherInput::Event(DispatchEvent::ProofStarted { proof: id });
        if self.registry.inbox.send(started).await.is_err() {
            return (String::new(), Err(ProofFailure::Cancelled));
        }
        let timeout = request.timeout.zip(deadline);
        let handle = ProofHandle { state: state.clone(), registry: self.registry.clone() };
        let mut run = controller.run(handle, request);
        let failure = tokio::select! {
            outcome = &mut run => Err(outcome),
            () = cancel.cancelled() => Ok(ProofFailure::Cancelled),
            () = self.stop.cancelled() => Ok(ProofFailure::Cancelled),
            () = state.ended.cancelled() => Ok(ProofFailure::Cancelled),
            failure = out_of_time(timeout) => Ok(failure),
            failure = out_of_workers(&self.registry, &state) => Ok(failure),
        };
        let outcome = match failure {
            Err(outcome) => outcome,
            Ok(failure) => {
                // The first cause is kept. The controller ends by itself, so that its child process and its shared
                // memory are gone before the failure is reported.
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
        };
        let outcome = match state.failure() {
            Some(failure) => Err(failure),
            None => outcome,
        };
        drop(proof);
        let is_doubtful = match &outcome {
            // A part of the proof may be wrong although each part was checked.
            Err(ProofFailure::Unverified(_) | ProofFailure::Internal(_)) => !self.stop.is_cancelled(),
            Err(ProofFailure::Task { .. }) => state.claims.is_suspect(),
            Ok(_) | Err(_) => false,
        };
        if let (Some(cache), true) = (&self.registry.result_cache, is_doubtful) {
            let (cache, keys) = (cache.clone(), state.cached_keys());
            let _ = tokio::task::spawn_blocking(move || cache.forget(&keys)).await;
        }
        let proven = |output| Proven { output, shards: state.shards.load(Ordering::Relaxed), workers: state.shares() };
        (state.options().to_owned(), outcome.map(proven))
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
/// supported a task kind that the proof waits for.
async fn out_of_workers(registry: &Registry, proof: &RunningProof) -> ProofFailure {
    let (mut alone_since, mut stuck_since) = (None, None);
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
        let since = *alone_since.get_or_insert_with(|| {
            tracing::warn!(last = %registry.last_departure(), "no worker is connected: waiting for one");
            Instant::now()
        });
        if since.elapsed() >= registry.settings.patience {
            return ProofFailure::NoWorkers { waited: since.elapsed(), last: registry.last_departure().clone() };
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
        self.registry.proofs().remove(&self.state.id);
        self.registry.store.remove_scope(proof_scope(self.state.id));
        let (registry, state) = (self.registry.clone(), self.state.clone());
        if let Err(mpsc::error::TrySendError::Full(input)) = registry.inbox.try_send(DispatcherInput::End(state)) {
            // The inbox of the dispatcher is full. Wait for room in the background, on the runtime of the dispatcher,
            // because this value may be dropped outside a runtime.
            let runtime = registry.runtime.clone();
            runtime.spawn(async move { registry.inbox.send(input).await });
        }
    }
}
