//! The attempts a worker holds.

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

/// Places inside the engine, first come first served, and the memory to prove in them. They outlive a session, as what
/// it left inside the engine does.
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

    /// True when nothing is inside the engine.
    fn are_free(&self) -> bool {
        self.permits.available_permits() == self.count
    }

    async fn take(&self) -> Slot {
        let permit = self.permits.clone().acquire_owned().await.expect("the slots are never closed");
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("a permit is a free number");
        Slot { number, free: self.free.clone(), _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Before the permit, which is a field and goes after this body.
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

/// The attempts that one orchestrator has given, over all its sessions.
pub(crate) struct Attempts {
    engine: Arc<dyn ProvingEngine>,
    slots: Slots,
    kinds: KindSet,
    cache: Arc<Mutex<Cache>>,
    held: Arc<Mutex<BTreeMap<AttemptId, Held>>>,
    /// Of an earlier run of the orchestrator, by their first numbers, and until when they wait for a later one.
    begun: Arc<Mutex<BTreeMap<AttemptId, (Held, Instant)>>>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// One attempt: it runs, or the orchestrator has not yet heard how it ended.
#[derive(Clone)]
struct Held {
    said: Arc<Said>,
    cancel: CancellationToken,
    key: Option<Digest>,
    /// The number that it began under, which is in the names of what it makes.
    first: AttemptId,
}

/// How long attempts wait for an orchestrator that was restarted to ask for them: an execution that goes through what
/// was done before takes its time.
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

    /// Begins an attempt that `session` has given.
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
                let text = format!("the worker holds {} attempts already, or this very one", all.len());
                let error = AttemptError { kind: FailureKind::Unsupported, text };
                let message = Saying::Failed(error).message(attempt);
                // An orchestrator that reads nothing either is given up by its silence.
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
                    // First: what a cancelled attempt still waits for fails at that moment too, and is no failure of
                    // this worker.
                    biased;
                    () = held.cancel.cancelled() => None,
                    outcome = AssertUnwindSafe(run(link, &held.said, engine, slots, assignment, able)).catch_unwind() => {
                        Some(outcome.unwrap_or_else(|_| {
                            let text = "the engine panicked; the worker's log has the details".to_owned();
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

    /// Goes on with the attempt of an earlier run that began as `first`, under the number it has on `line`; false when
    /// it is not there any more, or another task's.
    fn resume(&self, first: AttemptId, key: Option<Digest>, line: Line) -> bool {
        let (found, _) = match lock(&self.begun).entry(first) {
            Entry::Occupied(entry) if entry.get().0.key == key => entry.remove(),
            Entry::Occupied(_) | Entry::Vacant(_) => return false,
        };
        if !found.said.outlives_its_orchestrator() {
            found.cancel.cancel();
            return false;
        }
        tracing::info!(attempt = %line.attempt, %first, "the orchestrator was restarted: attempt goes on");
        // At once: the session may end before anything is said in it, and the next one goes by this name.
        found.said.rename(line.attempt, line.outputs.clone());
        if let Some(replaced) = self.held().insert(line.attempt, found.clone()) {
            replaced.cancel.cancel();
        }
        self.attach(found, line);
        true
    }

    /// Has `line` told of `held`. That can take a while: there may be megabytes to deliver.
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

    /// Drops an attempt, if it is still there.
    pub(crate) fn cancel(&self, attempt: AttemptId) {
        let held = self.held().remove(&attempt);
        if let Some(held) = held {
            held.cancel.cancel();
        }
    }

    /// The orchestrator has heard how an attempt ended.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.held().remove(&attempt);
    }

    /// What a new session is offered.
    pub(crate) fn offers(&self) -> Vec<AttemptId> {
        self.held().keys().copied().collect()
    }

    /// What a session with an orchestrator that was restarted is offered.
    pub(crate) fn begun(&self) -> Vec<(AttemptId, Digest)> {
        let begun = lock(&self.begun);
        begun.iter().filter_map(|(first, (held, _))| Some((*first, held.key?))).collect()
    }

    /// `session` has an attempt of an earlier one.
    pub(crate) fn adopt(&self, session: &Session, attempt: AttemptId) {
        let Some(held) = self.held().get(&attempt).cloned() else { return };
        tracing::info!(%attempt, "attempt goes on in a new session");
        let line = held.said.line_on(session);
        self.attach(held, line);
    }

    /// The orchestrator was restarted, and its numbers mean nothing any more. What it may ask for again is kept for a
    /// while; the rest is dropped.
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
            "the orchestrator was restarted: going on, in case it asks for the same again"
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

    /// The session is over, and the next may go on with what is held.
    pub(crate) fn detach(&self) {
        self.held().values().for_each(|held| held.said.detach());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty() && lock(&self.begun).is_empty()
    }

    /// True when nothing of it runs, and nothing will.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.tasks.is_closed() && self.tasks.is_empty()
    }

    /// Drops everything at once, and waits until what the engine kept for more is given back: seconds, when it is
    /// gigabytes.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.held().clear();
        lock(&self.begun).clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Gives memory back that the engine keeps for the next attempt: when it has had none for a while, and at once when
/// another worker of this host waits for memory; and at `end`.
async fn give_back_when_idle(engine: Arc<dyn ProvingEngine>, slots: Slots, end: CancellationToken) {
    /// How often it is looked.
    const PAUSE: Duration = Duration::from_secs(1);
    /// The next shard comes within moments, if it comes.
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
        let text = format!("this worker does not do {}", assignment.kind);
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
        // Of a failed attempt too: it may have failed for that.
        slots.memory.observe(kind, memory);
    }
    ran?;
    let proving_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ran { proving_ms, memory })
}

/// What an attempt took.
struct Ran {
    proving_ms: u64,
    /// `None` if nobody looked.
    memory: Option<MemoryUse>,
}
