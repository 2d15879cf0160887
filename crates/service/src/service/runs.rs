//! Runs proofs, from the queue to their end.

use super::{Inner, Live, lock};
use crate::{
    blobs::BlobError,
    database::{Ending, Job},
    hint,
    metrics::Attempts,
    spans::Spans,
};
use client::{FailureInfo, Moment, ProofEvent, ProofState, Tasks};
use orchestrator::{ExpectedExit, ProofFailure, ProofRequest, Proven};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Events of one proof that may wait before `follow` reads them; older ones are dropped. The channel allocates about
/// 200 bytes for each place while the proof runs, 1.6 MB in total.
const EVENTS_OF_PROOF: usize = 1 << 13;

/// Interval at which the dispatcher looks for queued proofs and expired deadlines. A finished proof that waits for disk
/// space is retried every five intervals.
const LOOKS: Duration = Duration::from_secs(1);

impl Inner {
    /// Starts queued proofs while fewer than `Settings::running` are running, until the service stops.
    pub(super) async fn dispatch(self: Arc<Self>) {
        loop {
            while lock(&self.running).len() < self.settings.running.max(1) && !self.stop.is_cancelled() {
                let inner = self.clone();
                let begun = tokio::task::spawn_blocking(move || inner.database.begin_next(Moment::now()));
                match begun.await.expect("work on the state does not panic") {
                    Ok(Some(job)) => {
                        let live = Arc::new(Live {
                            cancel: CancellationToken::new(),
                            tasks: Mutex::default(),
                            spans: Mutex::new(
                                self.settings.tracer.clone().map(|tracer| Spans::new(tracer, &job.proof)),
                            ),
                        });
                        lock(&self.running).insert(job.proof.id.clone(), live.clone());
                        self.tasks.spawn(self.clone().run(job, live));
                    }
                    Ok(None) => break,
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
                () = sleep(LOOKS) => {}
            }
        }
    }

    /// Fails the queued proofs whose deadline has passed.
    async fn fail_expired(self: &Arc<Self>) {
        let failure = FailureInfo {
            kind: "timeout".to_owned(),
            text: "the timeout passed while the proof was in the queue\nhint: set a longer timeout, or raise `--parallel-proofs` of `sp1d serve`".to_owned(),
        };
        let (inner, reason) = (self.clone(), failure.clone());
        let expired = tokio::task::spawn_blocking(move || inner.database.fail_expired(&reason, Moment::now()));
        match expired.await.expect("work on the state does not panic") {
            Ok(expired) => {
                for id in expired {
                    let failure = Some(failure.clone());
                    self.tell(&id, ProofEvent::Finished { state: ProofState::Failed, failure }).await;
                    lock(&self.numbers).remove(&id);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look for queued proofs whose deadline has passed"),
        }
    }

    /// Runs a proof to its end. If the service stops first, returns the proof to the queue.
    async fn run(self: Arc<Self>, job: Job, live: Arc<Live>) {
        let id = job.proof.id.clone();
        tracing::info!(proof_id = %id, start = job.proof.starts, mode = job.proof.mode.name(), "proof started");
        self.tell(&id, ProofEvent::Started { start: job.proof.starts }).await;
        let began = Instant::now();
        let mode = job.proof.mode.name();
        if job.proof.starts == 1 {
            let waited = Moment::now().0.saturating_sub(job.proof.created.0);
            self.metrics.on_begun(Duration::from_millis(u64::try_from(waited).unwrap_or(0)));
        }
        // A separate task, so that a panic ends only this proof.
        let outcome = tokio::spawn(self.clone().prove(job, live.clone())).await;
        let outcome = outcome.unwrap_or_else(|error| Err(ProofFailure::Internal(error.to_string())));
        let stopped = self.stop.is_cancelled() && !live.cancel.is_cancelled();
        let ending = match outcome {
            Ok(proven) => self.clone().keep(&id, proven).await,
            // The shutdown may be the cause of the failure. The next start runs the proof again.
            Err(_) if stopped => None,
            Err(ProofFailure::Cancelled) => Some(Ending::Cancelled),
            Err(failure) => Some(Ending::Failed(FailureInfo::from(&failure))),
        };
        let Some(ending) = ending else {
            tracing::info!(proof_id = %id, "proof interrupted by the shutdown; it continues at the next start of the service");
            if let Some(spans) = lock(&live.spans).take() {
                spans.stop();
            }
            let (inner, owned) = (self.clone(), id.clone());
            let put_back = tokio::task::spawn_blocking(move || inner.database.put_back(&owned));
            if let Err(error) = put_back.await.expect("work on the state does not panic") {
                tracing::warn!(proof_id = %id, %error, "cannot return a proof to the queue; the next start counts this as a crash");
            }
            return;
        };
        self.metrics.on_ended(mode, ending.state().name(), began.elapsed());
        self.clone().finish(&id, ending, &live, began).await;
        lock(&self.running).remove(&id);
        lock(&self.numbers).remove(&id);
        self.wake.notify_one();
    }

    async fn prove(self: Arc<Self>, job: Job, live: Arc<Live>) -> Result<Proven, ProofFailure> {
        let host = |error: BlobError| {
            let hint = match &error {
                BlobError::Damaged { .. } => {
                    "\nhint: upload the program and the input again (`POST /v1/programs`, `POST /v1/inputs`), then submit a new proof request"
                }
                _ => "",
            };
            ProofFailure::Host(format!("{error}{hint}"))
        };
        let (inner, program, input) = (self.clone(), job.proof.program, job.proof.input);
        let read = move || Ok((inner.blobs.read(&program)?, inner.blobs.read(&input)?));
        let read = tokio::task::spawn_blocking(read).await.expect("work on the state does not panic");
        let (elf, stdin) = read.map_err(host)?;
        let timeout = match job.proof.deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.0.saturating_sub(Moment::now().0);
                let allowed = Duration::from_millis(
                    u64::try_from(deadline.0.saturating_sub(job.proof.created.0)).unwrap_or_default(),
                );
                match u64::try_from(left) {
                    Ok(left) if left > 0 => Some(Duration::from_millis(left)),
                    _ => return Err(ProofFailure::Timeout(allowed)),
                }
            }
        };
        let request = ProofRequest {
            elf: elf.into(),
            stdin: stdin.into(),
            mode: job.proof.mode.proof_mode(),
            cycle_limit: job.proof.cycle_limit,
            expected_exit: ExpectedExit::Success,
            check_input_proofs: true,
            nonce: job.proof.nonce,
            options: job.options,
            timeout,
            label: job.proof.id.clone(),
        };
        let (progress, news) = broadcast::channel(EVENTS_OF_PROOF);
        let following = tokio::spawn(self.clone().follow(job.proof.id, live.clone(), news));
        let proven = self.orchestrator.prove(request, self.controller.clone(), progress, live.cancel.clone()).await;
        // `follow` ends after the last event, because the sender `progress` is dropped.
        let _ = following.await;
        proven
    }

    /// Records the progress of a proof: its events, task counts and metrics.
    async fn follow(
        self: Arc<Self>,
        id: String,
        live: Arc<Live>,
        mut news: broadcast::Receiver<orchestrator::Progress>,
    ) {
        let mut attempts = Attempts::default();
        loop {
            let progress = match news.recv().await {
                Ok(progress) => progress,
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(proof_id = %id, missed, "events of a proof dropped: they arrived faster than they were stored");
                    continue;
                }
            };
            if let orchestrator::Progress::Cut { options, .. } = &progress {
                self.clone().keep_options(id.clone(), options.clone()).await;
            }
            let Some(event) = ProofEvent::of(progress) else { continue };
            attempts.on_event(&self.metrics, &event, Moment::now().0);
            {
                let mut tasks = lock(&live.tasks);
                match &event {
                    ProofEvent::Submitted { .. } => tasks.known += 1,
                    ProofEvent::Done(_) => tasks.done += 1,
                    ProofEvent::Remembered { .. } => {
                        (tasks.done, tasks.remembered) = (tasks.done + 1, tasks.remembered + 1)
                    }
                    ProofEvent::Restarted { .. } => *tasks = Tasks::default(),
                    _ => {}
                }
            }
            self.tell(&id, event).await;
        }
    }

    /// Stores the options by which the run is cut into shards. The next start must cut the run in the same way, because
    /// cached results of different shards are useless.
    async fn keep_options(self: Arc<Self>, id: String, options: String) {
        let owned = id.clone();
        let kept = tokio::task::spawn_blocking(move || self.database.set_options(&owned, &options));
        if let Err(error) = kept.await.expect("work on the state does not panic") {
            tracing::warn!(proof_id = %id, %error, "cannot store how the run is cut into shards; the next start may cut it differently");
        }
    }

    /// Stores a finished proof on disk, and waits while the disk is full. `None` if the service stops first.
    async fn keep(self: Arc<Self>, id: &str, proven: Proven) -> Option<Ending> {
        let Proven { output, shards, workers } = proven;
        let proof = bytes::Bytes::from(output.proof);
        loop {
            let (inner, content) = (self.clone(), proof.clone());
            let kept = tokio::task::spawn_blocking(move || inner.blobs.put(&content));
            match kept.await.expect("work on the state does not panic") {
                Ok(result) => {
                    return Some(Ending::Done {
                        cycles: output.cycles,
                        shards,
                        result,
                        result_bytes: proof.len() as u64,
                        workers: workers.into_iter().map(Into::into).collect(),
                    });
                }
                Err(error @ BlobError::Full { .. }) => {
                    tracing::warn!(proof_id = id, %error, "a finished proof waits for disk space");
                }
                Err(error) => {
                    let text = format!("cannot store the finished proof: {error}");
                    return Some(Ending::Failed(FailureInfo { kind: "host".to_owned(), text }));
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(5 * LOOKS) => {}
            }
        }
    }

    /// Stores in the database how a proof ended. Retries until this succeeds or the service stops, because a proof
    /// without a stored end is proven again.
    async fn finish(self: Arc<Self>, id: &str, ending: Ending, live: &Live, began: Instant) {
        let (state, tasks) = (ending.state(), *lock(&live.tasks));
        let failure = match &ending {
            Ending::Failed(failure) => Some(failure.clone()),
            Ending::Done { .. } | Ending::Cancelled => None,
        };
        loop {
            let (inner, owned, ending) = (self.clone(), id.to_owned(), ending.clone());
            let ended = tokio::task::spawn_blocking(move || inner.database.end(&owned, &ending, tasks, Moment::now()));
            match ended.await.expect("work on the state does not panic") {
                Ok(_) => break,
                Err(error) => tracing::error!(proof_id = %id, %error, "cannot store how a proof ended; retrying"),
            }
            tokio::select! {
                // The next start proves it again, with the results in the result cache.
                () = self.stop.cancelled() => return,
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
        let seconds = began.elapsed().as_secs_f32();
        match &failure {
            None => tracing::info!(proof_id = %id, state = state.name(), seconds, "proof ended"),
            Some(failure) => {
                let failure = hint::split(&failure.text).0;
                tracing::warn!(proof_id = %id, state = state.name(), seconds, %failure, "proof ended")
            }
        }
        self.tell(id, ProofEvent::Finished { state, failure }).await;
    }
}
