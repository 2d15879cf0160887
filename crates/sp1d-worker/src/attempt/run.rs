//! Runs one attempt, and reports how it ended.

use super::{
    held::HeldAttempt,
    io::{AttemptLink, SessionIo},
    journal::AttemptJournal,
    report::AttemptReport,
    slots::EngineSlots,
};
use crate::engine::{AttemptError, MemoryUse, ProvingEngine};
use futures::FutureExt;
use sp1d_protocol::{Assignment, FailureKind};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

/// One attempt, with everything that it needs to run.
pub(super) struct AttemptRun {
    pub(super) held: HeldAttempt,
    pub(super) link: AttemptLink,
    pub(super) engine: Arc<dyn ProvingEngine>,
    pub(super) slots: EngineSlots,
    pub(super) assignment: Assignment,
    /// The worker supports the kind of the task.
    pub(super) is_supported: bool,
}

/// The time and memory that a successful attempt took.
struct AttemptCost {
    proving_ms: u64,
    /// `None` if the memory was not measured.
    memory: Option<MemoryUse>,
}

impl AttemptRun {
    /// Runs the attempt until it ends or is cancelled, and reports its outcome.
    pub(super) async fn run(self) {
        let Self { held, link, engine, slots, assignment, is_supported } = self;
        let started = Instant::now();
        let proved =
            AssertUnwindSafe(prove(link, &held.journal, engine, slots, assignment, is_supported)).catch_unwind();
        let outcome = tokio::select! {
            // Check cancellation first. It also fails the requests that the attempt waits for, and those failures must
            // not be reported as failures of this worker.
            biased;
            () = held.cancel.cancelled() => None,
            outcome = proved => Some(outcome.unwrap_or_else(|_| {
                let text = "the worker's log has the panic message".to_owned();
                Err(AttemptError { kind: FailureKind::Panic, text })
            })),
        };
        match outcome {
            Some(Ok(AttemptCost { proving_ms, memory })) => {
                let proving_seconds = proving_ms as f64 / 1000.0;
                let seconds = started.elapsed().as_secs_f32();
                let gigabytes = |bytes: u64| (bytes / 10_000_000) as f64 / 100.0;
                let used_gb = memory.map(|memory| gigabytes(memory.used_bytes));
                let estimated_gb = memory.map(|memory| gigabytes(memory.estimated_bytes));
                tracing::info!(seconds, proving_seconds, used_gb, estimated_gb, "attempt proven");
                held.journal.report(AttemptReport::Done(proving_ms)).await;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "attempt failed");
                held.journal.report(AttemptReport::Failed(error)).await;
            }
            None => tracing::info!("attempt cancelled"),
        }
    }
}

async fn prove(
    link: AttemptLink,
    journal: &Arc<AttemptJournal>,
    engine: Arc<dyn ProvingEngine>,
    slots: EngineSlots,
    assignment: Assignment,
    is_supported: bool,
) -> Result<AttemptCost, AttemptError> {
    let kind = assignment.payload.kind();
    if !is_supported {
        let text = format!("this worker does not support {kind} tasks");
        return Err(AttemptError { kind: FailureKind::Unsupported, text });
    }
    let io = SessionIo::prefetch(link, journal.clone(), &assignment).await;
    let io = io.map_err(|error| AttemptError { kind: FailureKind::Input, text: error.to_string() })?;
    let slot = slots.take().await;
    engine.ready().await;
    let _reservation = match assignment.memory_bytes {
        0 => None,
        bytes => slots.reservations.reserve(kind, bytes).await,
    };
    journal.report(AttemptReport::Started).await;
    let (started, io) = (Instant::now(), Arc::new(io));
    let outcome = engine.run(slot.number, assignment, io.clone()).await;
    let memory = io.memory();
    if let Some(memory) = memory {
        // Record failed attempts too: memory may be the reason for the failure.
        slots.reservations.observe(kind, memory);
    }
    outcome?;
    let proving_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(AttemptCost { proving_ms, memory })
}
