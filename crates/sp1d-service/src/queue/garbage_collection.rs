//! Garbage collection: removes expired proofs and unused files.

use super::{
    service::{ServiceInner, lock},
    upload_places::MIN_UNUSED_AGE,
};
use crate::state::DatabaseError;
use sp1d_model::Moment;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, sleep, sleep_until};

/// Interval between two collections.
const COLLECTION_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Minimum interval between two collections when requests are refused because the disk is nearly full.
const MIN_INTERVAL: Duration = Duration::from_secs(30);

/// [`MIN_UNUSED_AGE`] when the disk is nearly full.
const MIN_UNUSED_AGE_WHEN_SHORT: Duration = Duration::from_secs(5 * 60);

/// The service's clock does not follow the system's clock. A larger difference than this is reported.
const MAX_DRIFT: Duration = Duration::from_secs(60);

/// Returns true if a blob that nothing needs, and that was stored at `stored`, is old enough at `now` to be removed.
fn is_old(stored: SystemTime, now: SystemTime, is_disk_short: bool) -> bool {
    let min_age = if is_disk_short { MIN_UNUSED_AGE_WHEN_SHORT } else { MIN_UNUSED_AGE };
    now.duration_since(stored).is_ok_and(|age| age > min_age)
}

impl ServiceInner {
    /// Collects garbage at once, after every interval, and when a request is refused because the disk is nearly full,
    /// until the service stops.
    pub(super) async fn collect_garbage(self: Arc<Self>) {
        let _task = self.watch_background_task("garbage collection");
        let mut is_drift_reported = false;
        loop {
            let start = Instant::now();
            let inner = self.clone();
            let collected = tokio::task::spawn_blocking(move || inner.collect_once());
            if let Err(error) = collected.await.expect("work on the state does not panic") {
                tracing::warn!(%error, "garbage collection failed");
            }
            let drift = self.clock.drift();
            if drift > MAX_DRIFT && !is_drift_reported {
                is_drift_reported = true;
                let seconds = drift.as_secs();
                tracing::warn!(
                    seconds,
                    "the system clock was changed; the service continues with its own time until it starts again"
                );
            }
            let short = async {
                self.space.refused().await;
                sleep_until(start + MIN_INTERVAL).await;
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(COLLECTION_INTERVAL) => {}
                () = short => {}
            }
        }
    }

    fn collect_once(&self) -> Result<(), DatabaseError> {
        let now = self.clock.proof_times().cautious;
        let undisturbed = lock(&self.housekeeping);
        let removed = match self.database.remove_ended(now, self.settings.keep) {
            // Removing files makes room for the database.
            Err(DatabaseError::Full) => 0,
            removed => removed?,
        };
        let files = self.remove_unused_files(now)?;
        if let Err(error) = self.remove_files(None).and(self.remove_cached_results(None)) {
            tracing::warn!(%error, "cannot remove all data of deleted proofs; retrying");
        }
        let oldest = i64::try_from(MIN_UNUSED_AGE.as_millis()).unwrap_or(i64::MAX);
        match self.database.forget_inputs(Moment(now.0.saturating_sub(oldest))) {
            Err(DatabaseError::Full) => {}
            forgotten => forgotten?,
        }
        drop(undisturbed);
        self.database.record_clock(&self.clock.record())?;
        self.database.shrink()?;
        if removed > 0 || files > 0 {
            tracing::info!(proofs = removed, files, "expired proofs and unused files removed");
        }
        Ok(())
    }

    /// Removes the old files that nothing needs at `now`, and returns their number. The caller holds `housekeeping`.
    fn remove_unused_files(&self, now: Moment) -> Result<usize, DatabaseError> {
        // Read before the database: a proof that ends between the two reads is found by the second one.
        let finished: Vec<String> =
            lock(&self.running).values().filter_map(|running| lock(&running.result).clone()).collect();
        let mut needed = self.database.needed_blobs()?;
        needed.extend(finished);
        let (file_time, is_short) =
            (UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0)), self.space.is_short());
        let is_old = |stored| is_old(stored, file_time, is_short);
        let unused = self.blobs.list().into_iter().filter(|(digest, _)| !needed.contains(digest));
        let old: Vec<String> = unused.filter(|(_, stored)| is_old(*stored)).map(|(digest, _)| digest).collect();
        // The time counts again: a client may be uploading the same content.
        Ok(old.iter().filter(|digest| self.blobs.remove_if(digest, is_old)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{service::Service, settings::ServiceSettings};
    use sp1d_model::{NewProof, ProgramSummary, ProofState};
    use sp1d_testing::{FakeRunner, fake_build};
    use std::fs::File;
    use tokio::time::timeout;

    /// Waits until `condition` is true.
    async fn wait_until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), waiting).await.unwrap();
    }

    #[tokio::test]
    async fn finished_proof_keeps_its_file_while_it_waits_for_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state.clone(), orchestrator, "{}".to_owned());
        settings.min_free_bytes = 0;
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let inner = &service.inner;
        let [program, input, unused] =
            [&b"program"[..], b"input", b"unused"].map(|file| inner.blobs.put(file).unwrap());
        let known = ProgramSummary { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        inner.database.add_program("default", &known).unwrap();
        // Like a full disk, this keeps the database from storing the end of the proof.
        let other = rusqlite::Connection::open(state.join("service.db")).unwrap();
        let fail = "CREATE TRIGGER fail BEFORE UPDATE OF result ON proofs BEGIN SELECT RAISE(ABORT, 'planted'); END";
        other.execute_batch(fail).unwrap();
        // A proof without shards needs no worker.
        let request = NewProof { program: Some(program), input: Some(input), ..NewProof::default() };
        let (proof, _) = service.submit(request).await.unwrap();
        let result = || lock(&inner.running).get(&proof.id).and_then(|running| lock(&running.result).clone());
        wait_until(|| result().is_some_and(|result| inner.blobs.is_intact(&result))).await;
        let result = result().unwrap();
        for digest in [&result, &unused] {
            let file = File::options().write(true).open(state.join("blobs").join(&digest[..2]).join(digest)).unwrap();
            file.set_modified(UNIX_EPOCH).unwrap();
        }
        {
            let _undisturbed = lock(&inner.housekeeping);
            inner.remove_unused_files(inner.clock.now()).unwrap();
        }
        assert!(inner.blobs.is_intact(&result) && !inner.blobs.is_intact(&unused));
        other.execute_batch("DROP TRIGGER fail").unwrap();
        let ended = async {
            while service.proof(&proof.id).await.unwrap().state != ProofState::Done {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), ended).await.unwrap();
        assert!(inner.blobs.is_intact(&result));
        service.shutdown().await;
    }

    #[test]
    fn unused_files_go_sooner_when_the_disk_is_nearly_full() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        // Age of the file in seconds, whether the disk is nearly full, and whether the file is removed.
        let cases: [(i64, bool, bool); 7] = [
            (0, true, false),
            (300, true, false),
            (301, true, true),
            (301, false, false),
            (3600, false, false),
            (3601, false, true),
            // From the future: the clock was set back.
            (-3601, true, false),
        ];
        for (age, is_short, expected) in cases {
            let stored =
                if age < 0 { now + Duration::from_secs(3601) } else { now - Duration::from_secs(age.unsigned_abs()) };
            assert_eq!(is_old(stored, now, is_short), expected, "{age} {is_short}");
        }
    }
}
