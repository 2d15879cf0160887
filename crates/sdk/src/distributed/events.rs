//! What happens to a proof while it runs, as a stream.

use futures::{Stream, stream};
use orchestrator::Progress;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::broadcast::{self, error::RecvError};

/// Events kept for a reader that is behind; older ones are skipped.
const BACKLOG: usize = 4096;

/// The events of one proof, in order, until it is over. A reader that falls far behind misses the oldest ones.
pub struct ProofEvents(Pin<Box<dyn Stream<Item = Progress> + Send>>);

impl ProofEvents {
    pub(crate) fn channel() -> (broadcast::Sender<Progress>, Self) {
        let (sender, receiver) = broadcast::channel(BACKLOG);
        let next = |mut receiver: broadcast::Receiver<Progress>| async move {
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
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Progress>> {
        self.0.as_mut().poll_next(context)
    }
}
