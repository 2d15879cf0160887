//! Starts a service from its state folder.

use super::{
    request::UPLOADS,
    service::{Service, ServiceInner},
    settings::ServiceSettings,
};
use crate::{
    state::{BlobError, Blobs, Database, DatabaseError, DiskResultCache, StateError, StateFolder},
    telemetry::Metrics,
};
use sp1d_model::Moment;
use sp1d_orchestrator::{LocalConnector, Orchestrator, ServiceRunner};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Events of all proofs that may wait for the database writer. When there are more, the tasks that report them wait.
const EVENTS_UNDER_WAY: usize = 1 << 16;

/// A proof fails when the service crashed this many times while the proof was running. The proof itself may be the
/// cause, for example by using all memory.
const MAX_CRASHES: u32 = 5;

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state folder is in use or not writable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database cannot be opened or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The folder of programs, inputs and finished proofs cannot be opened.
    #[error(
        "cannot open the state folder: {0}\nhint: check the permissions and the free space of the folder, or choose another one with `--state`"
    )]
    Blobs(#[from] BlobError),
}

impl Service {
    /// Opens the state folder, queues interrupted proofs again, and starts to run proofs. The sessions with workers run
    /// on the tokio runtime that polls this future.
    ///
    /// # Errors
    /// If another process uses the state folder, if it is not writable, or if its database is missing, damaged, of a
    /// newer release, or of another program.
    pub async fn start(
        mut settings: ServiceSettings,
        runner: Arc<dyn ServiceRunner>,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, StartError> {
        let (path, result_cache_bytes, free_bytes) =
            (settings.state.clone(), settings.result_cache_bytes, settings.free_bytes);
        let open = move || {
            let folder = StateFolder::take(&path)?;
            let blobs = Blobs::open(folder.join("blobs"))?;
            let database = Database::open(&folder.join("service.db"), blobs.is_empty())?;
            let result_cache = DiskResultCache::open(folder.join("memo"), result_cache_bytes, free_bytes);
            let unusable = |reason| StateError::Unusable { path: folder.path().to_owned(), reason };
            let result_cache = result_cache.map_err(&unusable)?;
            let start = database.count_start()?;
            let lineage = result_cache.record_start(start).map_err(unusable)?;
            let requeued = database.requeue_running(MAX_CRASHES, Moment::now())?;
            Ok::<_, StartError>((folder, blobs, database, result_cache, start, lineage, requeued))
        };
        let opened = tokio::task::spawn_blocking(open).await.expect("opening the state folder does not panic");
        let (folder, blobs, database, result_cache, start, lineage, requeued) = opened?;
        tracing::info!(state = %folder.path().display(), start, requeued, "state folder opened");
        // Artifact names contain attempt numbers, and the result cache restores artifacts of earlier starts. So that no
        // name occurs twice, each start uses its own range of 2^32 attempt numbers.
        settings.orchestrator.attempts_before = (start - 1) << 32;
        settings.orchestrator.lineage = Some(lineage);
        let result_cache = Arc::new(result_cache);
        let orchestrator = Orchestrator::start(settings.orchestrator.clone(), local, Some(result_cache.clone()));
        let (events, to_write) = mpsc::channel(EVENTS_UNDER_WAY);
        let inner = Arc::new(ServiceInner {
            settings,
            database,
            blobs,
            result_cache,
            runner,
            orchestrator,
            running: Mutex::default(),
            wake: Notify::new(),
            events,
            flush: Notify::new(),
            written: watch::Sender::new(0),
            numbers: Mutex::default(),
            list: Mutex::default(),
            metrics: Metrics::new(),
            housekeeping: Mutex::default(),
            uploads: Semaphore::new(UPLOADS),
            explanations: Semaphore::new(1),
            tasks: TaskTracker::new(),
            writer: TaskTracker::new(),
            stop: CancellationToken::new(),
            folder: Mutex::new(Some(folder)),
        });
        inner.writer.spawn(inner.clone().write_events(to_write));
        inner.tasks.spawn(inner.clone().run_queue());
        inner.tasks.spawn(inner.clone().collect_garbage());
        Ok(Self { inner })
    }
}
