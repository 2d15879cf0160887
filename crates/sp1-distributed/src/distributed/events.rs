//! The events of a running proof, as a stream.

use futures::{Stream, stream};
use sp1d_orchestrator::ProofEvent;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many events are kept for a slow reader. Older events are skipped.
const MAX_BACKLOG: usize = 4096;

/// The events of one proof, in order. The stream ends when the proof ends. A reader that falls more than 4096 events
/// behind misses the oldest ones.
pub struct ProofEvents(Pin<Box<dyn Stream<Item = ProofEvent> + Send>>);

impl ProofEvents {
    pub(crate) fn channel() -> (broadcast::Sender<ProofEvent>, Self) {
        let (sender, receiver) = broadcast::channel(MAX_BACKLOG);
        let next = |mut receiver: broadcast::Receiver<ProofEvent>| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        (sender, Self(Box::pin(stream::unfold(receiver, next))))
    }
}

impl Stream for ProofEvents {
    type Item = ProofEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ProofEvent>> {
        self.0.as_mut().poll_next(context)
    }
}
