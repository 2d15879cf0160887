//! Numbers and stores the events of proofs.

use super::service::{ServiceInner, WriterMessage, lock};
use sp1d_model::{EventRecord, Moment, ProofEvent};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

/// Pause of the writer between two batches. Events that arrive during the pause are written in one transaction. A flush
/// ends the pause.
const GATHERING: Duration = Duration::from_millis(100);

/// Longest wait of a request, and of a look at the queue, until the writer has stored all earlier events. The writer
/// waits while the database is locked or the disk is full.
pub(super) const MAX_FLUSH: Duration = Duration::from_secs(2);

impl ServiceInner {
    /// Numbers an event and sends it to the writer and to the proof's trace. Waits while the writer's channel is full.
    pub(super) async fn report(self: &Arc<Self>, proof: &str, event: ProofEvent) {
        let Some(counter) = self.counter(proof).await else { return };
        let record = EventRecord { number: counter.fetch_add(1, Ordering::Relaxed) + 1, at: self.clock.now(), event };
        self.trace(proof, record.at, &record.event);
        // The channel is open until the shutdown: the writer ends after all tokio tasks of the service.
        let _ = self.events.send(WriterMessage::Event { proof: proof.to_owned(), record }).await;
    }

    /// Adds an event to the trace of a running proof.
    pub(super) fn trace(&self, proof: &str, at: Moment, event: &ProofEvent) {
        let running = lock(&self.running).get(proof).cloned();
        if let Some(running) = running
            && let Some(spans) = lock(&running.spans).as_mut()
        {
            spans.note(at, event);
        }
    }

    /// Waits until the writer has processed all events that were reported before.
    pub(super) async fn flush_events(&self) {
        let (processed, done) = oneshot::channel();
        self.flush.notify_one();
        // After a shutdown there is no writer, and no event is waiting.
        if self.events.send(WriterMessage::Flush(processed)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Returns the event counter of a proof, which continues from the last event in the database. `None` if the
    /// database fails for good.
    async fn counter(self: &Arc<Self>, proof: &str) -> Option<Arc<AtomicU64>> {
        if let Some(counter) = lock(&self.numbers).get(proof) {
            return Some(counter.clone());
        }
        let owned = proof.to_owned();
        let last = self.persistently("number an event", move |inner| inner.database.last_event(&owned));
        match last.await {
            Ok(last) => {
                let mut numbers = lock(&self.numbers);
                Some(numbers.entry(proof.to_owned()).or_insert_with(|| Arc::new(AtomicU64::new(last))).clone())
            }
            Err(error) => {
                tracing::warn!(proof_id = %proof, %error, "cannot number an event of a proof; the event is dropped");
                None
            }
        }
    }

    /// Writes events in batches, until all tokio tasks of the service have ended and all events are written.
    pub(super) async fn write_events(self: Arc<Self>, mut messages: mpsc::Receiver<WriterMessage>) {
        let _task = self.watch_background_task("the writer of events");
        let mut batch = Vec::new();
        loop {
            let stopped = self.tasks.is_closed() && self.tasks.is_empty();
            let received = tokio::select! {
                received = messages.recv_many(&mut batch, 4096) => received,
                () = async {
                    self.stop.cancelled().await;
                    // Tasks that are still ending may send their last events, so the loop waits for them.
                    sleep(GATHERING).await;
                } => 0,
            };
            if received == 0 {
                if stopped {
                    return;
                }
                continue;
            }
            let (mut events, mut flushes) = (Vec::new(), Vec::new());
            for message in batch.drain(..) {
                match message {
                    WriterMessage::Event { proof, record } => events.push((proof, record)),
                    WriterMessage::Flush(processed) => flushes.push(processed),
                }
            }
            if !events.is_empty() {
                let count = events.len();
                let proofs: BTreeSet<String> = events.iter().map(|(proof, _)| proof.clone()).collect();
                let events = Arc::new(events);
                let stored = self.persistently("store events", move |inner| inner.database.add_events(&events)).await;
                if let Err(error) = stored {
                    tracing::warn!(%error, events = count, "cannot store events; they are dropped");
                }
                self.followers.notify(proofs.iter().map(String::as_str));
            }
            for processed in flushes {
                // The receiver may be gone: its request was dropped.
                let _ = processed.send(());
            }
            tokio::select! {
                () = self.flush.notified() => {}
                () = sleep(GATHERING) => {}
            }
        }
    }
}
