//! The service: takes requests, runs proofs when it is their turn, and keeps what comes of them.

mod cleaning;
mod events;
mod runs;

use crate::{
    blobs::{BlobError, BlobWriter, Blobs, Kept, is_digest},
    database::{Accepted, Database, DatabaseError, Selection},
    disk::{free_bytes, has_less_than},
    memo::DiskMemo,
    metrics::{Metrics, Now},
    request::{Refusal, check_request},
    spans::Spans,
    state_folder::{StateError, StateFolder},
};
use client::{EventRecord, ListStatus, Moment, NewProof, Program, Proof, ProofEvent, ProofState, Tasks};
use opentelemetry::global::BoxedTracer;
use orchestrator::{LocalConnector, Orchestrator, ProgramController, ProofFailure, WorkerInfo};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Events that may wait to be written. A proof that makes them faster than the disk takes them waits.
const EVENTS_UNDER_WAY: usize = 1 << 16;

/// Times that the service may be killed while a proof runs. It may be what takes all the memory.
const MOST_CRASHES: u32 = 5;

/// Longest wait for a place to hand something in.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// Programs and inputs that may be on their way in at the same time: each holds a thread.
const UPLOADS: usize = 16;

/// How a service behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder with everything that must outlive the process.
    pub state: PathBuf,
    /// How workers are dealt with. The number of attempts before and the lineage are the service's own business.
    pub orchestrator: orchestrator::Settings,
    /// How runs are cut, in the controller's serialisation.
    pub options: String,
    /// Proofs that run at the same time; at least 1.
    pub running: usize,
    /// Proofs that may wait.
    pub queued: u64,
    /// Longest program in bytes.
    pub program_bytes: u64,
    /// Longest input in bytes.
    pub input_bytes: u64,
    /// Disk for results of tasks, beyond which those used longest ago go.
    pub memo_bytes: u64,
    /// Free disk below which nothing new is accepted.
    pub free_bytes: u64,
    /// How long a proof that has ended is kept.
    pub keep: Duration,
    /// Names by which the interface may be asked where it listens for this machine alone, beside `localhost` and
    /// addresses; in lower case.
    pub names: Vec<String>,
    /// Where traces of proofs go, if anywhere.
    pub tracer: Option<Arc<BoxedTracer>>,
}

impl Settings {
    /// The defaults for a state folder: two proofs at a time, a thousand waiting, programs of 128 MiB, inputs of 1 GiB,
    /// 20 GB of results, 1 GB of disk left free, a week of what has ended, no traces.
    #[must_use]
    pub fn new(state: PathBuf, orchestrator: orchestrator::Settings, options: String) -> Self {
        Self {
            state,
            orchestrator,
            options,
            running: 2,
            queued: 1000,
            program_bytes: 128 << 20,
            input_bytes: 1 << 30,
            memo_bytes: 20_000_000_000,
            free_bytes: 1_000_000_000,
            keep: Duration::from_secs(7 * 24 * 60 * 60),
            names: Vec::new(),
            tracer: None,
        }
    }
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The files beside it.
    #[error("the state folder: {0}")]
    Blobs(#[from] BlobError),
}

/// What is known of a running proof beside its record.
struct Live {
    cancel: CancellationToken,
    tasks: Mutex<Tasks>,
    spans: Mutex<Option<Spans>>,
}

/// Takes requests and runs proofs. Cheap to clone; ends with [`Service::shutdown`].
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    database: Database,
    blobs: Blobs,
    memo: Arc<DiskMemo>,
    controller: Arc<dyn ProgramController>,
    orchestrator: Orchestrator,
    running: Mutex<BTreeMap<String, Arc<Live>>>,
    /// Somebody may have something to begin.
    wake: Notify,
    events: mpsc::Sender<(String, EventRecord)>,
    /// Changes when events were written.
    written: watch::Sender<u64>,
    /// Numbers of the last events, of proofs that somebody has written to in this process.
    numbers: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    list: Mutex<ListStatus>,
    metrics: Metrics,
    /// Locked while it is decided what is needed, and while something comes to be.
    housekeeping: Mutex<()>,
    uploads: Semaphore,
    tasks: TaskTracker,
    /// What writes events ends last.
    writer: TaskTracker,
    stop: CancellationToken,
    /// There until everything has ended, when another process may take it.
    folder: Mutex<Option<StateFolder>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Opens the state folder, goes on with what is in it, and begins to run proofs. Sessions with workers live on the
    /// runtime that polls this.
    ///
    /// # Errors
    /// When the state folder is another's, damaged, of a newer release, or cannot be written.
    pub async fn start(
        mut settings: Settings,
        controller: Arc<dyn ProgramController>,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, StartError> {
        let (path, memo_bytes, free_bytes) = (settings.state.clone(), settings.memo_bytes, settings.free_bytes);
        let open = move || {
            let folder = StateFolder::take(&path)?;
            let blobs = Blobs::open(folder.join("blobs"))?;
            let database = Database::open(&folder.join("service.db"), blobs.is_empty())?;
            let memo = DiskMemo::open(folder.join("memo"), memo_bytes, free_bytes);
            let unusable = |reason| StateError::Unusable { path: folder.path().to_owned(), reason };
            let memo = memo.map_err(&unusable)?;
            let start = database.count_start()?;
            let lineage = memo.begin(start).map_err(unusable)?;
            let requeued = database.requeue_running(MOST_CRASHES, Moment::now())?;
            if let Err(error) = database.complete_events() {
                // Their proofs are there, and say themselves how they ended.
                tracing::warn!(%error, "proofs that have ended may lack their last event");
            }
            Ok::<_, StartError>((folder, blobs, database, memo, start, lineage, requeued))
        };
        let opened = tokio::task::spawn_blocking(open).await.expect("opening does not panic");
        let (folder, blobs, database, memo, start, lineage, requeued) = opened?;
        tracing::info!(state = %folder.path().display(), start, requeued, "state opened");
        // Names of artifacts have the number of their attempt, and remembered ones come again.
        settings.orchestrator.attempts_before = (start - 1) << 32;
        settings.orchestrator.lineage = Some(lineage);
        let memo = Arc::new(memo);
        let orchestrator = Orchestrator::start(settings.orchestrator.clone(), local, Some(memo.clone()));
        let (events, to_write) = mpsc::channel(EVENTS_UNDER_WAY);
        let inner = Arc::new(Inner {
            settings,
            database,
            blobs,
            memo,
            controller,
            orchestrator,
            running: Mutex::default(),
            wake: Notify::new(),
            events,
            written: watch::Sender::new(0),
            numbers: Mutex::default(),
            list: Mutex::default(),
            metrics: Metrics::new(),
            housekeeping: Mutex::default(),
            uploads: Semaphore::new(UPLOADS),
            tasks: TaskTracker::new(),
            writer: TaskTracker::new(),
            stop: CancellationToken::new(),
            folder: Mutex::new(Some(folder)),
        });
        inner.writer.spawn(events::write_events(inner.clone(), to_write));
        inner.tasks.spawn(inner.clone().dispatch());
        inner.tasks.spawn(inner.clone().clean_up());
        Ok(Self { inner })
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The orchestrator behind it.
    #[must_use]
    pub fn orchestrator(&self) -> &Orchestrator {
        &self.inner.orchestrator
    }

    /// Says how the list of workers was last read.
    pub(crate) fn set_list_status(&self, status: ListStatus) {
        *lock(&self.inner.list) = status;
    }

    /// How the list of workers was last read.
    #[must_use]
    pub fn list_status(&self) -> ListStatus {
        lock(&self.inner.list).clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What is counted, as Prometheus reads it.
    pub(crate) async fn metrics_text(&self) -> Result<String, Refusal> {
        let proofs = self.counts().await?;
        let (workers, holdings) = (self.workers(), self.inner.orchestrator.holdings());
        let lost = self.inner.orchestrator.absent_workers().len();
        let counts = self.inner.orchestrator.counts();
        let free_bytes = self.blocking(|inner| free_bytes(&inner.settings.state)).await.unwrap_or(0);
        Ok(self.inner.metrics.text(&Now { proofs, workers, lost, counts, holdings, free_bytes }))
    }

    /// Runs `task`; the service ends after it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// Cancelled when the service is to end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Ends everything; what runs goes on at the next start.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        // It cancels what runs.
        self.inner.orchestrator.end().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.writer.close();
        self.inner.writer.wait().await;
        lock(&self.inner.folder).take();
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.expect("work on the state does not panic")
    }

    /// A place for a program or input on its way in, when there is one before long.
    pub(crate) async fn place_for_upload(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let place = timeout(LONGEST_TURN, self.inner.uploads.acquire()).await;
        let place = place.map_err(|_| Refusal::Busy)?.expect("the places are never closed");
        self.blocking(Inner::check_disk).await?;
        Ok(place)
    }

    /// A program or input on its way in; to be used where it may block.
    pub(crate) fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        self.inner.blobs.writer(limit)
    }

    /// Takes a program that was written, and says what it is.
    pub(crate) async fn add_program(&self, kept: Kept) -> Result<Program, Refusal> {
        let id = kept.digest.clone();
        let known = self.blocking(move |inner| {
            let known = inner.database.program(&id)?;
            // A service that was killed may have no key of a program that it knows.
            let is_whole = known.as_ref().is_some_and(|program| program.verifying_key.is_some());
            let content = if is_whole { None } else { Some(inner.blobs.read(&id).map_err(broken)?) };
            Ok::<_, Refusal>((known, content.map(bytes::Bytes::from)))
        });
        let content = match known.await? {
            (Some(program), content) => {
                if let Some(content) = content {
                    self.compute_key(program.id.clone(), content);
                }
                return Ok(program);
            }
            (None, content) => content.unwrap_or_default(),
        };
        let checked = self.inner.controller.check_program(content.clone()).await;
        let added = self.blocking(move |inner| match checked {
            Ok(()) => {
                let (id, bytes) = (kept.digest, kept.length);
                let program = Program { id, bytes, verifying_key: None, created: Moment::now() };
                inner.database.add_program(&program)?;
                Ok(program)
            }
            // Its file stays for a while: it may be something else of somebody else.
            Err(ProofFailure::Request(text)) => Err(Refusal::Invalid(text)),
            Err(failure) => Err(Refusal::Internal(failure.to_string())),
        });
        let program = added.await?;
        self.compute_key(program.id.clone(), content);
        Ok(program)
    }

    /// Has the verifying key of `program` computed. Whoever handed the program in does not wait for it, and its proofs
    /// wait in the queue meanwhile.
    fn compute_key(&self, program: String, content: bytes::Bytes) {
        let service = self.clone();
        self.spawn(async move {
            let key = tokio::select! {
                key = service.inner.controller.program_key(content) => key,
                () = service.inner.stop.cancelled() => return,
            };
            let stored = service.blocking(move |inner| match key {
                Ok(key) => inner.database.set_verifying_key(&program, &key).map_err(|error| error.to_string()),
                // Its proofs fail for the same reason.
                Err(failure) => Err(failure.to_string()),
            });
            if let Err(error) = stored.await {
                tracing::warn!(%error, "a program has no verifying key");
            }
        });
    }

    /// Takes an input that was written, and gives its id.
    pub(crate) async fn add_input(&self, kept: Kept) -> Result<Kept, Refusal> {
        self.blocking(move |inner| {
            let content = inner.blobs.read(&kept.digest).map_err(broken)?;
            inner.controller.check_stdin(&content).map_err(|failure| Refusal::Invalid(failure.to_string()))?;
            Ok(kept)
        })
        .await
    }

    /// Accepts a request. When this returns the proof is kept, whatever happens; `false` with one that was asked for
    /// before.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub async fn submit(&self, request: NewProof) -> Result<(Proof, bool), Refusal> {
        check_request(&request)?;
        let (proof, new) = self.blocking(move |inner| inner.accept(&request)).await?;
        if new {
            self.inner.tell(&proof.id, ProofEvent::Queued).await;
            self.inner.wake.notify_one();
        }
        Ok((proof, new))
    }

    /// The proof `id`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn proof(&self, id: &str) -> Result<Proof, Refusal> {
        let id = id.to_owned();
        self.blocking(move |inner| inner.find(&id)).await
    }

    pub(crate) async fn proofs(&self, selection: Selection) -> Result<Vec<(i64, Proof)>, Refusal> {
        self.blocking(move |inner| {
            let mut found = inner.database.proofs(selection)?;
            found.iter_mut().for_each(|(_, proof)| inner.complete(proof));
            Ok(found)
        })
        .await
    }

    pub(crate) async fn program(&self, id: &str) -> Result<Program, Refusal> {
        let id = id.to_owned();
        let unknown = Refusal::Unknown(format!("there is no program {}", short(&id)));
        self.blocking(move |inner| inner.database.program(&id)).await?.ok_or(unknown)
    }

    pub(crate) async fn programs(&self) -> Result<Vec<Program>, Refusal> {
        Ok(self.blocking(|inner| inner.database.programs()).await?)
    }

    /// Cancels a proof; one that has ended stays as it is. Gives it back as it is then: one that runs ends within
    /// moments.
    ///
    /// # Errors
    /// When there is no such proof.
    pub async fn cancel(&self, id: &str) -> Result<Proof, Refusal> {
        let owned = id.to_owned();
        let cancelled = self.blocking(move |inner| {
            inner.find(&owned)?;
            Ok::<_, Refusal>(inner.database.cancel_queued(&owned, Moment::now())?)
        });
        if let Some(proof) = cancelled.await? {
            let finished = ProofEvent::Finished { state: ProofState::Cancelled, failure: None };
            self.inner.tell(id, finished).await;
            return Ok(proof);
        }
        loop {
            let live = lock(&self.inner.running).get(id).cloned();
            let proof = self.proof(id).await?;
            match live {
                Some(live) => live.cancel.cancel(),
                // It is just being begun.
                None if !proof.state.is_final() && !self.inner.stop.is_cancelled() => {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
                None => {}
            }
            return Ok(proof);
        }
    }

    /// Content of a finished proof.
    pub(crate) async fn result(&self, id: &str) -> Result<Vec<u8>, Refusal> {
        let id = id.to_owned();
        self.blocking(move |inner| {
            let proof = inner.find(&id)?;
            let Some(digest) = inner.database.result(&id)? else {
                let state = proof.state.name();
                return Err(Refusal::Conflict(format!("proof {id} is {state}: there is nothing to fetch")));
            };
            inner.blobs.read(&digest).map_err(broken)
        })
        .await
    }

    /// Events of a proof after number `after`, in order, at most `limit`, as far as they are written.
    pub(crate) async fn events(&self, id: &str, after: u64, limit: u32) -> Result<Vec<EventRecord>, Refusal> {
        let id = id.to_owned();
        Ok(self.blocking(move |inner| inner.database.events(&id, after, limit)).await?)
    }

    /// Changes whenever events were written.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.inner.written.subscribe()
    }

    /// How many proofs are in each state.
    pub(crate) async fn counts(&self) -> Result<BTreeMap<&'static str, u64>, Refusal> {
        self.blocking(|inner| {
            let count = |state: ProofState| Ok((state.name(), inner.database.count(state)?));
            ProofState::ALL.into_iter().map(count).collect()
        })
        .await
    }

    /// The connected workers.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.inner.orchestrator.workers()
    }

    pub(crate) async fn drain(&self, worker: &str) -> Result<(), Refusal> {
        let (inner, worker) = (self.inner.clone(), worker.to_owned());
        // Whether it holds nothing yet is seen in its state; nobody waits for that.
        let mut asked = self.inner.tasks.spawn(async move { inner.orchestrator.drain(&worker).await });
        match timeout(Duration::from_millis(100), &mut asked).await {
            Ok(drained) => Ok(drained.expect("draining does not panic")?),
            Err(_) => Ok(()),
        }
    }

    pub(crate) async fn resume(&self, worker: &str) -> Result<(), Refusal> {
        Ok(self.inner.orchestrator.resume(worker).await?)
    }

    pub(crate) fn forget(&self, worker: &str) -> Result<(), Refusal> {
        Ok(self.inner.orchestrator.forget(worker)?)
    }
}

/// The beginning of a text that somebody sent.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn broken(error: BlobError) -> Refusal {
    match error {
        BlobError::Full { .. } => Refusal::DiskFull,
        error => Refusal::Internal(error.to_string()),
    }
}

/// A new id: twelve hexadecimal digits.
fn new_id() -> Result<String, Refusal> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| Refusal::Internal(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Inner {
    fn find(&self, id: &str) -> Result<Proof, Refusal> {
        let unknown = || Refusal::Unknown(format!("there is no proof {}", short(id)));
        let mut proof = self.database.proof(id)?.ok_or_else(unknown)?;
        self.complete(&mut proof);
        Ok(proof)
    }

    /// Adds what only this process knows.
    fn complete(&self, proof: &mut Proof) {
        if let Some(live) = lock(&self.running).get(&proof.id) {
            proof.tasks = *lock(&live.tasks);
        }
    }

    fn accept(&self, request: &NewProof) -> Result<(Proof, bool), Refusal> {
        // What it needs must not be found unused meanwhile.
        let _undisturbed = lock(&self.housekeeping);
        let Some(program) = &request.program else {
            return Err(Refusal::Invalid("no program: name one by its id, or send it with the request".to_owned()));
        };
        if self.database.program(program)?.is_none() {
            return Err(Refusal::Unknown(format!("there is no program {}; hand it in first", short(program))));
        }
        let input = match &request.input {
            Some(input) if !is_digest(input) || self.blobs.length(input).is_none() => {
                return Err(Refusal::Unknown(format!("there is no input {}; hand it in first", short(input))));
            }
            Some(input) => input.clone(),
            None => self.blobs.put(&self.controller.empty_stdin()).map_err(broken)?,
        };
        // A request that came before is answered however full everything is.
        let is_known = match &request.idempotency_key {
            Some(key) => self.database.knows_key(key)?,
            None => false,
        };
        if !is_known {
            self.check_room()?;
        }
        let accepted =
            self.database.add_proof(&new_id()?, request, program, &input, &self.settings.options, Moment::now())?;
        match accepted {
            Accepted::New(proof) => Ok((proof, true)),
            Accepted::Known(mut proof) => {
                self.complete(&mut proof);
                Ok((proof, false))
            }
            Accepted::Other => Err(Refusal::Conflict(
                "another request was made with this idempotency_key; choose a new one".to_owned(),
            )),
        }
    }

    fn check_room(&self) -> Result<(), Refusal> {
        let waiting = self.database.count(ProofState::Queued)?;
        if waiting >= self.settings.queued {
            return Err(Refusal::QueueFull(waiting));
        }
        self.check_disk()
    }

    fn check_disk(&self) -> Result<(), Refusal> {
        let is_full = has_less_than(&self.settings.state, self.settings.free_bytes);
        if is_full { Err(Refusal::DiskFull) } else { Ok(()) }
    }
}
