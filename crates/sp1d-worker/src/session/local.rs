//! A worker inside the orchestrator's own process.

use super::{
    end::FinishedSession,
    error::engine_failure,
    introduction::Introduction,
    run::{SessionContext, run},
    turns::TurnView,
    worker_state::WorkerState,
};
use crate::{engine_state::EngineState, load_error::LoadError, stop::WorkerStop};
use std::sync::Arc;
use tokio::{
    io::{DuplexStream, duplex},
    sync::{Mutex, mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};
use tracing::Instrument;

/// Bytes that can be in transit in each direction of the in-memory pipe: two chunks of an artifact.
const PIPE_BYTES: usize = 2 << 20;

/// Lets an orchestrator connect to a [`LocalWorker`] in the same process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalEndpoint(mpsc::UnboundedSender<DuplexStream>);

impl LocalEndpoint {
    /// Opens a new connection to the worker. Its session starts after the session on the previous connection has ended.
    /// Returns `None` if the worker has stopped.
    #[must_use]
    pub fn connect(&self) -> Option<DuplexStream> {
        let (theirs, ours) = duplex(PIPE_BYTES);
        self.0.send(ours).ok()?;
        Some(theirs)
    }
}

/// A worker without a port. Its only orchestrator is in the same process and connects through the [`LocalEndpoint`].
pub struct LocalWorker {
    introduction: Introduction,
    connections: mpsc::UnboundedReceiver<DuplexStream>,
}

impl LocalWorker {
    /// Creates a worker, and the [`LocalEndpoint`] through which the orchestrator connects to it.
    #[must_use]
    pub fn new(introduction: Introduction) -> (Self, LocalEndpoint) {
        let (endpoint, connections) = mpsc::unbounded_channel();
        (Self { introduction, connections }, LocalEndpoint(endpoint))
    }

    /// Serves the orchestrator until `stop` is cancelled or every [`LocalEndpoint`] is dropped. Call this on a thread
    /// that does no heavy work, so that heartbeats are sent on time.
    ///
    /// # Errors
    /// Fails if the engine can never be ready.
    pub async fn serve(
        mut self,
        mut engine: watch::Receiver<EngineState>,
        stop: CancellationToken,
    ) -> Result<(), LoadError> {
        let stop = WorkerStop::from(stop.child_token());
        let worker = WorkerState::new(self.introduction.plan);
        let (sessions, turn) = (BackgroundTasks::new(), Arc::new(Mutex::new(())));
        let outcome = loop {
            let stream = tokio::select! {
                () = stop.now.cancelled() => break Ok(()),
                error = engine_failure(&mut engine) => break Err(error),
                stream = self.connections.recv() => match stream {
                    Some(stream) => stream,
                    None => break Ok(()),
                },
            };
            let context = SessionContext {
                introduction: Arc::new(self.introduction.clone()),
                engine: engine.clone(),
                worker: worker.clone(),
                turn: TurnView::alone(),
                peer: None,
                stop: stop.clone(),
            };
            let span = tracing::info_span!("session", peer = "local");
            let turn = turn.clone();
            let session = async move {
                // The previous session may still be storing the attempts that this session continues.
                let _turn = turn.lock().await;
                let FinishedSession { end, .. } = run(stream, context).await;
                tracing::info!(%end, "session ended");
            };
            sessions.spawn(session.instrument(span));
        };
        stop.now.cancel();
        sessions.close();
        sessions.wait().await;
        worker.end().await;
        outcome
    }
}
