//! Stores finished proofs, and how proofs ended.

use super::service::{ActiveProof, ServiceInner, lock};
use crate::state::{BlobError, ProofOutcome};
use sp1d_model::{FailureInfo, ProofEvent, ProofFailureKind, hint};
use sp1d_orchestrator::{ProofFailure, Proven};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Pause before a finished proof that waits for disk space is stored again.
const SPACE_RETRY: Duration = Duration::from_secs(5);

/// Pause before the end of a proof is stored again in the database.
const END_RETRY: Duration = Duration::from_secs(1);

/// How long a proof may run, and when this time is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimit {
    pub(super) time: Duration,
    pub(super) end: Instant,
}

/// How the wait of a finished proof for disk space ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpaceWait {
    /// The disk may have room now.
    Retry,
    /// The service stops.
    Stopped,
    /// The proof was cancelled.
    Cancelled,
    /// The proof has used up the time that it may run.
    TimedOut(Duration),
}

/// Waits until a finished proof may be stored again, or must not wait any more.
async fn wait_for_space(stop: &CancellationToken, cancel: &CancellationToken, limit: Option<TimeLimit>) -> SpaceWait {
    let timed_out = async {
        match limit {
            Some(limit) => {
                sleep_until(limit.end).await;
                limit.time
            }
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => SpaceWait::Cancelled,
        () = stop.cancelled() => SpaceWait::Stopped,
        time = timed_out => SpaceWait::TimedOut(time),
        () = sleep(SPACE_RETRY) => SpaceWait::Retry,
    }
}

impl ServiceInner {
    /// Stores a finished proof on disk, and waits while the disk is full, until the proof is cancelled or its time is
    /// over. `None` if the service stops first.
    pub(super) async fn keep(
        self: Arc<Self>,
        id: &str,
        proven: Proven,
        running: &Arc<ActiveProof>,
        limit: Option<TimeLimit>,
    ) -> Option<ProofOutcome> {
        let Proven { output, shards, workers } = proven;
        let proof = bytes::Bytes::from(output.proof);
        let mut is_reported = false;
        loop {
            let (inner, content, active) = (self.clone(), proof.clone(), running.clone());
            let kept = tokio::task::spawn_blocking(move || {
                let digest = blake3::hash(&content).to_hex().to_string();
                {
                    // Garbage collection may be about to remove an old file with the same content.
                    let _undisturbed = lock(&inner.housekeeping);
                    *lock(&active.result) = Some(digest);
                }
                inner.blobs.put(&content)
            });
            match kept.await.expect("work on the state does not panic") {
                Ok(result) => {
                    return Some(ProofOutcome::Done {
                        cycles: output.cycles,
                        gas: output.gas,
                        shards,
                        result,
                        result_bytes: proof.len() as u64,
                        workers,
                    });
                }
                Err(error @ BlobError::Full { .. }) if !is_reported => {
                    is_reported = true;
                    tracing::warn!(proof_id = id, %error, "a finished proof waits for disk space");
                }
                Err(BlobError::Full { .. }) => {}
                Err(error) => {
                    let text = format!("cannot store the finished proof: {error}");
                    return Some(ProofOutcome::Failed(FailureInfo { kind: ProofFailureKind::Machine, text }));
                }
            }
            match wait_for_space(&self.stop, &running.cancel, limit).await {
                SpaceWait::Retry => {}
                SpaceWait::Stopped => return None,
                SpaceWait::Cancelled => return Some(ProofOutcome::Cancelled),
                SpaceWait::TimedOut(time) => {
                    return Some(ProofOutcome::Failed(FailureInfo::from(&ProofFailure::Timeout(time))));
                }
            }
        }
    }

    /// Stores in the database how a proof ended, together with its last event. Retries until this succeeds. If the
    /// service stops first, returns the proof to the queue.
    pub(super) async fn finish(
        self: Arc<Self>,
        id: &str,
        outcome: ProofOutcome,
        running: &ActiveProof,
        started: Instant,
    ) {
        let (state, tasks) = (outcome.state(), *lock(&running.tasks));
        let failure = match &outcome {
            ProofOutcome::Failed(failure) => Some(failure.clone()),
            ProofOutcome::Done { .. } | ProofOutcome::Cancelled => None,
        };
        let ended_at = self.clock.now();
        // Before the database has the last event, so that the trace is complete for a reader of this event. If the
        // database never stores the end, the next start of the service traces the proof once more.
        self.trace(id, ended_at, &ProofEvent::Finished { state, failure: failure.clone() });
        self.flush_events().await;
        let mut is_reported = false;
        loop {
            let (inner, owned, outcome) = (self.clone(), id.to_owned(), outcome.clone());
            let ended = tokio::task::spawn_blocking(move || inner.database.end(&owned, &outcome, tasks, ended_at));
            match ended.await.expect("work on the state does not panic") {
                Ok(_) => break,
                Err(error) if !is_reported => {
                    is_reported = true;
                    tracing::error!(proof_id = %id, %error, "cannot store how a proof ended; retrying");
                }
                Err(_) => {}
            }
            tokio::select! {
                // The next start proves it again, with the results in the result cache.
                () = self.stop.cancelled() => return self.put_back(id).await,
                () = sleep(END_RETRY) => {}
            }
        }
        self.followers.notify([id]);
        self.archive_wake.notify_one();
        let seconds = started.elapsed().as_secs_f32();
        match &failure {
            None => tracing::info!(proof_id = %id, state = state.name(), seconds, "proof ended"),
            Some(failure) => {
                let failure = hint::without(&failure.text);
                tracing::warn!(proof_id = %id, state = state.name(), seconds, %failure, "proof ended")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{service::Service, settings::ServiceSettings};
    use sp1d_model::{Moment, NewProof, ProgramSummary, ProofState};
    use sp1d_testing::{FakeRunner, RecordedLogs, fake_build};
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn proof_that_waits_for_disk_space_is_cancelled_or_times_out() {
        let time = Duration::from_secs(100);
        let timed_out = SpaceWait::TimedOut(time);
        // Whether the proof is cancelled, whether the service stops, seconds until the end of its time, and how the
        // wait ends.
        let cases = [
            (false, false, None, SpaceWait::Retry),
            (false, false, Some(60), SpaceWait::Retry),
            (false, false, Some(1), timed_out),
            (false, false, Some(0), timed_out),
            (true, false, None, SpaceWait::Cancelled),
            (false, true, None, SpaceWait::Stopped),
            // A stopped service would prove it again.
            (true, true, None, SpaceWait::Cancelled),
        ];
        for (is_cancelled, is_stopping, left, expected) in cases {
            let [cancel, stop] = [is_cancelled, is_stopping].map(|is_set| {
                let token = CancellationToken::new();
                if is_set {
                    token.cancel();
                }
                token
            });
            let limit = left.map(|left| TimeLimit { time, end: Instant::now() + Duration::from_secs(left) });
            let ended = wait_for_space(&stop, &cancel, limit).await;
            assert_eq!(ended, expected, "{is_cancelled} {is_stopping} {left:?}");
        }
    }

    #[tokio::test]
    async fn end_that_cannot_be_stored_is_logged_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let logs = RecordedLogs::start();
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state.clone(), orchestrator, "{}".to_owned());
        settings.min_free_bytes = 0;
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let inner = &service.inner;
        let program = inner.blobs.put(b"program").unwrap();
        let input = Some(inner.blobs.put(b"input").unwrap());
        let known = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        inner.database.add_program("default", &known).unwrap();
        // Like a full disk, this keeps the database from storing the end of the proof.
        let other = rusqlite::Connection::open(state.join("service.db")).unwrap();
        let fail = "CREATE TRIGGER fail BEFORE UPDATE OF result ON proofs BEGIN SELECT RAISE(ABORT, 'planted'); END";
        other.execute_batch(fail).unwrap();
        // A proof without shards needs no worker.
        let request = NewProof { program: Some(program), input, ..NewProof::default() };
        let (proof, _) = service.submit(request).await.unwrap();
        let reports = || logs.lines_with("cannot store how a proof ended").len();
        let reported = async {
            while reports() == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), reported).await.unwrap();
        sleep(2 * END_RETRY).await;
        assert_eq!(reports(), 1);
        other.execute_batch("DROP TRIGGER fail").unwrap();
        let ended = async {
            while service.proof(&proof.id).await.unwrap().state != ProofState::Done {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), ended).await.unwrap();
        service.shutdown().await;
    }
}
