//! Starts a service from its state folder.

use super::{
    followers::Followers,
    queries::MAX_COUNTS_AGE,
    service::{Service, ServiceInner},
    settings::ServiceSettings,
    shared_read::SharedRead,
    start_error::StartError,
    start_record::{StartInputs, StartRecord},
    upload_places::Uploads,
};
use crate::{
    archive::{Archiver, ArchiverInputs, RESTORING, remove_unarchived_copies},
    state::{
        AuditLog, Blobs, CacheStart, Database, DiskResultCache, DiskSpace, MAX_AUDIT_BYTES, ServiceClock, StateError,
        StateFolder,
    },
    telemetry::Metrics,
};
use sp1d_orchestrator::{LocalConnector, Orchestrator, ServiceRunner};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// Events of all proofs that may wait for the database writer. When there are more, the tasks that report them wait.
const EVENTS_UNDER_WAY: usize = 1 << 16;

/// What a start has opened.
struct OpenedState {
    folder: StateFolder,
    blobs: Blobs,
    database: Database,
    result_cache: Arc<DiskResultCache>,
    space: Arc<DiskSpace>,
    clock: Arc<ServiceClock>,
    plan: CacheStart,
    record: StartRecord,
}

impl Service {
    /// Opens the state folder, queues interrupted proofs again, and starts to run proofs. The sessions with workers run
    /// on the tokio runtime that polls this future.
    ///
    /// If the disk is full, or if another program has locked the database, the service starts nevertheless and serves
    /// reads. It runs proofs and accepts requests as soon as it can write.
    ///
    /// # Errors
    /// If another process uses the state folder, if it is not writable, or if its database is missing, damaged, of a
    /// newer release, or of another program. If the archive belongs to another state folder or is newer than this one.
    pub async fn start(
        mut settings: ServiceSettings,
        runner: Arc<dyn ServiceRunner>,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, StartError> {
        let (path, max_result_cache_bytes, min_free_bytes) =
            (settings.state.clone(), settings.max_result_cache_bytes, settings.min_free_bytes);
        let open = move || {
            let folder = StateFolder::take(&path)?;
            // Also without an archive: a copy has the size of the database.
            remove_unarchived_copies(folder.path());
            let is_new = Blobs::is_unused(&folder.join("blobs")) && !folder.join(RESTORING).exists();
            let database = Database::open(&folder.join("service.db"), is_new)?;
            let clock = Arc::new(ServiceClock::start(database.clock()?));
            if let Some(step) = clock.unconfirmed() {
                tracing::warn!(%step, "the system clock is implausible");
            }
            let space = DiskSpace::new(path, min_free_bytes);
            let blobs = Blobs::open(folder.join("blobs"), clock.clone(), space.clone())?;
            let unusable = |reason| StateError::Unusable { path: folder.path().to_owned(), reason };
            // On disk, the result cache still has its older name.
            let result_cache = DiskResultCache::open(folder.join("memo"), max_result_cache_bytes, space.clone());
            let result_cache = result_cache.map_err(&unusable)?;
            let plan = result_cache.plan_start(database.next_start()?).map_err(&unusable)?;
            let inputs = StartInputs {
                folder: folder.path(),
                database: &database,
                result_cache: &result_cache,
                space: &space,
                clock: &clock,
            };
            let record = StartRecord::try_now(plan, &inputs)?;
            Ok::<_, StartError>(OpenedState { folder, blobs, database, result_cache, space, clock, plan, record })
        };
        let opened = tokio::task::spawn_blocking(open).await.expect("opening the state folder does not panic");
        let OpenedState { folder, blobs, database, result_cache, space, clock, plan, record } = opened?;
        let archiver = match settings.archive.clone() {
            Some(place) => {
                let (state, database) = (folder.path().to_owned(), folder.join("service.db"));
                let inputs = ArchiverInputs { place, state, database, blobs: blobs.clone(), clock: clock.clone() };
                Some(Archiver::start(inputs, |name| std::env::var(name).ok()).await?)
            }
            None => None,
        };
        // Artifact names contain attempt numbers, and the result cache restores artifacts of earlier starts. So that no
        // name occurs twice, each start uses its own range of 2^32 attempt numbers.
        settings.orchestrator.last_attempt_before_restart = (plan.start - 1) << 32;
        settings.orchestrator.lineage = Some(plan.lineage);
        let orchestrator = Orchestrator::start(settings.orchestrator.clone(), local, Some(result_cache.clone()));
        let (events, to_write) = mpsc::channel(EVENTS_UNDER_WAY);
        let inner = Arc::new(ServiceInner {
            settings,
            database,
            blobs,
            result_cache,
            space,
            clock,
            audit: AuditLog::new(folder.path(), MAX_AUDIT_BYTES),
            start: record,
            runner,
            orchestrator,
            running: Mutex::default(),
            wake: Notify::new(),
            events,
            flush: Notify::new(),
            followers: Followers::default(),
            counts: SharedRead::new(MAX_COUNTS_AGE),
            numbers: Mutex::default(),
            list: Mutex::default(),
            metrics: Metrics::new(archiver.is_some()),
            housekeeping: Mutex::default(),
            uploads: Uploads::new(),
            explanations: Semaphore::new(1),
            tasks: BackgroundTasks::new(),
            writer: BackgroundTasks::new(),
            stop: CancellationToken::new(),
            dead: Arc::default(),
            archive: archiver.as_ref().map(|archiver| archiver.status().clone()),
            archive_wake: Arc::default(),
            archiver: BackgroundTasks::new(),
            stop_archive: CancellationToken::new(),
            folder: Mutex::new(Some(folder)),
        });
        inner.writer.spawn(inner.clone().write_events(to_write));
        inner.tasks.spawn(inner.clone().run_queue());
        inner.tasks.spawn(inner.clone().collect_garbage());
        if let Some(archiver) = archiver {
            let (task, ended, stop) =
                (inner.watch_background_task("the archiver"), inner.archive_wake.clone(), inner.stop_archive.clone());
            inner.archiver.spawn(async move {
                let _task = task;
                archiver.run(ended, stop).await;
            });
        }
        Ok(Self { inner })
    }
}
