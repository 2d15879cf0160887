//! Runs proofs, from the queue to their end.

use super::{
    events::MAX_FLUSH,
    proof_end::TimeLimit,
    service::{ActiveProof, ServiceInner, lock},
};
use crate::{
    access::TenantName,
    state::{BlobError, ProofJob, ProofOutcome},
    telemetry::{AttemptMetrics, Spans},
};
use sp1d_model::{FailureInfo, Moment, ProofEvent, ProofFailureKind, TaskCounts};
use sp1d_orchestrator::{ExpectedExit, ProofFailure, ProofRequest, Proven};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Events of one proof that may wait before `follow` reads them; older ones are dropped. The channel allocates about
/// 200 bytes for each place while the proof runs, 1.6 MB in total.
const EVENTS_OF_PROOF: usize = 1 << 13;

/// Interval at which the service looks for queued proofs and expired deadlines.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl ServiceInner {
    /// Starts queued proofs while fewer than `ServiceSettings::parallel_proofs` are running, until the service stops.
    pub(super) async fn run_queue(self: Arc<Self>) {
        let _task = self.watch_background_task("the queue");
        if !self.wait_for_start().await {
            return;
        }
        let mut is_locked = false;
        loop {
            self.end_suspicions().await;
            while self.may_start() {
                let inner = self.clone();
                let started = tokio::task::spawn_blocking(move || inner.database.start_next(inner.clock.now()));
                let started = started.await.expect("work on the state does not panic");
                let was_locked = is_locked;
                is_locked = matches!(&started, Err(error) if error.is_temporary());
                match started {
                    Ok(Some(job)) => {
                        if let Some(alone) = job.alone {
                            let (proof_id, minutes) = (&job.proof.id, alone.as_secs() / 60);
                            tracing::warn!(%proof_id, minutes, "the service crashed while this proof was running; it runs alone for a while");
                        }
                        let alone_until = job.alone.map(|alone| Instant::now() + alone);
                        let running = Arc::new(ActiveProof {
                            cancel: CancellationToken::new(),
                            alone_until: Mutex::new(alone_until),
                            tasks: Mutex::default(),
                            result: Mutex::default(),
                            spans: Mutex::new(
                                self.settings
                                    .tracer
                                    .clone()
                                    .map(|tracer| Spans::new(tracer, &job.proof, self.clock.now())),
                            ),
                        });
                        lock(&self.running).insert(job.proof.id.clone(), running.clone());
                        self.followers.notify([job.proof.id.as_str()]);
                        self.tasks.spawn(self.clone().run(job, running));
                    }
                    Ok(None) => break,
                    // The next look at the queue tries again.
                    Err(error) if error.is_temporary() => {
                        if !was_locked {
                            tracing::warn!(%error, "cannot start queued proofs at the moment; retrying");
                        }
                        break;
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot start the next queued proof; retrying in 5 s");
                        sleep(Duration::from_secs(5)).await;
                    }
                }
            }
            self.fail_expired().await;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    /// Returns true if the next queued proof may start now.
    fn may_start(&self) -> bool {
        if self.stop.is_cancelled() || self.has_dead_background_task() {
            return false;
        }
        let running = lock(&self.running);
        let is_one_alone = running.values().any(|running| lock(&running.alone_until).is_some());
        running.len() < self.settings.parallel_proofs.max(1) && !is_one_alone
    }

    /// Ends the suspicion against running proofs that have run alone for long enough, so that others start again.
    async fn end_suspicions(self: &Arc<Self>) {
        let over = lock(&self.running)
            .iter()
            .find_map(|(id, running)| running.is_time_alone_over().then(|| (id.clone(), running.clone())));
        let Some((id, running)) = over else { return };
        let inner = self.clone();
        // A failure is temporary or logged by others. The next look at the queue tries again.
        let ended = tokio::task::spawn_blocking(move || inner.database.end_suspicion(&id)).await;
        if ended.expect("work on the state does not panic").is_ok() {
            lock(&running.alone_until).take();
        }
    }

    /// Fails the queued proofs whose deadline has passed.
    async fn fail_expired(self: &Arc<Self>) {
        let failure = FailureInfo {
            kind: ProofFailureKind::Timeout,
            text: "the timeout passed while the proof was in the queue\nhint: set a longer timeout, or raise `--parallel-proofs` of `sp1d serve`".to_owned(),
        };
        let inner = self.clone();
        let found = tokio::task::spawn_blocking(move || inner.database.has_expired(&inner.clock.proof_times()));
        if let Ok(false) = found.await.expect("work on the state does not panic") {
            return;
        }
        // The last event, which the database stores with the new state, must come after all other events.
        if timeout(MAX_FLUSH, self.flush_events()).await.is_err() {
            return;
        }
        let inner = self.clone();
        let fail = move || inner.database.fail_expired(&failure, &inner.clock.proof_times());
        let expired = tokio::task::spawn_blocking(fail);
        match expired.await.expect("work on the state does not panic") {
            Ok(expired) if expired.is_empty() => {}
            Ok(expired) => {
                self.followers.notify(expired.iter().map(String::as_str));
                let mut numbers = lock(&self.numbers);
                for id in &expired {
                    numbers.remove(id);
                }
            }
            Err(error) if error.is_temporary() => {}
            Err(error) => tracing::warn!(%error, "cannot look for queued proofs whose deadline has passed"),
        }
    }

    /// Runs a proof to its end. If the service stops first, returns the proof to the queue.
    async fn run(self: Arc<Self>, job: ProofJob, running: Arc<ActiveProof>) {
        let _task = self.watch_background_task("the task of a proof");
        let id = job.proof.id.clone();
        tracing::info!(proof_id = %id, start = job.proof.starts, mode = job.proof.mode.name(), "proof started");
        self.report(&id, ProofEvent::Started { start: job.proof.starts }).await;
        let started = Instant::now();
        let mode = job.proof.mode.name();
        if job.proof.starts == 1 {
            let waited = self.clock.now().0.saturating_sub(job.proof.created.0);
            self.metrics.on_started(Duration::from_millis(u64::try_from(waited).unwrap_or(0)));
        }
        let limit = self.time_limit(job.proof.created, job.proof.deadline).ok().flatten();
        let limit = limit.and_then(|time| Some(TimeLimit { time, end: started.checked_add(time)? }));
        // A separate task, so that a panic ends only this proof.
        let proven = tokio::spawn(self.clone().prove(job, running.clone())).await;
        let proven = proven.unwrap_or_else(|error| Err(ProofFailure::Internal(error.to_string())));
        let stopped = (self.stop.is_cancelled() || self.has_dead_background_task()) && !running.cancel.is_cancelled();
        let outcome = match proven {
            Ok(proven) => self.clone().keep(&id, proven, &running, limit).await,
            // The shutdown or a dead background task may be the cause of the failure. The next start runs the proof
            // again.
            Err(_) if stopped => None,
            Err(ProofFailure::Cancelled) => Some(ProofOutcome::Cancelled),
            Err(failure) => Some(ProofOutcome::Failed(FailureInfo::from(&failure))),
        };
        let Some(outcome) = outcome else {
            tracing::info!(proof_id = %id, "proof interrupted; it continues at the next start of the service");
            if let Some(spans) = lock(&running.spans).take() {
                spans.stop(self.clock.now());
            }
            self.put_back(&id).await;
            return;
        };
        self.metrics.on_ended(mode, outcome.state().name(), started.elapsed());
        self.clone().finish(&id, outcome, &running, started).await;
        lock(&self.running).remove(&id);
        lock(&self.numbers).remove(&id);
        self.wake.notify_one();
    }

    /// Returns a running proof to the queue when the service stops.
    pub(super) async fn put_back(self: &Arc<Self>, id: &str) {
        let owned = id.to_owned();
        let put_back = self.persistently("return a proof to the queue", move |inner| inner.database.put_back(&owned));
        if let Err(error) = put_back.await {
            tracing::warn!(proof_id = id, %error, "cannot return a proof to the queue; the next start counts this as a crash");
        }
    }

    async fn prove(self: Arc<Self>, job: ProofJob, running: Arc<ActiveProof>) -> Result<Proven, ProofFailure> {
        let unreadable = |error: BlobError| {
            let hint = match &error {
                BlobError::Damaged { .. } => {
                    "\nhint: upload the program and the input again (`POST /v1/programs`, `POST /v1/inputs`), then submit a new proof request"
                }
                _ => "",
            };
            ProofFailure::Machine(format!("{error}{hint}"))
        };
        let (inner, program, input) = (self.clone(), job.proof.program, job.proof.input);
        let max_cycles = self.max_cycles(&job.proof.tenant).await?;
        let read = move || Ok((inner.blobs.read(&program)?, inner.blobs.read(&input)?));
        let read = tokio::task::spawn_blocking(read).await.expect("work on the state does not panic");
        let (elf, stdin) = read.map_err(unreadable)?;
        let timeout = self.time_limit(job.proof.created, job.proof.deadline)?;
        let request = ProofRequest {
            elf: elf.into(),
            stdin: stdin.into(),
            mode: job.proof.mode,
            cycle_limit: lower(job.proof.cycle_limit, max_cycles),
            gas_limit: job.proof.gas_limit,
            expected_exit: ExpectedExit::Success,
            check_input_proofs: true,
            trusted_only: job.proof.trusted_only,
            nonce: job.proof.nonce,
            options: job.options,
            timeout,
            cache_scope: cache_scope(&job.proof.tenant, self.settings.share_results),
            share_group: share_group(&job.proof.tenant),
            label: job.proof.id.clone(),
        };
        let (progress, events) = broadcast::channel(EVENTS_OF_PROOF);
        let following = tokio::spawn(self.clone().follow(job.proof.id, running.clone(), events));
        let proven = self.orchestrator.prove(request, self.runner.clone(), progress, running.cancel.clone()).await;
        // `follow` ends after the last event, because the sender `progress` is dropped.
        let _ = following.await;
        proven
    }

    /// Returns how long a proof that was accepted at `created` may run if it starts now; `None` for no limit.
    ///
    /// # Errors
    /// If its `deadline` has passed.
    fn time_limit(&self, created: Moment, deadline: Option<Moment>) -> Result<Option<Duration>, ProofFailure> {
        let left = match deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.0.saturating_sub(self.clock.proof_times().of(created).0);
                let allowed =
                    Duration::from_millis(u64::try_from(deadline.0.saturating_sub(created.0)).unwrap_or_default());
                match u64::try_from(left) {
                    Ok(left) if left > 0 => Some(Duration::from_millis(left)),
                    _ => return Err(ProofFailure::Timeout(allowed)),
                }
            }
        };
        Ok(lower(left, self.settings.max_time))
    }

    /// Returns the maximum number of cycles of a program of `tenant`.
    async fn max_cycles(self: &Arc<Self>, tenant: &str) -> Result<Option<u64>, ProofFailure> {
        let owned = tenant.to_owned();
        let quota = self.persistently("read the quota of a tenant", move |inner| inner.database.quota(&owned)).await;
        let quota = quota.map_err(|error| ProofFailure::Machine(error.to_string()))?;
        Ok(lower(quota.max_cycles, self.settings.max_cycles))
    }

    /// Records the progress of a proof: its events, task counts and metrics.
    async fn follow(
        self: Arc<Self>,
        id: String,
        running: Arc<ActiveProof>,
        mut events: broadcast::Receiver<ProofEvent>,
    ) {
        let mut attempts = AttemptMetrics::default();
        loop {
            let event = match events.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(proof_id = %id, missed, "events of a proof dropped: they arrived faster than they were stored");
                    continue;
                }
            };
            if let ProofEvent::Cut { options, .. } = &event {
                self.clone().keep_options(id.clone(), options.clone()).await;
            }
            attempts.on_event(&self.metrics, &event, self.clock.now().0);
            {
                let mut tasks = lock(&running.tasks);
                match &event {
                    ProofEvent::Submitted { .. } => tasks.known += 1,
                    ProofEvent::Done(_) => tasks.done += 1,
                    ProofEvent::CachedResult { .. } => (tasks.done, tasks.cached) = (tasks.done + 1, tasks.cached + 1),
                    ProofEvent::Restarted { .. } => *tasks = TaskCounts::default(),
                    _ => {}
                }
            }
            self.report(&id, event).await;
        }
    }

    /// Stores the options by which the run is cut into shards. The next start must cut the run in the same way, because
    /// cached results of different shards are useless.
    async fn keep_options(self: Arc<Self>, id: String, options: String) {
        let owned = id.clone();
        let keep = move |inner: &Self| inner.database.set_options(&owned, &options);
        if let Err(error) = self.persistently("store how a run is cut into shards", keep).await {
            tracing::warn!(proof_id = %id, %error, "cannot store how the run is cut into shards; the next start may cut it differently");
        }
    }
}

/// Returns the scope of a tenant's results in the result cache. A hit is faster than a proof, so a common scope shows
/// whether another tenant has proven the same. The default tenant keeps its results from before there were tenants.
fn cache_scope(tenant: &str, is_shared: bool) -> String {
    if is_shared || tenant == TenantName::DEFAULT { String::new() } else { tenant.to_owned() }
}

/// Returns the group with which the proofs of a tenant share the workers. Two tenants with the same group, which does
/// not happen in practice, share the workers like one.
fn share_group(tenant: &str) -> u64 {
    if tenant == TenantName::DEFAULT {
        return 0;
    }
    let mut start = [0; 8];
    start.copy_from_slice(&blake3::hash(tenant.as_bytes()).as_bytes()[..8]);
    u64::from_be_bytes(start)
}

/// Returns the lower of two limits; `None` means no limit.
fn lower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_share_cached_results_only_if_the_operator_wants_it() {
        // Tenant, whether results are shared, and the scope.
        for (tenant, is_shared, scope) in [("default", false, ""), ("a", false, "a"), ("a", true, "")] {
            assert_eq!(cache_scope(tenant, is_shared), scope, "{tenant} {is_shared}");
        }
    }

    #[test]
    fn each_tenant_has_its_group() {
        assert_eq!(share_group("default"), 0);
        assert_eq!(share_group("a"), share_group("a"));
        assert!(share_group("a") != share_group("b") && share_group("a") != 0);
    }

    #[test]
    fn request_can_only_lower_a_limit() {
        // Limit of the request, limit of the service, and the limit that counts.
        let cases = [
            (None, None, None),
            (Some(1), None, Some(1)),
            (None, Some(2), Some(2)),
            (Some(1), Some(2), Some(1)),
            (Some(3), Some(2), Some(2)),
        ];
        for (request, service, expected) in cases {
            assert_eq!(lower(request, service), expected);
        }
    }
}
