//! Numbers and stores the events of proofs.

use super::{Inner, lock};
use client::{EventRecord, Moment, ProofEvent};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};

/// Pause of the writer between two batches. Events that arrive during the pause are written in one transaction.
const GATHERING: Duration = Duration::from_millis(100);

impl Inner {
    /// Numbers an event and sends it to the writer and to the proof's trace. Waits while the writer's channel is full.
    pub(super) async fn tell(self: &Arc<Self>, proof: &str, event: ProofEvent) {
        let Some(counter) = self.counter(proof).await else { return };
        let record = EventRecord { number: counter.fetch_add(1, Ordering::Relaxed) + 1, at: Moment::now(), event };
        let live = lock(&self.running).get(proof).cloned();
        if let Some(live) = live
            && let Some(spans) = lock(&live.spans).as_mut()
        {
            spans.note(&record);
        }
        // The channel is open until the shutdown: the writer ends after all tasks of the service.
        let _ = self.events.send((proof.to_owned(), record)).await;
    }

    /// Returns the event counter of a proof, which continues from the last event in the database. `None` if the
    /// database fails.
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
                tracing::warn!(proof_id = %proof, %error, "cannot number an event of a proof; the event is dropped");
                None
            }
        }
    }
}

/// Writes events in batches, until all tasks of the service have ended and all events are written.
pub(super) async fn write_events(inner: Arc<Inner>, mut events: mpsc::Receiver<(String, EventRecord)>) {
    let mut batch = Vec::new();
    loop {
        let stopped = inner.tasks.is_closed() && inner.tasks.is_empty();
        let came = tokio::select! {
            came = events.recv_many(&mut batch, 4096) => came,
            () = async {
                inner.stop.cancelled().await;
                // Tasks that are still ending may send their last events, so the loop waits for them.
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
            tracing::warn!(%error, events = came, "cannot store events; they are dropped");
        }
        inner.written.send_modify(|count| *count += 1);
        sleep(GATHERING).await;
    }
}
