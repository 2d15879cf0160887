//! The service: takes requests, runs proofs when it is their turn, and keeps what comes of them.

use crate::{
    blobs::{BlobError, BlobWriter, Blobs, Kept, is_digest},
    database::{Accepted, Database, DatabaseError, Ending, Job, Selection},
    event::{EventRecord, ProofEvent},
    followed::ListStatus,
    memo::DiskMemo,
    metrics::{Attempts, Metrics, Now},
    record::{FailureInfo, Moment, NewProof, Program, Proof, ProofState, Tasks},
    state_folder::{StateError, StateFolder},
};
use orchestrator::{
    ExpectedExit, LocalConnector, Orchestrator, ProgramController, ProofFailure, ProofRequest, Proven, UnknownWorker,
    WorkerInfo,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, broadcast, mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A word of a nonce is an element of SP1's field, whose order is 2^31 - 2^24 + 1.
const NONCE_WORDS: u32 = 0x7f00_0001;

/// Longest timeout: ten years.
const LONGEST_TIMEOUT: u64 = 10 * 366 * 24 * 60 * 60;

/// Longest idempotency key in bytes.
const LONGEST_KEY: usize = 200;

/// Events that may wait to be written. A proof that makes them faster than the disk takes them waits.
const EVENTS_UNDER_WAY: usize = 1 << 16;

/// Events of one proof that may be told before they are taken note of. Their places take 200 bytes each, for as long as the proof runs.
const EVENTS_OF_PROOF: usize = 1 << 13;

/// How long events are gathered before they are written together.
const GATHERING: Duration = Duration::from_millis(100);

/// How often it is looked for what need not be kept any more.
const CLEANING: Duration = Duration::from_secs(10 * 60);

/// Times that the service may be killed while a proof runs. It may be what takes all the memory.
const MOST_CRASHES: u32 = 5;

/// Programs and inputs that may be on their way in at the same time: each holds a thread.
const UPLOADS: usize = 16;

/// How often it is looked whether the disk has room again, or something has waited for too long.
const LOOKS: Duration = Duration::from_secs(1);

/// A blob that nothing needs goes when it is this old: a request that needs it may be on its way.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// How a service behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder with everything that must outlive the process.
    pub state: PathBuf,
    /// How workers are dealt with. The number of attempts before is the service's own business.
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
}

impl Settings {
    /// The defaults for a state folder: two proofs at a time, a thousand waiting, programs of 128 MiB, inputs of 1 GiB, 20 GB of results, 1 GB of disk left
    /// free, a week of what has ended.
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

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such proof, program, input or worker.
    #[error("{0}")]
    Unknown(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Something in it is too long.
    #[error("{what} is longer than {limit} bytes, the most that is taken")]
    TooLong {
        /// What is.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// It does not fit with what is there.
    #[error("{0}")]
    Conflict(String),
    /// There is no room for another proof that waits.
    #[error("{0} proofs wait already, as many as may; try again when some are done")]
    QueueFull(u64),
    /// There is no room on the disk.
    #[error("the disk of the service is full; nothing new is accepted until there is room")]
    DiskFull,
    /// The service's own fault.
    #[error("{0}")]
    Internal(String),
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => Self::DiskFull,
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<UnknownWorker> for Refusal {
    fn from(error: UnknownWorker) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// What is known of a running proof beside its record.
struct Live {
    cancel: CancellationToken,
    tasks: Mutex<Tasks>,
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
    /// Opens the state folder, goes on with what is in it, and begins to run proofs. Sessions with workers live on the runtime that polls this.
    ///
    /// # Errors
    /// When the state folder is another's, damaged, of a newer release, or cannot be written.
    pub async fn start(
        mut settings: Settings,
        controller: Arc<dyn ProgramController>,
        local: Option<Arc<dyn LocalConnector>>,
    ) -> Result<Self, StartError> {
        let (path, memo_bytes) = (settings.state.clone(), settings.memo_bytes);
        let open = move || {
            let folder = StateFolder::take(&path)?;
            let blobs = Blobs::open(folder.join("blobs"))?;
            let database = Database::open(&folder.join("service.db"), blobs.is_empty())?;
            let memo = DiskMemo::open(folder.join("memo"), memo_bytes);
            let unusable = |reason| StateError::Unusable { path: folder.path().to_owned(), reason };
            let memo = memo.map_err(&unusable)?;
            let start = database.count_start()?;
            memo.begin(start).map_err(unusable)?;
            let requeued = database.requeue_running(MOST_CRASHES)?;
            Ok::<_, StartError>((folder, blobs, database, memo, start, requeued))
        };
        let opened = tokio::task::spawn_blocking(open).await.expect("opening does not panic");
        let (folder, blobs, database, memo, start, requeued) = opened?;
        tracing::info!(state = %folder.path().display(), start, requeued, "state opened");
        // Names of artifacts have the number of their attempt, and remembered ones come again.
        settings.orchestrator.attempts_before = (start - 1) << 32;
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
        inner.writer.spawn(write_events(inner.clone(), to_write));
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
        let free_bytes = self.blocking(|inner| free_bytes(&inner.settings.state)).await.unwrap_or(0);
        Ok(self.inner.metrics.text(&Now { proofs, workers, holdings, free_bytes }))
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

    /// A place for a program or input on its way in, when there is one.
    pub(crate) async fn place_for_upload(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let place = self.inner.uploads.acquire().await.expect("the places are never closed");
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
            let content = if known.is_none() { Some(inner.blobs.read(&id).map_err(broken)?) } else { None };
            Ok::<_, Refusal>((known, content))
        });
        let content = match known.await? {
            (Some(program), _) => return Ok(program),
            (None, content) => content.unwrap_or_default(),
        };
        let inspected = self.inner.controller.inspect(content.into()).await;
        self.blocking(move |inner| match inspected {
            Ok(verifying_key) => {
                let program = Program { id: kept.digest, bytes: kept.length, verifying_key, created: Moment::now() };
                inner.database.add_program(&program)?;
                Ok(program)
            }
            // Its file stays for a while: it may be something else of somebody else.
            Err(ProofFailure::Request(text)) => Err(Refusal::Invalid(text)),
            Err(failure) => Err(Refusal::Internal(failure.to_string())),
        })
        .await
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

    /// Accepts a request. When this returns the proof is kept, whatever happens; `false` with one that was asked for before.
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

    /// Cancels a proof; one that has ended stays as it is. Gives it back as it is then: one that runs ends within moments.
    ///
    /// # Errors
    /// When there is no such proof.
    pub async fn cancel(&self, id: &str) -> Result<Proof, Refusal> {
        let owned = id.to_owned();
        let cancelled = self.blocking(move |inner| {
            inner.find(&owned)?;
            Ok::<_, Refusal>(inner.database.cancel_queued(&owned)?)
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
        let mut asked = tokio::spawn(async move { inner.orchestrator.drain(&worker).await });
        match tokio::time::timeout(Duration::from_millis(100), &mut asked).await {
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

fn check_request(request: &NewProof) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(text));
    if !(-100..=100).contains(&request.priority) {
        return invalid(format!("priority {} is out of range: -100 to 100", request.priority));
    }
    if let Some(word) = request.nonce.iter().find(|word| **word >= NONCE_WORDS) {
        return invalid(format!("the nonce's word {word} is out of range: words are below {NONCE_WORDS}"));
    }
    if request.cycle_limit == Some(0) || request.cycle_limit.is_some_and(|limit| i64::try_from(limit).is_err()) {
        return invalid("cycle_limit is out of range: at least 1; leave it out for no limit".to_owned());
    }
    if request.timeout_seconds.is_some_and(|seconds| !(1..=LONGEST_TIMEOUT).contains(&seconds)) {
        return invalid(format!("timeout_seconds is out of range: 1 to {LONGEST_TIMEOUT}; leave it out for no limit"));
    }
    if let Some(key) = &request.idempotency_key
        && (key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control))
    {
        return invalid(format!("idempotency_key is 1 to {LONGEST_KEY} bytes of printable text"));
    }
    Ok(())
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
        let accepted = self.database.add_proof(&new_id()?, request, program, &input, &self.settings.options)?;
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
        let free = free_bytes(&self.settings.state);
        if free.is_some_and(|free| free < self.settings.free_bytes) { Err(Refusal::DiskFull) } else { Ok(()) }
    }

    /// Keeps an event, and tells whoever watches.
    async fn tell(self: &Arc<Self>, proof: &str, event: ProofEvent) {
        let Some(counter) = self.counter(proof).await else { return };
        let record = EventRecord { number: counter.fetch_add(1, Ordering::Relaxed) + 1, at: Moment::now(), event };
        // The writer ends after everything that tells.
        let _ = self.events.send((proof.to_owned(), record)).await;
    }

    /// Counts the events of a proof, on from those of earlier processes.
    async fn counter(self: &Arc<Self>, proof: &str) -> Option<Arc<AtomicU64>> {
        if let Some(counter) = lock(&self.numbers).get(proof) {
            return Some(counter.clone());
        }
        let (inner, owned) = (self.clone(), proof.to_owned());
        let last = tokio::task::spawn_blocking(move || inner.database.last_event(&owned));
        match last.await.expect("work on the state does not panic") {
            Ok(last) => {
                let mut numbers = lock(&self.numbers);
                Some(numbers.entry(proof.to_owned()).or_insert_with(|| Arc::new(AtomicU64::new(last))).clone())
            }
            Err(error) => {
                tracing::warn!(%proof, %error, "count a proof's events; this one is not kept");
                None
            }
        }
    }

    /// Begins proofs as long as there is room for them, until the service stops.
    async fn dispatch(self: Arc<Self>) {
        loop {
            while lock(&self.running).len() < self.settings.running.max(1) && !self.stop.is_cancelled() {
                let inner = self.clone();
                let begun = tokio::task::spawn_blocking(move || inner.database.begin_next());
                match begun.await.expect("work on the state does not panic") {
                    Ok(Some(job)) => {
                        let live = Arc::new(Live { cancel: CancellationToken::new(), tasks: Mutex::default() });
                        lock(&self.running).insert(job.proof.id.clone(), live.clone());
                        self.tasks.spawn(self.clone().run(job, live));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%error, "begin a proof; trying again");
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

    /// Ends what has waited for too long.
    async fn fail_expired(self: &Arc<Self>) {
        let inner = self.clone();
        let expired = tokio::task::spawn_blocking(move || inner.database.fail_expired(Moment::now()));
        match expired.await.expect("work on the state does not panic") {
            Ok(expired) => {
                for id in expired {
                    let failure =
                        Some(FailureInfo { kind: "timeout".to_owned(), text: "it waited for too long".to_owned() });
                    self.tell(&id, ProofEvent::Finished { state: ProofState::Failed, failure }).await;
                    lock(&self.numbers).remove(&id);
                }
            }
            Err(error) => tracing::warn!(%error, "look for proofs that have waited for too long"),
        }
    }

    /// Runs a proof to its end, or until the service stops.
    async fn run(self: Arc<Self>, job: Job, live: Arc<Live>) {
        let id = job.proof.id.clone();
        tracing::info!(proof = %id, start = job.proof.starts, mode = job.proof.mode.name(), "proof begun");
        self.tell(&id, ProofEvent::Started { start: job.proof.starts }).await;
        let began = Instant::now();
        let mode = job.proof.mode.name();
        // A panic is this proof's end, and nobody else's.
        let outcome = tokio::spawn(self.clone().prove(job, live.clone())).await;
        let outcome = outcome.unwrap_or_else(|error| Err(ProofFailure::Internal(error.to_string())));
        let stopped = self.stop.is_cancelled() && !live.cancel.is_cancelled();
        let ending = match outcome {
            Ok(proven) => self.clone().keep(proven).await,
            // Whatever it failed of, the next start tells better.
            Err(_) if stopped => None,
            Err(ProofFailure::Cancelled) => Some(Ending::Cancelled),
            Err(failure) => Some(Ending::Failed(FailureInfo::from(&failure))),
        };
        let Some(ending) = ending else {
            tracing::info!(proof = %id, "the service stops; the proof goes on at its next start");
            let inner = self.clone();
            let put_back = tokio::task::spawn_blocking(move || inner.database.put_back(&id));
            if let Err(error) = put_back.await.expect("work on the state does not panic") {
                tracing::warn!(%error, "put a proof back; it counts as one that the service was killed with");
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
        let host = |error: BlobError| ProofFailure::Host(error.to_string());
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
        };
        let (progress, news) = broadcast::channel(EVENTS_OF_PROOF);
        let following = tokio::spawn(self.clone().follow(job.proof.id, live.clone(), news));
        let proven = self.orchestrator.prove(request, self.controller.clone(), progress, live.cancel.clone()).await;
        // It ends with the last event.
        let _ = following.await;
        proven
    }

    /// Keeps what happens to a proof.
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
                    tracing::warn!(proof = %id, missed, "events came faster than they could be kept");
                    continue;
                }
            };
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

    /// Puts a finished proof on the disk, when that has room for it; `None` when the service stops before.
    async fn keep(self: Arc<Self>, proven: Proven) -> Option<Ending> {
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
                Err(error @ BlobError::Full { .. }) => tracing::warn!(%error, "a finished proof waits for room"),
                Err(error) => {
                    let text = format!("the finished proof could not be kept: {error}");
                    return Some(Ending::Failed(FailureInfo { kind: "host".to_owned(), text }));
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(5 * LOOKS) => {}
            }
        }
    }

    /// Says in the database how a proof ended; as often as it takes, since a proof whose end is not kept would be proven again.
    async fn finish(self: Arc<Self>, id: &str, ending: Ending, live: &Live, began: Instant) {
        let (state, tasks) = (ending.state(), *lock(&live.tasks));
        let failure = match &ending {
            Ending::Failed(failure) => Some(failure.clone()),
            Ending::Done { .. } | Ending::Cancelled => None,
        };
        loop {
            let (inner, id, ending) = (self.clone(), id.to_owned(), ending.clone());
            let ended = tokio::task::spawn_blocking(move || inner.database.end(&id, &ending, tasks));
            match ended.await.expect("work on the state does not panic") {
                Ok(_) => break,
                Err(error) => tracing::error!(%error, "keep how a proof ended; trying again"),
            }
            tokio::select! {
                // The next start proves it again, from what is remembered.
                () = self.stop.cancelled() => return,
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
        let seconds = began.elapsed().as_secs_f32();
        match &failure {
            None => tracing::info!(proof = %id, state = state.name(), seconds, "proof ended"),
            Some(failure) => {
                tracing::warn!(proof = %id, state = state.name(), seconds, failure = %failure.text, "proof ended")
            }
        }
        self.tell(id, ProofEvent::Finished { state, failure }).await;
    }

    /// Removes what need not be kept any more, now and then.
    async fn clean_up(self: Arc<Self>) {
        loop {
            let inner = self.clone();
            let cleaned = tokio::task::spawn_blocking(move || inner.clean());
            if let Err(error) = cleaned.await.expect("work on the state does not panic") {
                tracing::warn!(%error, "remove what need not be kept any more");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(CLEANING) => {}
            }
        }
    }

    fn clean(&self) -> Result<(), DatabaseError> {
        let keep = i64::try_from(self.settings.keep.as_millis()).unwrap_or(i64::MAX);
        let undisturbed = lock(&self.housekeeping);
        let removed = self.database.remove_ended(Moment(Moment::now().0.saturating_sub(keep)))?;
        let needed = self.database.needed_blobs()?;
        let now = SystemTime::now();
        let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age > UNUSED);
        let unused = self.blobs.list().into_iter().filter(|(digest, time)| !needed.contains(digest) && is_old(*time));
        let unused: Vec<String> = unused.map(|(digest, _)| digest).collect();
        unused.iter().for_each(|digest| self.blobs.remove(digest));
        drop(undisturbed);
        self.memo.clean();
        self.database.shrink()?;
        if removed > 0 || !unused.is_empty() {
            tracing::info!(proofs = removed, files = unused.len(), "removed what need not be kept any more");
        }
        Ok(())
    }
}

/// Free bytes of the disk with `path`; `None` when the system does not say.
fn free_bytes(path: &std::path::Path) -> Option<u64> {
    let described = rustix::fs::statvfs(path).ok()?;
    Some(described.f_bavail.saturating_mul(described.f_frsize))
}

/// Writes events, many at a time, until the service is gone and all are written.
async fn write_events(inner: Arc<Inner>, mut events: mpsc::Receiver<(String, EventRecord)>) {
    let mut batch = Vec::new();
    loop {
        let stopped = inner.tasks.is_closed() && inner.tasks.is_empty();
        let came = tokio::select! {
            came = events.recv_many(&mut batch, 4096) => came,
            () = async {
                inner.stop.cancelled().await;
                // What tells the last events ends only now.
                sleep(GATHERING).await;
            } => 0,
        };
        if came == 0 {
            if stopped {
                return;
            }
            continue;
        }
        let (writer, written) = (inner.clone(), std::mem::take(&mut batch));
        let outcome = tokio::task::spawn_blocking(move || writer.database.add_events(&written)).await;
        if let Err(error) = outcome.expect("work on the state does not panic") {
            tracing::warn!(%error, events = came, "keep events; these are lost");
        }
        inner.written.send_modify(|count| *count += 1);
        sleep(GATHERING).await;
    }
}
