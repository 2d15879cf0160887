//! A worker that has started.

use super::error::WorkerError;
use sp1d_worker::{EngineState, WorkerStop};
use std::{net::SocketAddr, thread::JoinHandle};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::DropGuard;

/// A worker that has started. Its port, if it has one, is open, and its prover is loading. Dropping it stops the
/// worker.
pub struct BoundWorker {
    pub(super) address: Option<SocketAddr>,
    pub(super) state: watch::Receiver<EngineState>,
    pub(super) outcome: oneshot::Receiver<Result<(), sp1d_worker::ServeError>>,
    pub(super) stop: WorkerStop,
    pub(super) _stop: DropGuard,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl BoundWorker {
    /// Returns the address that the worker listens on. `None` for a worker that dials its orchestrator.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns a receiver for the state of the worker's prover.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    /// Serves until `stop` ends the worker. Then the worker says goodbye to its orchestrator and ends. Dropping the
    /// future also stops the worker. `stop` is a `CancellationToken`, which ends the worker at once, or a
    /// [`WorkerStop`], which lets it finish its attempts first.
    ///
    /// # Errors
    /// If the prover cannot be loaded, or if the worker's thread ends without a result.
    pub async fn serve(mut self, stop: impl Into<WorkerStop>) -> Result<(), WorkerError> {
        let stop = stop.into();
        let outcome = tokio::select! {
            outcome = &mut self.outcome => outcome,
            never = self.stop.follow(&stop) => match never {},
        };
        // The prover processes have ended. The thread only releases a prover in this process now: do not wait for that.
        self.thread.take();
        match outcome {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(WorkerError::ThreadEnded),
        }
    }
}
