//! The attempts a worker holds.

use crate::{
    cache::Cache,
    engine::{AttemptError, ProvingEngine},
    ledger::{Ledger, resident_bytes},
    said::{Said, Saying},
    transfer::{Link, Session, SessionIo},
};
use futures::FutureExt;
use protocol::{
    Assignment, FailureKind, Limits,
    wire::{self, from_worker::Message},
};
use scheduler::{AttemptId, KindSet};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Places inside the engine, first come first served, and the memory to prove in them. They outlive a session, as what it left inside the engine does.
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
    pub(crate) fn new(count: usize) -> Self {
        let count = count.max(1);
        Self {
            count,
            memory: Ledger::of_host(),
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
    tasks: TaskTracker,
    end: CancellationToken,
}

/// One attempt: it runs, or the orchestrator has not yet heard how it ended.
#[derive(Clone)]
struct Held {
    said: Arc<Said>,
    cancel: CancellationToken,
}

impl Attempts {
    pub(crate) fn new(engine: Arc<dyn ProvingEngine>, slots: Slots, kinds: KindSet, cache: Arc<Mutex<Cache>>) -> Self {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(give_back_when_idle(engine.clone(), slots.clone(), end.clone()));
        Self { engine, slots, kinds, cache, held: Arc::default(), tasks, end }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an attempt that `session` has given.
    pub(crate) fn begin(&self, session: &Session, assignment: Assignment) {
        let attempt = assignment.attempt;
        let held = Held { said: Arc::new(Said::new(session.clone())), cancel: self.end.child_token() };
        {
            let mut all = self.held();
            if all.len() >= Limits::HELD_ATTEMPTS || all.contains_key(&attempt) {
                let text = format!("the worker holds {} attempts already, or this very one", all.len());
                let error = AttemptError { kind: FailureKind::Unsupported, text };
                let message = Message::Failed(failed(attempt, error));
                // An orchestrator that reads nothing either is given up by its silence.
                let _ = session.outbox.try_send(wire::FromWorker { message: Some(message) });
                return;
            }
            all.insert(attempt, held.clone());
        }
        let able = self.kinds.contains(assignment.kind);
        let span = tracing::info_span!("attempt", %attempt, proof_id = %assignment.proof, kind = %assignment.kind);
        let link = Link {
            session: held.said.session(),
            cache: self.cache.clone(),
            runtime: Handle::current(),
            end: held.cancel.clone(),
        };
        let (engine, slots) = (self.engine.clone(), self.slots.clone());
        self.tasks.spawn(
            async move {
                let began = Instant::now();
                let outcome = tokio::select! {
                    // First: what a cancelled attempt still waits for fails at that moment too, and is no failure of this worker.
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
                    Some(Ok(Ran { proving_ms, peak_bytes })) => {
                        let proving_seconds = proving_ms as f64 / 1000.0;
                        let resident_gb = (peak_bytes / 10_000_000) as f64 / 100.0;
                        let seconds = began.elapsed().as_secs_f32();
                        tracing::info!(seconds, proving_seconds, resident_gb, "attempt done");
                        let done = Message::Done(wire::Done { attempt: attempt.0, proving_ms });
                        held.said.say(Saying::Outcome, done).await;
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "attempt failed");
                        held.said.say(Saying::Outcome, Message::Failed(failed(attempt, error))).await;
                    }
                    None => tracing::info!("attempt cancelled"),
                }
            }
            .instrument(span),
        );
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

    /// `session` has an attempt of an earlier one.
    pub(crate) async fn adopt(&self, session: &Session, attempt: AttemptId) {
        let held = self.held().get(&attempt).cloned();
        if let Some(held) = held {
            tracing::info!(%attempt, "attempt goes on in a new session");
            held.said.attach(session.clone()).await;
        }
    }

    /// The session is over, and the next may go on with what is held.
    pub(crate) fn detach(&self) {
        self.held().values().for_each(|held| held.said.detach());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// True when nothing of it runs, and nothing will.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.tasks.is_closed() && self.tasks.is_empty()
    }

    /// Drops everything at once, and waits until what the engine kept for more is given back: seconds, when it is gigabytes.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.held().clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn failed(attempt: AttemptId, error: AttemptError) -> wire::Failed {
    let mut text = error.text;
    text.truncate(text.floor_char_boundary(Limits::FAILURE_BYTES));
    wire::Failed { attempt: attempt.0, kind: wire::FailureKind::from(error.kind).into(), text }
}

/// Gives memory back that the engine keeps for the next attempt: when it has had none for a while, and at once when another worker of this host waits
/// for memory; and at `end`.
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
    let attempt = assignment.attempt;
    if !able {
        let text = format!("this worker does not do {}", assignment.kind);
        return Err(AttemptError { kind: FailureKind::Unsupported, text });
    }
    let io = SessionIo::prefetch(link, said.clone(), attempt, &assignment.inputs).await;
    let io = io.map_err(|error| AttemptError { kind: FailureKind::Input, text: error.to_string() })?;
    let slot = slots.take().await;
    let _memory = match assignment.memory_bytes {
        0 => None,
        bytes => slots.memory.reserve(bytes).await,
    };
    said.say(Saying::Started, Message::Started(wire::Started { attempt: attempt.0 })).await;
    let began = Instant::now();
    let mut proving = engine.run(slot.number, assignment, Arc::new(io));
    let (mut look, mut peak_bytes) = (interval(LOOK), 0);
    loop {
        tokio::select! {
            ran = &mut proving => break ran?,
            _ = look.tick() => peak_bytes = peak_bytes.max(resident_bytes(process::id()).unwrap_or(0)),
        }
    }
    let proving_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ran { proving_ms, peak_bytes })
}

/// How often the memory of a running attempt is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What an attempt took.
struct Ran {
    proving_ms: u64,
    /// Most memory of the whole process meanwhile, with what it had freed and the system had not taken.
    peak_bytes: u64,
}
