//! The attempts that a worker runs, or keeps for its orchestrator.

use crate::{
    cache::Cache,
    engine::{AttemptError, MemoryUse, ProvingEngine},
    ledger::Ledger,
    said::{Line, Said, Saying},
    transfer::{Link, Session, SessionIo},
};
use artifacts::Digest;
use futures::FutureExt;
use protocol::{Assignment, FailureKind, Limits, wire};
use scheduler::{AttemptId, KindSet};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The engine's slots, granted in order of arrival, and the ledger in which attempts reserve memory. Slots outlive a
/// session, because its attempts may still run in the engine.
#[derive(Clone)]
pub(crate) struct Slots {
    count: usize,
    memory: Ledger,
    free: Arc<Mutex<Vec<usize>>>,
    permits: Arc<Semaphore>,
}

struct Slot {
    number: usize,
    free: Arc<Mutex<Vec<usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(crate) fn new(engine: &Arc<dyn ProvingEngine>, memory: Ledger) -> Self {
        let count = engine.slots().max(1);
        memory.set_engine(engine);
        Self {
            count,
            memory,
            free: Arc::new(Mutex::new((0..count).rev().collect())),
            permits: Arc::new(Semaphore::new(count)),
        }
    }

    /// Returns true if no attempt holds a slot.
    fn are_free(&self) -> bool {
        self.permits.available_permits() == self.count
    }

    async fn take(&self) -> Slot {
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("a permit grants a number");
        Slot { number, free: self.free.clone(), _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The number must be free before the permit is. Fields are dropped after this body, so the permit follows.
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

/// The attempts that one orchestrator has assigned, over all its sessions.
pub(crate) struct Attempts {
    engine: Arc<dyn ProvingEngine>,
    slots: Slots,
    kinds: KindSet,
    cache: Arc<Mutex<Cache>>,
    held: Arc<Mutex<BTreeMap<AttemptId, Held>>>,
    /// Attempts of an earlier run of the orchestrator, by their first numbers. Each is kept until the given time, so
    /// that a later run can resume it.
    begun: Arc<Mutex<BTreeMap<AttemptId, (Held, Instant)>>>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// One attempt. It is running, or the orchestrator has not yet confirmed its outcome.
#[derive(Clone)]
struct Held {
    said: Arc<Said>,
    cancel: CancellationToken,
    key: Option<Digest>,
    /// The number under which the attempt started. The names of artifacts that it makes contain this number.
    first: AttemptId,
}

/// How long attempts are kept for a restarted orchestrator. The orchestrator executes the program again before it asks
/// for them, which takes time.
const MEMORY: Duration = Duration::from_secs(15 * 60);

type All = BTreeMap<AttemptId, Held>;

fn lock<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempts {
    pub(crate) fn new(engine: Arc<dyn ProvingEngine>, slots: Slots, kinds: KindSet, cache: Arc<Mutex<Cache>>) -> Self {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(give_back_when_idle(engine.clone(), slots.clone(), end.clone()));
        Self { engine, slots, kinds, cache, held: Arc::default(), begun: Arc::default(), tasks, end }
    }

    fn held(&self) -> MutexGuard<'_, All> {
        lock(&self.held)
    }

    /// Starts an attempt that `session` has assigned, or resumes the earlier attempt that the assignment names.
    pub(crate) fn begin(&self, session: &Session, assignment: Assignment) {
        let attempt = assignment.attempt;
        let line = Line { session: session.clone(), attempt, outputs: assignment.outputs.clone().into() };
        if let Some(resumes) = assignment.resumes
            && self.resume(resumes, assignment.key, line.clone())
        {
            return;
        }
        let key = assignment.key;
        let said = Arc::new(Said::new(line, key.is_some()));
        let held = Held { said, cancel: self.end.child_token(), key, first: attempt };
        {
            let mut all = self.held();
            if all.len() >= Limits::HELD_ATTEMPTS || all.contains_key(&attempt) {
                let text = match all.len() {
                    _ if all.contains_key(&attempt) => format!("the worker already has attempt {attempt}"),
                    held => format!("the worker already has the maximum of {held} attempts"),
                };
                let error = AttemptError { kind: FailureKind::Unsupported, text };
                let message = Saying::Failed(error).message(attempt);
                // If the outbox is full, the orchestrator reads nothing. The session then ends because of its silence.
                let _ = session.outbox.try_send(wire::FromWorker { message: Some(message) });
                return;
            }
            all.insert(attempt, held.clone());
        }
        let able = self.kinds.contains(assignment.kind);
        let span = tracing::info_span!("attempt", %attempt, proof_id = %assignment.proof, kind = %assignment.kind);
        let link = Link {
            line: held.said.line(),
            cache: self.cache.clone(),
            runtime: Handle::current(),
            end: held.cancel.clone(),
        };
        let (engine, slots) = (self.engine.clone(), self.slots.clone());
        self.tasks.spawn(
            async move {
                let began = Instant::now();
                let outcome = tokio::select! {
                    // Check cancellation first. It also fails the requests that the attempt waits for, and those
                    // failures must not be reported as failures of this worker.
                    biased;
                    () = held.cancel.cancelled() => None,
                    outcome = AssertUnwindSafe(run(link, &held.said, engine, slots, assignment, able)).catch_unwind() => {
                        Some(outcome.unwrap_or_else(|_| {
                            let text = "the worker's log has the panic message".to_owned();
                            Err(AttemptError { kind: FailureKind::Panic, text })
                        }))
                    }
                };
                match outcome {
                    Some(Ok(Ran { proving_ms, memory })) => {
                        let proving_seconds = proving_ms as f64 / 1000.0;
                        let seconds = began.elapsed().as_secs_f32();
                        let gigabytes = |bytes: u64| (bytes / 10_000_000) as f64 / 100.0;
                        let used_gb = memory.map(|memory| gigabytes(memory.used_bytes));
                        let estimated_gb = memory.map(|memory| gigabytes(memory.estimated_bytes));
                        tracing::info!(seconds, proving_seconds, used_gb, estimated_gb, "attempt done");
                        held.said.say(Saying::Done(proving_ms)).await;
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "attempt failed");
                        held.said.say(Saying::Failed(error)).await;
                    }
                    None => tracing::info!("attempt cancelled"),
                }
            }
            .instrument(span),
        );
    }

    /// Resumes the attempt that an earlier run of the orchestrator started as `first`. It continues under its number on
    /// `line`. Returns false if the worker no longer has the attempt, cannot resume it, or has it with another key.
    fn resume(&self, first: AttemptId, key: Option<Digest>, line: Line) -> bool {
        let (found, _) = match lock(&self.begun).entry(first) {
            Entry::Occupied(entry) if entry.get().0.key == key => entry.remove(),
            Entry::Occupied(_) | Entry::Vacant(_) => return false,
        };
        if !found.said.outlives_its_orchestrator() {
            found.cancel.cancel();
            return false;
        }
        tracing::info!(attempt = %line.attempt, %first, "attempt continues after a restart of the orchestrator");
        // Rename at once: the session may end before it reports anything, and the next session uses the new number.
        found.said.rename(line.attempt, line.outputs.clone());
        if let Some(replaced) = self.held().insert(line.attempt, found.clone()) {
            replaced.cancel.cancel();
        }
        self.attach(found, line);
        true
    }

    /// Sends the journal of `held` over `line`, in a separate task: there may be megabytes to deliver.
    fn attach(&self, held: Held, line: Line) {
        self.tasks.spawn(async move {
            let attached = tokio::select! {
                () = held.cancel.cancelled() => return,
                attached = held.said.attach(line) => attached,
            };
            if let Err(error) = attached {
                tracing::warn!(%error, "attempt failed");
                held.cancel.cancel();
                held.said.say(Saying::Failed(error)).await;
            }
        });
    }

    /// Cancels an attempt, if the worker still has it.
    pub(crate) fn cancel(&self, attempt: AttemptId) {
        let held = self.held().remove(&attempt);
        if let Some(held) = held {
            held.cancel.cancel();
        }
    }

    /// Removes an attempt whose outcome the orchestrator has confirmed.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.held().remove(&attempt);
    }

    /// Returns the attempts that a new session with the same orchestrator can adopt.
    pub(crate) fn offers(&self) -> Vec<AttemptId> {
        self.held().keys().copied().collect()
    }

    /// Returns the attempts that a restarted orchestrator can resume, each with its key.
    pub(crate) fn begun(&self) -> Vec<(AttemptId, Digest)> {
        let begun = lock(&self.begun);
        begun.iter().filter_map(|(first, (held, _))| Some((*first, held.key?))).collect()
    }

    /// Continues `attempt` of an earlier session in `session`.
    pub(crate) fn adopt(&self, session: &Session, attempt: AttemptId) {
        let Some(held) = self.held().get(&attempt).cloned() else { return };
        tracing::info!(%attempt, "attempt continues in a new session");
        let line = held.said.line_on(session);
        self.attach(held, line);
    }

    /// Handles a restart of the orchestrator, after which its attempt numbers are invalid. Attempts that it can resume
    /// are kept for `MEMORY`. The others are cancelled.
    pub(crate) fn outlive_orchestrator(&self) {
        let held = std::mem::take(&mut *self.held());
        let (kept, dropped): (All, All) =
            held.into_iter().partition(|(_, held)| held.key.is_some() && held.said.outlives_its_orchestrator());
        dropped.into_values().for_each(|held| held.cancel.cancel());
        if kept.is_empty() {
            return;
        }
        tracing::info!(
            attempts = kept.len(),
            seconds = MEMORY.as_secs(),
            "attempts continue for the restarted orchestrator"
        );
        let until = Instant::now() + MEMORY;
        lock(&self.begun).extend(kept.into_values().map(|held| (held.first, (held, until))));
        let (begun, end) = (self.begun.clone(), self.end.clone());
        self.tasks.spawn(async move {
            if timeout(MEMORY, end.cancelled()).await.is_err() {
                let late = |_: &AttemptId, (_, until): &mut (Held, Instant)| *until <= Instant::now();
                lock(&begun).extract_if(.., late).for_each(|(_, (held, _))| held.cancel.cancel());
            }
        });
    }

    /// Detaches all attempts from the session that has ended. The next session can adopt them.
    pub(crate) fn detach(&self) {
        self.held().values().for_each(|held| held.said.detach());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty() && lock(&self.begun).is_empty()
    }

    /// Returns true if no task of this value is running and none can start.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.tasks.is_closed() && self.tasks.is_empty()
    }

    /// Cancels all attempts, then waits until the engine has given back the memory that it kept for further attempts.
    /// That takes seconds if there are gigabytes.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.held().clear();
        lock(&self.begun).clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Makes the engine give back the memory that it keeps for the next attempt. This happens when no attempt has run for
/// `IDLE`, when another worker on this host waits for memory, and at `end`.
async fn give_back_when_idle(engine: Arc<dyn ProvingEngine>, slots: Slots, end: CancellationToken) {
    /// How often the conditions are checked.
    const PAUSE: Duration = Duration::from_secs(1);
    /// If there is another shard, it usually arrives much sooner than this.
    const IDLE: Duration = Duration::from_secs(20);
    let mut idle_since = None;
    let mut kept = false;
    loop {
        let ended = timeout(PAUSE, end.cancelled()).await.is_ok();
        if slots.are_free() {
            let since: Instant = *idle_since.get_or_insert_with(Instant::now);
            if kept && (ended || since.elapsed() >= IDLE || slots.memory.others_wait()) {
                kept = false;
                let engine = engine.clone();
                let _ = tokio::task::spawn_blocking(move || engine.give_back()).await;
            }
        } else {
            (idle_since, kept) = (None, true);
        }
        if ended {
            return;
        }
    }
}

async fn run(
    link: Link,
    said: &Arc<Said>,
    engine: Arc<dyn ProvingEngine>,
    slots: Slots,
    assignment: Assignment,
    able: bool,
) -> Result<Ran, AttemptError> {
    if !able {
        let text = format!("this worker does not support {} tasks", assignment.kind);
        return Err(AttemptError { kind: FailureKind::Unsupported, text });
    }
    let io = SessionIo::prefetch(link, said.clone(), &assignment).await;
    let io = io.map_err(|error| AttemptError { kind: FailureKind::Input, text: error.to_string() })?;
    let slot = slots.take().await;
    engine.ready().await;
    let kind = assignment.kind;
    let _memory = match assignment.memory_bytes {
        0 => None,
        bytes => slots.memory.reserve(kind, bytes).await,
    };
    said.say(Saying::Started).await;
    let (began, io) = (Instant::now(), Arc::new(io));
    let ran = engine.run(slot.number, assignment, io.clone()).await;
    let memory = io.memory();
    if let Some(memory) = memory {
        // Record failed attempts too: memory may be the reason for the failure.
        slots.memory.observe(kind, memory);
    }
    ran?;
    let proving_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ran { proving_ms, memory })
}

/// The time and memory that a successful attempt took.
struct Ran {
    proving_ms: u64,
    /// `None` if the memory was not measured.
    memory: Option<MemoryUse>,
}
