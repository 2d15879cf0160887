//! Keeping what happens to proofs.

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

/// How long events are gathered before they are written together.
const GATHERING: Duration = Duration::from_millis(100);

impl Inner {
    /// Keeps an event, and tells whoever watches.
    pub(super) async fn tell(self: &Arc<Self>, proof: &str, event: ProofEvent) {
        let Some(counter) = self.counter(proof).await else { return };
        let record = EventRecord { number: counter.fetch_add(1, Ordering::Relaxed) + 1, at: Moment::now(), event };
        let live = lock(&self.running).get(proof).cloned();
        if let Some(live) = live
            && let Some(spans) = lock(&live.spans).as_mut()
        {
            spans.note(&record);
        }
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
                tracing::warn!(proof_id = %proof, %error, "count a proof's events; this one is not kept");
                None
            }
        }
    }
}

/// Writes events, many at a time, until the service is gone and all are written.
pub(super) async fn write_events(inner: Arc<Inner>, mut events: mpsc::Receiver<(String, EventRecord)>) {
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
