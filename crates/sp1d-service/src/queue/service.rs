//! The service: its handle, and the state that all its tokio tasks share.

use super::{
    background_tasks::DeadBackgroundTasks, followers::Followers, settings::ServiceSettings, shared_read::SharedRead,
    start_record::StartRecord, upload_places::Uploads,
};
use crate::{
    archive::ArchiveStatus,
    state::{AuditLog, Blobs, Database, DiskResultCache, DiskSpace, ServiceClock, StateFolder},
    telemetry::{Metrics, Spans},
};
use sp1d_model::{EventRecord, ListStatus, TaskCounts};
use sp1d_orchestrator::{Orchestrator, ServiceRunner};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker as BackgroundTasks, task_tracker::TaskTrackerToken},
};

pub(super) use super::lock::lock;

/// State of a running proof that is not in the database.
pub(super) struct ActiveProof {
    pub(super) cancel: CancellationToken,
    /// No other proof starts before this time, because the service crashed while this proof was running. `None` once
    /// the time has passed.
    pub(super) alone_until: Mutex<Option<Instant>>,
    pub(super) tasks: Mutex<TaskCounts>,
    /// Digest of the finished proof, from before its file is stored. The database names it only when the proof ends.
    pub(super) result: Mutex<Option<String>>,
    pub(super) spans: Mutex<Option<Spans>>,
}

impl ActiveProof {
    /// Returns true if its time alone has passed.
    pub(super) fn is_time_alone_over(&self) -> bool {
        lock(&self.alone_until).is_some_and(|until| until <= Instant::now())
    }
}

/// A message to the event writer.
pub(super) enum WriterMessage {
    /// Stores an event.
    Event {
        /// Id of the proof.
        proof: String,
        record: EventRecord,
    },
    /// Asks for a notification once the writer has processed all earlier messages.
    Flush(oneshot::Sender<()>),
}

/// Accepts requests and runs proofs until [`Service::shutdown`]. Clones are cheap and refer to the same service.
#[derive(Clone)]
pub struct Service {
    pub(super) inner: Arc<ServiceInner>,
}

pub(super) struct ServiceInner {
    pub(super) settings: ServiceSettings,
    pub(super) database: Database,
    pub(super) blobs: Blobs,
    pub(super) result_cache: Arc<DiskResultCache>,
    pub(super) space: Arc<DiskSpace>,
    pub(super) clock: Arc<ServiceClock>,
    pub(super) audit: AuditLog,
    pub(super) start: StartRecord,
    pub(super) runner: Arc<dyn ServiceRunner>,
    pub(super) orchestrator: Orchestrator,
    pub(super) running: Mutex<BTreeMap<String, Arc<ActiveProof>>>,
    /// Wakes the queue: a proof was queued, or a running proof ended.
    pub(super) wake: Notify,
    pub(super) events: mpsc::Sender<WriterMessage>,
    /// Ends the pause of the event writer.
    pub(super) flush: Notify,
    /// Wakes the readers of event streams.
    pub(super) followers: Followers,
    /// The number of proofs in each state.
    pub(super) counts: SharedRead<BTreeMap<&'static str, u64>>,
    /// Number of the last event, for proofs that got an event in this process.
    pub(super) numbers: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    pub(super) list: Mutex<ListStatus>,
    pub(super) metrics: Metrics,
    /// Held by garbage collection and while a proof is accepted, so that collection never removes a program or input
    /// that the new proof needs. Also held from a check of a quota until what it permits counts.
    pub(super) housekeeping: Mutex<()>,
    pub(super) uploads: Uploads,
    /// Lets one request at a time ask why the tasks of a proof wait.
    pub(super) explanations: Semaphore,
    pub(super) tasks: BackgroundTasks,
    /// Runs the event writer, which ends after all of `tasks`.
    pub(super) writer: BackgroundTasks,
    pub(super) stop: CancellationToken,
    pub(super) dead: Arc<DeadBackgroundTasks>,
    /// `None` without an archive.
    pub(super) archive: Option<Arc<ArchiveStatus>>,
    /// Wakes the archiver: a proof has ended.
    pub(super) archive_wake: Arc<Notify>,
    /// Runs the archiver, which ends after all other tasks.
    pub(super) archiver: BackgroundTasks,
    pub(super) stop_archive: CancellationToken,
    /// Dropped after all tokio tasks have ended. Then another process may take the folder.
    pub(super) folder: Mutex<Option<StateFolder>>,
}

impl Service {
    /// Returns the settings, with the `last_attempt_before_restart` and `lineage` that this start uses.
    #[must_use]
    pub fn settings(&self) -> &ServiceSettings {
        &self.inner.settings
    }

    /// Returns the orchestrator that runs the proofs.
    #[must_use]
    pub fn orchestrator(&self) -> &Orchestrator {
        &self.inner.orchestrator
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Stores the outcome of the last read of the worker list.
    pub(crate) fn set_list_status(&self, status: ListStatus) {
        *lock(&self.inner.list) = status;
    }

    /// Returns the outcome of the last read of the worker list.
    #[must_use]
    pub fn list_status(&self) -> ListStatus {
        lock(&self.inner.list).clone()
    }

    /// Spawns `task`. [`Service::shutdown`] waits until it has ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// Delays [`Service::shutdown`] until the returned value is dropped.
    pub(crate) fn delay_shutdown(&self) -> TaskTrackerToken {
        self.inner.tasks.token()
    }

    /// Returns the token that is cancelled when the service shuts down.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Runs `work` on a thread where it may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ServiceInner) -> T + Send + 'static,
    ) -> T {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.expect("work on the state does not panic")
    }

    /// Shuts the service down and waits until all its tokio tasks and HTTP connections have ended. Clients have 5 s to
    /// get their last responses. Running proofs return to the queue and continue at the next start.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        // This also cancels all running proofs.
        self.inner.orchestrator.end().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.writer.close();
        self.inner.writer.wait().await;
        if let Err(error) = self.blocking(|inner| inner.database.record_clock(&inner.clock.record())).await {
            tracing::warn!(%error, "cannot store the time for the next start");
        }
        // Now, because everything has been written.
        self.inner.stop_archive.cancel();
        self.inner.archiver.close();
        self.inner.archiver.wait().await;
        lock(&self.inner.folder).take();
    }

    /// Returns the time since the archive last contained the whole state. `None` without an archive.
    #[must_use]
    pub fn archive_age(&self) -> Option<Duration> {
        self.inner.archive.as_ref().map(|archive| archive.age())
    }
}
