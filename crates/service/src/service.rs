//! The service: accepts proof requests, runs queued proofs, and stores their results.

mod cleaning;
mod events;
mod runs;

use crate::{
    blobs::{BlobError, BlobWriter, Blobs, Kept, is_digest},
    database::{Accepted, Database, DatabaseError, Selection},
    disk::{free_bytes, has_less_than},
    hint,
    memo::DiskMemo,
    metrics::{Metrics, Now},
    request::{Refusal, UPLOADS, check_request},
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

/// Events of all proofs that may wait for the database writer. When there are more, the tasks that report them wait.
const EVENTS_UNDER_WAY: usize = 1 << 16;

/// A proof fails when the service crashed this many times while the proof was running. The proof itself may be the
/// cause, for example by using all memory.
const MOST_CRASHES: u32 = 5;

/// Longest wait for one of the `UPLOADS` places. Then the upload is refused as [`Refusal::Busy`].
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// Configuration of a service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state folder. It contains everything that must survive the process.
    pub state: PathBuf,
    /// Settings of the orchestrator. The service sets `attempts_before` and `lineage` itself and ignores their values
    /// here.
    pub orchestrator: orchestrator::Settings,
    /// Options that decide how new proofs cut their runs into shards, in the controller's serialization format.
    pub options: String,
    /// Proofs that run at the same time. 0 means 1.
    pub running: usize,
    /// Proofs that may wait in the queue. Further requests are refused.
    pub queued: u64,
    /// Maximum length of a program in bytes.
    pub program_bytes: u64,
    /// Maximum length of an input in bytes.
    pub input_bytes: u64,
    /// Maximum size of the result cache on disk in bytes; 0 disables the cache. Garbage collection removes the results
    /// that were not used for the longest time.
    pub memo_bytes: u64,
    /// Free disk space in bytes below which the service refuses new proofs and uploads and caches no results.
    pub free_bytes: u64,
    /// How long a proof is kept after its end.
    pub keep: Duration,
    /// Further host names, in lower case, by which clients may address a service that listens on a loopback address.
    /// `localhost` and IP addresses are always allowed.
    pub names: Vec<String>,
    /// Exports traces of proofs; `None` for no traces.
    pub tracer: Option<Arc<BoxedTracer>>,
}

impl Settings {
    /// Returns the defaults: 2 running and 1000 queued proofs, programs of at most 128 MiB, inputs of at most 1 GiB, a
    /// result cache of 20 GB, 1 GB of disk space left free, ended proofs kept for a week, no further host names, and no
    /// traces.
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

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
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

/// State of a running proof that is not in the database.
struct Live {
    cancel: CancellationToken,
    tasks: Mutex<Tasks>,
    spans: Mutex<Option<Spans>>,
}

/// Accepts requests and runs proofs until [`Service::shutdown`]. Clones are cheap and refer to the same service.
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
    /// Wakes the dispatcher: a proof was queued, or a running proof ended.
    wake: Notify,
    events: mpsc::Sender<(String, EventRecord)>,
    /// Changes after each batch of events that the writer has processed.
    written: watch::Sender<u64>,
    /// Number of the last event, for proofs that got an event in this process.
    numbers: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    list: Mutex<ListStatus>,
    metrics: Metrics,
    /// Held by garbage collection and while a proof is accepted, so that collection never removes a program or input
    /// that the new proof needs.
    housekeeping: Mutex<()>,
    uploads: Semaphore,
    tasks: TaskTracker,
    /// Runs the event writer, which ends after all of `tasks`.
    writer: TaskTracker,
    stop: CancellationToken,
    /// Dropped after all tasks have ended. Then another process may take the folder.
    folder: Mutex<Option<StateFolder>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Opens the state folder, queues interrupted proofs again, and starts to run proofs. The sessions with workers run
    /// on the tokio runtime that polls this future.
    ///
    /// # Errors
    /// If another process uses the state folder, if it is not writable, or if its database is missing, damaged, of a
    /// newer release, or of another program.
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
                // Not fatal: the records of these proofs state how they ended.
                tracing::warn!(%error, "cannot add the missing last events of ended proofs");
            }
            Ok::<_, StartError>((folder, blobs, database, memo, start, lineage, requeued))
        };
        let opened = tokio::task::spawn_blocking(open).await.expect("opening the state folder does not panic");
        let (folder, blobs, database, memo, start, lineage, requeued) = opened?;
        tracing::info!(state = %folder.path().display(), start, requeued, "state folder opened");
        // Artifact names contain attempt numbers, and the result cache restores artifacts of earlier starts. So that no
        // name occurs twice, each start uses its own range of 2^32 attempt numbers.
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

    /// Returns the settings, with the `attempts_before` and `lineage` that this start uses.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Returns the orchestrator that runs the proofs.
    #[must_use]
    pub fn orchestrator(&self) -> &Orchestrator {
        &self.inner.orchestrator
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

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Returns the metrics as OpenMetrics text.
    pub(crate) async fn metrics_text(&self) -> Result<String, Refusal> {
        let proofs = self.counts().await?;
        let (workers, holdings) = (self.workers(), self.inner.orchestrator.holdings());
        let lost = self.inner.orchestrator.absent_workers().len();
        let counts = self.inner.orchestrator.counts();
        let free_bytes = self.blocking(|inner| free_bytes(&inner.settings.state)).await.unwrap_or(0);
        Ok(self.inner.metrics.text(&Now { proofs, workers, lost, counts, holdings, free_bytes }))
    }

    /// Spawns `task`. [`Service::shutdown`] waits until it has ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// Returns the token that is cancelled when the service shuts down.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Shuts the service down and waits until all its tasks have ended. Running proofs return to the queue and continue
    /// at the next start.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        // This also cancels all running proofs.
        self.inner.orchestrator.end().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.writer.close();
        self.inner.writer.wait().await;
        lock(&self.inner.folder).take();
    }

    /// Runs `work` on a thread where it may block.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.expect("work on the state does not panic")
    }

    /// Waits up to `LONGEST_TURN` for an upload place, and checks that the disk has room.
    pub(crate) async fn place_for_upload(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let place = timeout(LONGEST_TURN, self.inner.uploads.acquire()).await;
        let place = place.map_err(|_| Refusal::Busy)?.expect("the semaphore is never closed");
        self.blocking(Inner::check_disk).await?;
        Ok(place)
    }

    /// Returns a writer for an upload of at most `limit` bytes. Blocks, as do the methods of the writer.
    pub(crate) fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        self.inner.blobs.writer(limit)
    }

    /// Adds an uploaded program, unless it is known, and computes its verifying key in the background.
    pub(crate) async fn add_program(&self, kept: Kept) -> Result<Program, Refusal> {
        let id = kept.digest.clone();
        let known = self.blocking(move |inner| {
            let known = inner.database.program(&id)?;
            // A known program has no key if the service was killed before the key was computed.
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
            // The file is not removed here: the same bytes may be another client's input or a finished proof. If
            // nothing needs the file, garbage collection removes it after an hour.
            Err(ProofFailure::Request(text)) => Err(Refusal::Invalid(text)),
            Err(failure) => Err(Refusal::Internal(failure.to_string())),
        });
        let program = added.await?;
        self.compute_key(program.id.clone(), content);
        Ok(program)
    }

    /// Computes and stores the verifying key of `program` in the background. This takes up to a minute, and the upload
    /// does not wait for it.
    fn compute_key(&self, program: String, content: bytes::Bytes) {
        let (service, id) = (self.clone(), program.clone());
        self.spawn(async move {
            let key = tokio::select! {
                key = service.inner.controller.program_key(content) => key,
                () = service.inner.stop.cancelled() => return,
            };
            let stored = service.blocking(move |inner| match key {
                Ok(key) => inner.database.set_verifying_key(&program, &key).map_err(|error| error.to_string()),
                // No client needs to be notified: proofs of this program fail for the same reason.
                Err(failure) => Err(failure.to_string()),
            });
            if let Err(error) = stored.await {
                let error = hint::split(&error).0;
                tracing::warn!(program = %id, %error, "cannot compute or store the verifying key of a program");
            }
        });
    }

    /// Checks that an uploaded blob is a valid input, and returns it.
    pub(crate) async fn add_input(&self, kept: Kept) -> Result<Kept, Refusal> {
        self.blocking(move |inner| {
            let content = inner.blobs.read(&kept.digest).map_err(broken)?;
            inner.controller.check_stdin(&content).map_err(|failure| Refusal::Invalid(failure.to_string()))?;
            Ok(kept)
        })
        .await
    }

    /// Accepts a proof request. The proof is on disk when this returns, and survives a crash. The flag is `false` if an
    /// earlier request with the same idempotency key was already accepted; then the proof is that of the earlier
    /// request.
    ///
    /// # Errors
    /// If the request is invalid, names an unknown program or input, reuses the idempotency key of a different request,
    /// or if the queue or the disk is full.
    pub async fn submit(&self, request: NewProof) -> Result<(Proof, bool), Refusal> {
        check_request(&request)?;
        let (proof, new) = self.blocking(move |inner| inner.accept(&request)).await?;
        if new {
            self.inner.tell(&proof.id, ProofEvent::Queued).await;
            self.inner.wake.notify_one();
        }
        Ok((proof, new))
    }

    /// Returns the proof `id`.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if no proof has this id.
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
        let text = format!("there is no program {}\nhint: list the programs with `GET /v1/programs`", short(&id));
        let unknown = Refusal::Unknown(text);
        self.blocking(move |inner| inner.database.program(&id)).await?.ok_or(unknown)
    }

    pub(crate) async fn programs(&self) -> Result<Vec<Program>, Refusal> {
        Ok(self.blocking(|inner| inner.database.programs()).await?)
    }

    /// Cancels a proof and returns its current record. A queued proof is cancelled at once. A running proof may still
    /// be running in the returned record, and ends shortly afterwards. A proof that has ended does not change.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if no proof has this id.
    pub async fn cancel(&self, id: &str) -> Result<Proof, Refusal> {
        let owned = id.to_owned();
        let cancelled = self.blocking(move |inner| {
            inner.find(&owned)?;
            Ok::<_, Refusal>(inner.database.cancel_queued(&owned, Moment::now())?)
        });
        if let Some(proof) = cancelled.await? {
            let finished = ProofEvent::Finished { state: ProofState::Cancelled, failure: None };
            self.inner.tell(id, finished).await;
            lock(&self.inner.numbers).remove(id);
            return Ok(proof);
        }
        loop {
            let live = lock(&self.inner.running).get(id).cloned();
            let proof = self.proof(id).await?;
            match live {
                Some(live) => live.cancel.cancel(),
                // The dispatcher is starting this proof and has not yet put it into `running`.
                None if !proof.state.is_final() && !self.inner.stop.is_cancelled() => {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
                None => {}
            }
            return Ok(proof);
        }
    }

    /// Returns the bytes of a finished proof.
    pub(crate) async fn result(&self, id: &str) -> Result<Vec<u8>, Refusal> {
        let id = id.to_owned();
        self.blocking(move |inner| {
            let proof = inner.find(&id)?;
            let Some(digest) = inner.database.result(&id)? else {
                let state = proof.state.name();
                let (step, command) =
                    if proof.state.is_final() { ("see its events", "logs") } else { ("wait for its end", "wait") };
                return Err(Refusal::Conflict(format!(
                    "proof {id} is {state}: there is nothing to fetch\nhint: {step} with `sp1d {command} {id}`"
                )));
            };
            inner.blobs.read(&digest).map_err(broken)
        })
        .await
    }

    /// Returns the events of a proof after number `after`, in order and at most `limit`. Events that wait for the
    /// writer are not included.
    pub(crate) async fn events(&self, id: &str, after: u64, limit: u32) -> Result<Vec<EventRecord>, Refusal> {
        let id = id.to_owned();
        Ok(self.blocking(move |inner| inner.database.events(&id, after, limit)).await?)
    }

    /// Returns a watch that changes after each batch of events that the writer has processed.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.inner.written.subscribe()
    }

    /// Returns the number of proofs in each state.
    pub(crate) async fn counts(&self) -> Result<BTreeMap<&'static str, u64>, Refusal> {
        self.blocking(|inner| {
            let count = |state: ProofState| Ok((state.name(), inner.database.count(state)?));
            ProofState::ALL.into_iter().map(count).collect()
        })
        .await
    }

    /// Returns the connected workers, in the order in which they connected.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.inner.orchestrator.workers()
    }

    pub(crate) async fn drain(&self, worker: &str) -> Result<(), Refusal> {
        let (inner, worker) = (self.inner.clone(), worker.to_owned());
        // Draining takes until the worker holds no attempt, and its state shows that. Waiting 100 ms is enough to
        // return an error for an unknown worker.
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

/// Returns the first 80 characters of a text that a client sent.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn broken(error: BlobError) -> Refusal {
    match error {
        BlobError::Full { .. } => Refusal::DiskFull,
        error => Refusal::Internal(error.to_string()),
    }
}

/// Returns a new random id of twelve hexadecimal digits.
fn new_id() -> Result<String, Refusal> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| Refusal::Internal(format!("cannot get random bytes from the operating system: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Inner {
    fn find(&self, id: &str) -> Result<Proof, Refusal> {
        let unknown = || format!("there is no proof {}\nhint: list the proofs with `sp1d proofs`", short(id));
        let mut proof = self.database.proof(id)?.ok_or_else(|| Refusal::Unknown(unknown()))?;
        self.complete(&mut proof);
        Ok(proof)
    }

    /// Fills in the task counts of a running proof, which are not yet in the database.
    fn complete(&self, proof: &mut Proof) {
        if let Some(live) = lock(&self.running).get(&proof.id) {
            proof.tasks = *lock(&live.tasks);
        }
    }

    fn accept(&self, request: &NewProof) -> Result<(Proof, bool), Refusal> {
        // Keeps garbage collection from removing the program or the input before the proof refers to them.
        let _undisturbed = lock(&self.housekeeping);
        let Some(program) = &request.program else {
            let text = "the request names no program\nhint: set `program` to the id of an uploaded program, or send a form with the part `program`";
            return Err(Refusal::Invalid(text.to_owned()));
        };
        if self.database.program(program)?.is_none() {
            let text = format!("there is no program {}\nhint: upload it with `POST /v1/programs`", short(program));
            return Err(Refusal::Unknown(text));
        }
        let input = match &request.input {
            Some(input) if !is_digest(input) || self.blobs.length(input).is_none() => {
                let text = format!("there is no input {}\nhint: upload it with `POST /v1/inputs`", short(input));
                return Err(Refusal::Unknown(text));
            }
            Some(input) => input.clone(),
            None => self.blobs.put(&self.controller.empty_stdin()).map_err(broken)?,
        };
        // A repeated request returns its proof even if the queue or the disk is full.
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
            Accepted::Other => {
                let text = "a different request has already used this idempotency_key\nhint: choose a new key, or repeat the earlier request unchanged";
                Err(Refusal::Conflict(text.to_owned()))
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use testing::{FakeController, fake_build};

    #[tokio::test]
    async fn cancelled_queued_proof_leaves_no_event_counter() {
        let folder = tempfile::tempdir().unwrap();
        let orchestrator = orchestrator::Settings::new(fake_build());
        let mut settings = Settings::new(folder.path().join("state"), orchestrator, "{}".to_owned());
        settings.running = 1;
        let service = Service::start(settings, Arc::new(FakeController::default()), None).await.unwrap();
        let program = service.inner.blobs.put(b"program").unwrap();
        let known = Program { id: program.clone(), bytes: 7, verifying_key: None, created: Moment::now() };
        service.inner.database.add_program(&known).unwrap();
        // No worker is connected, so the first proof runs until the shutdown and the second one stays in the queue.
        let request = NewProof { program: Some(program), cycle_limit: Some(1), ..NewProof::default() };
        let (first, _) = service.submit(request.clone()).await.unwrap();
        let started = async {
            while service.proof(&first.id).await.unwrap().state != ProofState::Running {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), started).await.unwrap();
        let (second, _) = service.submit(request).await.unwrap();
        assert_eq!(service.cancel(&second.id).await.unwrap().state, ProofState::Cancelled);
        let counted: Vec<String> = lock(&service.inner.numbers).keys().cloned().collect();
        assert_eq!(counted, [first.id]);
        service.shutdown().await;
    }
}
