//! Archives the state of a running service.

use super::{
    copy_name::{CopyName, DATABASES},
    error::ArchiveError,
    limits::MAX_MANIFEST_BYTES,
    manifest::{ArchiveManifest, ClaimRefusal, MANIFEST, claim, is_own},
    place::ArchivePlace,
    prepared_copy::PreparedCopy,
    record::{ArchiveRecord, random_id},
    retention::{UnusedBlobs, superseded},
    revision::Revision,
    schedule::CopySchedule,
    status::ArchiveStatus,
    store::ArchiveStore,
};
use crate::state::{BlobError, Blobs, DatabaseCopier, OpenBlob, ServiceClock, is_digest};
use sp1d_model::hint;
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Folder of the blobs in the archive.
pub(super) const BLOBS: &str = "blobs";

/// Interval at which the archiver looks for changes of the database.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a start waits for the archive. Without a response, the service starts and tries again later.
const MAX_START: Duration = Duration::from_secs(10);

/// Time for the last copy when the service shuts down.
const MAX_LAST_COPY: Duration = Duration::from_secs(10);

/// Interval at which the archiver lists the archive: it removes blobs that are no longer needed, and notices what is
/// missing.
const SURVEY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// An `ETag` that no manifest has.
const UNUSED_TAG: &str = "\"00000000000000000000000000000000\"";

/// Returns the name of a blob in the archive.
pub(super) fn blob_name(digest: &str) -> String {
    format!("{BLOBS}/{}/{digest}", &digest[..2])
}

/// What the archiver reads.
pub(crate) struct ArchiverInputs {
    pub(crate) place: ArchivePlace,
    /// The state folder.
    pub(crate) state: PathBuf,
    /// The database in the state folder.
    pub(crate) database: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Arc<ServiceClock>,
}

/// The archive, claimed by this process.
struct ClaimedArchive {
    record: ArchiveRecord,
    /// Revision of the manifest.
    revision: Revision,
}

/// What the archive contained when it was last listed.
struct ArchiveSurvey {
    /// Digests of the blobs, with those that were added since.
    blobs: HashSet<String>,
    /// The copies of the database, with those that were added since.
    copies: Vec<CopyName>,
    /// Whether old files can be removed, as far as is known.
    can_remove: bool,
    /// When to list again, since the start of the service.
    next: Duration,
}

/// Archives the state until the service stops, or until another process has claimed the archive.
pub(crate) struct Archiver {
    inputs: ArchiverInputs,
    store: ArchiveStore,
    copier: Arc<Mutex<DatabaseCopier>>,
    status: Arc<ArchiveStatus>,
    /// Random id of this process.
    writer: String,
    claimed: Option<ClaimedArchive>,
    survey: Option<ArchiveSurvey>,
    /// `None` until they are read from the state folder.
    unused: Option<UnusedBlobs>,
    schedule: CopySchedule,
    /// Version of the database in the last copy.
    copied: Option<i64>,
    is_failing: bool,
}

fn local(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |reason| ArchiveError::Local { path, reason }
}

/// Runs `work` on a thread where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("work on the archive does not panic")
}

impl Archiver {
    /// Opens and claims the archive. If it does not respond, the archiver tries again later.
    ///
    /// # Errors
    /// If the settings are not valid, or if this state folder may not archive to the place.
    pub(crate) async fn start(
        inputs: ArchiverInputs,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ArchiveError> {
        let mut archiver = Self::open(inputs, variable)?;
        match timeout(MAX_START, archiver.claim()).await {
            Ok(Err(error)) if error.is_final() => return Err(error),
            Ok(Err(error)) => archiver.on_failure(&error),
            Ok(Ok(())) => {}
            Err(_) => {
                let (place, reason) = (archiver.inputs.place.clone(), "it did not respond in time".to_owned());
                archiver.on_failure(&ArchiveError::Unavailable { place, reason });
            }
        }
        Ok(archiver)
    }

    /// Opens the archive. Sends no request yet.
    fn open(inputs: ArchiverInputs, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ArchiveError> {
        Ok(Self {
            store: ArchiveStore::open(&inputs.place, variable)?,
            copier: Arc::new(Mutex::new(DatabaseCopier::new(inputs.database.clone()))),
            status: Arc::new(ArchiveStatus::new(inputs.place.clone())),
            writer: random_id().map_err(local(&inputs.state))?,
            claimed: None,
            survey: None,
            unused: None,
            schedule: CopySchedule::default(),
            copied: None,
            is_failing: false,
            inputs,
        })
    }

    pub(crate) const fn status(&self) -> &Arc<ArchiveStatus> {
        &self.status
    }

    /// Archives until `stop` is cancelled, and then once more if something has changed. `ended` is notified when a
    /// proof has ended.
    pub(crate) async fn run(mut self, ended: Arc<Notify>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = ended.notified() => self.schedule.on_urgent(),
                () = sleep(LOOK_INTERVAL) => {}
            }
            // A copy that is interrupted here is made again below, or at the next start.
            let may_continue = tokio::select! {
                () = stop.cancelled() => break,
                may_continue = self.step() => may_continue,
            };
            if !may_continue {
                return;
            }
        }
        let last_copy = async {
            if self.has_changed().await {
                self.copy().await?;
            }
            Ok::<_, ArchiveError>(())
        };
        if !matches!(timeout(MAX_LAST_COPY, last_copy).await, Ok(Ok(()))) {
            tracing::warn!("the archive lacks the last changes; the next start archives them");
        }
    }

    /// Copies if a copy is due. Returns false if the archiver must end.
    async fn step(&mut self) -> bool {
        let start = self.status.now();
        let has_changed = self.has_changed().await;
        if !has_changed {
            self.status.on_complete(start);
        }
        if !self.schedule.is_due(start, has_changed) {
            return true;
        }
        self.schedule.on_start();
        match self.copy().await {
            Ok(missing) => {
                self.schedule.on_success(start);
                self.status.on_complete(start);
                self.status.on_copied(missing);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(place = %self.inputs.place, "the archive is complete again");
                }
                true
            }
            Err(error) => {
                self.on_failure(&error);
                !error.is_final()
            }
        }
    }

    fn on_failure(&mut self, error: &ArchiveError) {
        let (place, text) = (&self.inputs.place, error.to_string());
        let shown = hint::one_line(&text);
        if error.is_final() {
            tracing::error!(%place, error = shown, "the service does not archive any more");
        } else if !self.is_failing {
            tracing::warn!(%place, error = shown, "cannot archive the state; retrying");
        }
        self.is_failing = true;
        self.schedule.on_failure(self.status.now());
        self.status.on_failure(text, error.is_final());
    }

    /// Returns true if the database has changed since the last copy, or if that is unknown.
    async fn has_changed(&mut self) -> bool {
        let copier = self.copier.clone();
        let version = blocking(move || copier.lock().unwrap_or_else(PoisonError::into_inner).version()).await;
        version.map_or(true, |version| self.copied != Some(version))
    }

    async fn manifest(&self) -> Result<Option<(ArchiveManifest, Revision)>, ArchiveError> {
        let Some((content, revision)) = self.store.read(MANIFEST, MAX_MANIFEST_BYTES).await? else { return Ok(None) };
        let damaged = |reason| ArchiveError::Damaged { name: MANIFEST.to_owned(), reason };
        Ok(Some((ArchiveManifest::decode(&content).map_err(damaged)?, revision)))
    }

    /// Claims the archive for this process.
    async fn claim(&mut self) -> Result<(), ArchiveError> {
        let state = self.inputs.state.clone();
        let record = blocking(move || ArchiveRecord::load(&state)).await;
        let mut record = record.map_err(local(&self.inputs.state))?;
        let (found, revision) = match self.manifest().await? {
            Some((found, revision)) => (Some(found), revision),
            None => (None, Revision::Absent),
        };
        let place = || self.inputs.place.clone();
        record.position = claim(found.as_ref(), &record.owner, record.position).map_err(|refusal| match refusal {
            ClaimRefusal::Foreign => ArchiveError::Foreign { place: place() },
            ClaimRefusal::Newer => {
                let at = found.as_ref().map_or(self.inputs.clock.now(), |found| found.at);
                ArchiveError::Newer { place: place(), at }
            }
        })?;
        self.store_record(&record).await?;
        let mut manifest =
            ArchiveManifest::new(record.owner.clone(), self.writer.clone(), record.position, self.inputs.clock.now());
        manifest.database = found.and_then(|found| found.database);
        let revision = self.replace_manifest(&manifest, &revision).await?;
        // A store that ignores a condition accepts one of these writes.
        let unused = Revision::Tag(UNUSED_TAG.to_owned());
        for (condition, header) in [(Revision::Absent, "If-None-Match"), (unused, "If-Match")] {
            match self.store.replace(MANIFEST, manifest.encode(), &condition).await {
                Err(ArchiveError::Replaced) => {}
                Ok(_) => return Err(ArchiveError::Unconditional { place: place(), header }),
                Err(error) => return Err(error),
            }
        }
        tracing::info!(place = %self.inputs.place, generation = record.position.generation, "archive claimed");
        self.claimed = Some(ClaimedArchive { record, revision });
        Ok(())
    }

    async fn store_record(&self, record: &ArchiveRecord) -> Result<(), ArchiveError> {
        let (record, state) = (record.clone(), self.inputs.state.clone());
        blocking(move || record.store(&state)).await.map_err(local(&self.inputs.state))
    }

    /// Copies the state to the archive. Returns the number of files that could not be archived, because they are
    /// missing or damaged.
    async fn copy(&mut self) -> Result<usize, ArchiveError> {
        if self.claimed.is_none() {
            self.claim().await?;
        }
        let is_listed_now = self.survey().await?;
        let (copier, state) = (self.copier.clone(), self.inputs.state.clone());
        let prepare = move || PreparedCopy::make(&mut copier.lock().unwrap_or_else(PoisonError::into_inner), &state);
        let prepared = blocking(prepare).await?;
        let missing = self.put_blobs(&prepared.needed).await?;
        let at = self.inputs.clock.now();
        let claimed = self.claimed.as_mut().expect("the archive is claimed above");
        claimed.record.position.sequence += 1;
        let (record, revision) = (claimed.record.clone(), claimed.revision.clone());
        let name = CopyName { position: record.position, at, digest: prepared.digest.clone() };
        let file = prepared.file.try_clone().map_err(local(&self.inputs.state))?;
        self.store.put(&name.to_string(), file, prepared.bytes).await?;
        self.survey.as_mut().expect("the archive was listed").copies.push(name.clone());
        self.store_record(&record).await?;
        let mut manifest = ArchiveManifest::new(record.owner, self.writer.clone(), record.position, at);
        manifest.database = Some(name.to_string());
        let revision = self.replace_manifest(&manifest, &revision).await?;
        self.claimed.as_mut().expect("the archive is claimed above").revision = revision;
        self.copied = Some(prepared.version);
        tracing::debug!(copy = %name, bytes = prepared.bytes, "state archived");
        self.collect_garbage(is_listed_now.then_some(&prepared.needed)).await;
        Ok(missing)
    }

    /// Replaces the manifest of this `revision`, and returns the new revision. Also replaces a manifest of another
    /// revision that this process wrote: the response to that write was lost, or the write took effect late.
    async fn replace_manifest(
        &self,
        manifest: &ArchiveManifest,
        revision: &Revision,
    ) -> Result<Revision, ArchiveError> {
        let replaced = self.store.replace(MANIFEST, manifest.encode(), revision).await;
        if matches!(replaced, Err(ArchiveError::Replaced))
            && let Some((found, revision)) = self.manifest().await?
            && is_own(Some(&found), &self.writer)
        {
            return self.store.replace(MANIFEST, manifest.encode(), &revision).await;
        }
        replaced
    }

    /// Archives those of the `needed` blobs that are not in the archive yet, one after the other. Returns the number of
    /// blobs that are missing or damaged.
    async fn put_blobs(&mut self, needed: &HashSet<String>) -> Result<usize, ArchiveError> {
        let mut missing = 0;
        let survey = self.survey.as_mut().expect("the archive was listed");
        // Nothing but digests may become part of a name.
        for digest in needed.iter().filter(|digest| is_digest(digest)) {
            if survey.blobs.contains(digest) {
                continue;
            }
            let (blobs, wanted) = (self.inputs.blobs.clone(), digest.clone());
            match blocking(move || blobs.open_blob(&wanted)).await {
                Ok(OpenBlob { file, bytes }) => self.store.put(&blob_name(digest), file, bytes).await?,
                // Garbage collection removes blobs too, after their proofs. The next copy needs them no more.
                Err(BlobError::Damaged { .. }) => {
                    missing += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            survey.blobs.insert(digest.clone());
        }
        Ok(missing)
    }

    /// Lists the archive if that is due. Returns true if it did.
    async fn survey(&mut self) -> Result<bool, ArchiveError> {
        let now = self.status.now();
        if self.survey.as_ref().is_some_and(|survey| now < survey.next) {
            return Ok(false);
        }
        let digest_of = |name: &String| {
            let digest = name.rsplit('/').next().filter(|digest| is_digest(digest))?;
            (blob_name(digest) == *name).then(|| digest.to_owned())
        };
        let blobs: HashSet<String> = self.store.list(BLOBS).await?.iter().filter_map(digest_of).collect();
        let names = self.store.list(DATABASES).await?;
        let copies: Vec<CopyName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        for folder in [BLOBS, DATABASES] {
            if let Err(error) = self.store.remove_unfinished(folder, self.inputs.clock.file_time()).await {
                let error = hint::one_line(&error.to_string());
                tracing::warn!(error, "cannot remove unfinished files of the archive; the next try is in an hour");
            }
        }
        self.survey = Some(ArchiveSurvey { blobs, copies, can_remove: true, next: now + SURVEY_INTERVAL });
        Ok(true)
    }

    /// Returns the archived blobs to remove, when the latest copy has `needed` blobs. Stores since when the others are
    /// unused, so that their time continues after a restart. A failure only keeps them longer.
    async fn find_unused(&mut self, needed: &HashSet<String>) -> Vec<String> {
        let state = self.inputs.state.clone();
        let on_failure = |error: io::Error| {
            tracing::warn!(state = %state.display(), %error, "cannot read or store since when files of the archive are unused; they may stay longer after a restart");
        };
        let mut unused = match self.unused.take() {
            Some(unused) => unused,
            None => {
                let state = state.clone();
                let loaded = blocking(move || UnusedBlobs::load(&state)).await;
                loaded.map_err(on_failure).unwrap_or_default()
            }
        };
        let known = unused.clone();
        let survey = self.survey.as_ref().expect("the archive was listed");
        let removed = unused.collect(survey.blobs.iter(), needed, &self.inputs.clock.proof_times());
        if unused != known {
            let (stored, state) = (unused.clone(), state.clone());
            if let Err(error) = blocking(move || stored.store(&state)).await {
                on_failure(error);
            }
        }
        self.unused = Some(unused);
        removed
    }

    /// Removes the copies of the database that are no longer needed. If `needed` blobs are given, also removes the
    /// others that have not been needed for long. A failure only leaves files.
    async fn collect_garbage(&mut self, needed: Option<&HashSet<String>>) {
        if !self.survey.as_ref().expect("the archive was listed").can_remove {
            return;
        }
        let unused = match needed {
            Some(needed) => self.find_unused(needed).await,
            None => Vec::new(),
        };
        let survey = self.survey.as_mut().expect("the archive was listed");
        for digest in &unused {
            // Before the removal: if its response is lost, the blob is stored again when it is needed again.
            survey.blobs.remove(digest);
        }
        let old = superseded(&survey.copies, self.inputs.clock.proof_times().cautious);
        survey.copies.retain(|copy| !old.contains(copy));
        let names: Vec<String> =
            old.iter().map(ToString::to_string).chain(unused.iter().map(|digest| blob_name(digest))).collect();
        for name in &names {
            if let Err(error) = self.store.remove(name).await {
                let error = hint::one_line(&error.to_string());
                tracing::warn!(name, error, "cannot remove old files of the archive; the next try is within an hour");
                survey.can_remove = false;
                return;
            }
        }
        if !names.is_empty() {
            tracing::info!(files = names.len(), "old files of the archive removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::{
            fake_bucket::{BucketFault, FakeBucket},
            position::ArchivePosition,
        },
        state::{ClockRecord, Database, DiskSpace, create_private_folder},
    };
    use sp1d_model::Moment;
    use std::{fs, sync::mpsc, thread};
    use tokio::{task::yield_now, time::advance};

    const HOUR_MS: i64 = 60 * 60 * 1000;

    /// Returns what an archiver reads, in a new state folder in `folder`.
    fn inputs(folder: &Path, place: ArchivePlace, clock: ServiceClock) -> ArchiverInputs {
        let (state, clock) = (folder.join("state"), Arc::new(clock));
        create_private_folder(&state).unwrap();
        let database = state.join("service.db");
        drop(Database::open(&database, true).unwrap());
        let space = DiskSpace::new(state.clone(), 0);
        let blobs = Blobs::open(state.join("blobs"), clock.clone(), space).unwrap();
        ArchiverInputs { place, state, database, blobs, clock }
    }

    #[tokio::test]
    async fn late_claim_of_the_same_process_is_not_taken_for_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = FakeBucket::start(BucketFault::DelaysFirstWrite).await;
        let inputs = inputs(folder.path(), bucket.place(), ServiceClock::start(None));
        let mut archiver = Archiver::open(inputs, |name| bucket.variable(name)).unwrap();
        // As at a start whose time is over.
        tokio::select! {
            claimed = archiver.claim() => panic!("{claimed:?}"),
            () = bucket.delaying.notified() => {}
        }
        archiver.claim().await.unwrap();
    }

    #[tokio::test]
    async fn superseded_copies_are_removed_without_a_new_list() {
        let folder = tempfile::tempdir().unwrap();
        let place = ArchivePlace::Folder(folder.path().join("archive"));
        let inputs = inputs(folder.path(), place, ServiceClock::start(None));
        let mut archiver = Archiver::open(inputs, |_| None).unwrap();
        for _ in 0..6 {
            archiver.copy().await.unwrap();
        }
        let kept = archiver.store.list(DATABASES).await.unwrap();
        // The newest three, and one more if an hour has just ended.
        assert!((3..=4).contains(&kept.len()), "{kept:?}");
        // Only a new list would show a removed copy.
        assert_eq!(archiver.survey.unwrap().copies.len(), kept.len());
    }

    #[tokio::test]
    async fn step_of_the_clock_removes_no_copy_from_before() {
        let folder = tempfile::tempdir().unwrap();
        let month_ago = Moment(Moment::now().0 - 30 * 24 * HOUR_MS);
        let clock = ServiceClock::start(Some(ClockRecord { trusted: month_ago, unconfirmed: None }));
        let place = ArchivePlace::Folder(folder.path().join("archive"));
        let mut archiver = Archiver::open(inputs(folder.path(), place, clock), |_| None).unwrap();
        for sequence in 1..=5_u32 {
            let at = Moment(month_ago.0 + HOUR_MS * (i64::from(sequence) - 6));
            let position = ArchivePosition { generation: 0, sequence: sequence.into() };
            let name = CopyName { position, at, digest: "0a".repeat(32) };
            archiver.store.put(&name.to_string(), tempfile::tempfile().unwrap(), 0).await.unwrap();
        }
        archiver.copy().await.unwrap();
        assert_eq!(archiver.store.list(DATABASES).await.unwrap().len(), 6);
    }

    #[tokio::test]
    async fn restart_does_not_prolong_the_time_of_an_unused_blob() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, file) = (folder.path().join("archive"), folder.path().join("state/archive-unused.json"));
        let start = || {
            let place = ArchivePlace::Folder(archive.clone());
            Archiver::open(inputs(folder.path(), place, ServiceClock::start(None)), |_| None).unwrap()
        };
        let digest = "0a".repeat(32);
        let mut first = start();
        first.store.put(&blob_name(&digest), tempfile::tempfile().unwrap(), 0).await.unwrap();
        first.copy().await.unwrap();
        assert_eq!(first.store.list(BLOBS).await.unwrap(), [blob_name(&digest)]);
        assert!(fs::read_to_string(&file).unwrap().contains(&digest));
        drop(first);
        let long_ago = Moment(Moment::now().0 - 26 * HOUR_MS);
        fs::write(&file, format!("{{\"{digest}\":\"{long_ago}\"}}")).unwrap();
        let mut second = start();
        second.copy().await.unwrap();
        assert_eq!(second.store.list(BLOBS).await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn damaged_time_of_unused_blobs_does_not_end_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let place = ArchivePlace::Folder(folder.path().join("archive"));
        let inputs = inputs(folder.path(), place, ServiceClock::start(None));
        fs::write(folder.path().join("state/archive-unused.json"), "{").unwrap();
        Archiver::open(inputs, |_| None).unwrap().copy().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_does_not_wait_for_ever_for_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let place = ArchivePlace::Folder(folder.path().join("archive"));
        let inputs = inputs(folder.path(), place, ServiceClock::start(None));
        let archiver = Archiver::open(inputs, |_| None).unwrap();
        let copier = archiver.copier.clone();
        let (locked, is_locked) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            let _copier = copier.lock();
            locked.send(()).unwrap();
            let _ = released.recv();
        });
        is_locked.recv().unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let running = tokio::spawn(archiver.run(Arc::default(), stop));
        // The archiver runs up to its wait. The paused time does not pass by itself while another thread works.
        yield_now().await;
        advance(MAX_LAST_COPY * 2).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(running.is_finished());
        drop(release);
        holder.join().unwrap();
    }

    #[tokio::test]
    async fn store_that_ignores_a_condition_is_refused() {
        for ignored in ["If-None-Match", "If-Match"] {
            let folder = tempfile::tempdir().unwrap();
            let bucket = FakeBucket::start(BucketFault::Ignores(ignored)).await;
            let inputs = inputs(folder.path(), bucket.place(), ServiceClock::start(None));
            let refused = Archiver::start(inputs, |name| bucket.variable(name)).await.err().unwrap();
            assert!(matches!(refused, ArchiveError::Unconditional { header, .. } if header == ignored), "{refused}");
        }
    }
}
