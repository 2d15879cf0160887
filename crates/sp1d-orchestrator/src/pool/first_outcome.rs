//! How a worker of the list was reached for the first time.

use crate::workers::reach_error::ReachError;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How a worker of the list was reached for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// A session with the worker of this name started.
    Connected(String),
    /// The worker serves another orchestrator, which the text names.
    Busy(String),
}

/// Receives how a worker was reached for the first time, or why the first connection failed.
pub type FirstOutcome = oneshot::Receiver<Result<Reached, Arc<ReachError>>>;

/// Sends what a [`FirstOutcome`] receives; `None` once it is sent.
pub(crate) type FirstOutcomeSender = Option<oneshot::Sender<Result<Reached, Arc<ReachError>>>>;

pub(crate) fn report(first: &mut FirstOutcomeSender, outcome: Result<Reached, Arc<ReachError>>) {
    if let Some(first) = first.take() {
        // The caller may not be interested.
        let _ = first.send(outcome);
    }
}
