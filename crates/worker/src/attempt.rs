//! The attempts a worker holds.

use crate::{
    engine::{AttemptError, ProvingEngine},
    ledger::Ledger,
    transfer::{Link, SessionIo},
};
use futures::FutureExt;
use protocol::{
    Assignment, FailureKind, Limits,
    wire::{self, from_worker},
};
use scheduler::{AttemptId, KindSet};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Places inside the engine, first come first served, and the memory to prove in them. They outlive a session, as what it left inside the engine does.
#[derive(Clone)]
pub(crate) struct Slots {
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
            memory: Ledger::of_host(),
            free: Arc::new(Mutex::new((0..count).rev().collect())),
            permits: Arc::new(Semaphore::new(count)),
        }
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

/// The attempts of one session.
pub(crate) struct Attempts {
    link: Link,
    engine: Arc<dyn ProvingEngine>,
    slots: Slots,
    kinds: KindSet,
    running: Arc<Mutex<BTreeMap<AttemptId, CancellationToken>>>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// More than any orchestrator gives: a flood ends here, not in memory.
const MOST_ATTEMPTS: usize = 256;

impl Attempts {
    pub(crate) fn new(link: Link, engine: Arc<dyn ProvingEngine>, slots: Slots, kinds: KindSet) -> Self {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        Self { link, engine, slots, kinds, running: Arc::default(), tasks, end }
    }

    /// Begins an attempt. What becomes of it is told through the link.
    pub(crate) fn begin(&self, assignment: Assignment) {
        let attempt = assignment.attempt;
        let cancel = self.end.child_token();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.len() >= MOST_ATTEMPTS || running.contains_key(&attempt) {
                let text = format!("the worker holds {} attempts already, or this very one", running.len());
                let error = AttemptError { kind: FailureKind::Unsupported, text };
                let message = from_worker::Message::Failed(failed(attempt, error));
                // An orchestrator that reads nothing either is given up by its silence.
                let _ = self.link.outbox.try_send(wire::FromWorker { message: Some(message) });
                return;
            }
            running.insert(attempt, cancel.clone());
        }
        let able = self.kinds.contains(assignment.kind);
        let span = tracing::info_span!("attempt", %attempt, proof = %assignment.proof, kind = %assignment.kind);
        let (link, engine, slots, running) =
            (self.link.clone(), self.engine.clone(), self.slots.clone(), self.running.clone());
        self.tasks.spawn(
            async move {
                let began = Instant::now();
                let outcome = tokio::select! {
                    outcome = AssertUnwindSafe(run(&link, engine, slots, assignment, able)).catch_unwind() => {
                        Some(outcome.unwrap_or_else(|_| {
                            let text = "the engine panicked; the worker's log has the details".to_owned();
                            Err(AttemptError { kind: FailureKind::Panic, text })
                        }))
                    }
                    () = cancel.cancelled() => None,
                };
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
                match outcome {
                    Some(Ok(proving_ms)) => {
                        let proving_seconds = proving_ms as f64 / 1000.0;
                        tracing::info!(seconds = began.elapsed().as_secs_f32(), proving_seconds, "attempt done");
                        link.tell(from_worker::Message::Done(wire::Done { attempt: attempt.0, proving_ms })).await;
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "attempt failed");
                        link.tell(from_worker::Message::Failed(failed(attempt, error))).await;
                    }
                    None => tracing::info!("attempt cancelled"),
                }
            }
            .instrument(span),
        );
    }

    /// Drops an attempt, if it is still there.
    pub(crate) fn cancel(&self, attempt: AttemptId) {
        if let Some(cancel) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt) {
            cancel.cancel();
        }
    }

    /// Drops everything.
    pub(crate) async fn end(self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn failed(attempt: AttemptId, error: AttemptError) -> wire::Failed {
    let mut text = error.text;
    text.truncate(text.floor_char_boundary(Limits::FAILURE_BYTES));
    wire::Failed { attempt: attempt.0, kind: wire::FailureKind::from(error.kind).into(), text }
}

async fn run(
    link: &Link,
    engine: Arc<dyn ProvingEngine>,
    slots: Slots,
    assignment: Assignment,
    able: bool,
) -> Result<u64, AttemptError> {
    let attempt = assignment.attempt;
    if !able {
        let text = format!("this worker does not do {}", assignment.kind);
        return Err(AttemptError { kind: FailureKind::Unsupported, text });
    }
    let io = SessionIo::prefetch(link.clone(), attempt, &assignment.inputs).await;
    let io = io.map_err(|error| AttemptError { kind: FailureKind::Input, text: error.to_string() })?;
    let slot = slots.take().await;
    let _memory = match assignment.memory_bytes {
        0 => None,
        bytes => slots.memory.reserve(bytes).await,
    };
    link.tell(from_worker::Message::Started(wire::Started { attempt: attempt.0 })).await;
    let began = Instant::now();
    engine.run(slot.number, assignment, Arc::new(io)).await?;
    Ok(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}
