//! Listens for orchestrators and admits one at a time.

use super::{
    error::{ServeError, engine_failure},
    introduction::Introduction,
    run::{SessionContext, run},
    worker_state::WorkerState,
};
use crate::state::EngineState;
use sp1d_protocol::{Address, Filter, PreambleError, PreambleReply, Role, accept};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Maximum number of connections that are in their handshake at the same time.
const MAX_HANDSHAKES: usize = 16;

/// Settings of a [`ListeningWorker`].
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The address to listen on.
    pub listen: Address,
    /// The addresses from which orchestrators may connect.
    pub orchestrators: Filter,
    /// The worker's description of itself.
    pub introduction: Introduction,
}

/// A worker that listens for orchestrators. [`ListeningWorker::bind`] opens the port, [`ListeningWorker::serve`]
/// accepts connections.
pub struct ListeningWorker {
    listener: TcpListener,
    settings: WorkerSettings,
    worker: WorkerState,
}

impl ListeningWorker {
    /// Opens the port. Call this before loading the engine, so that a port that is in use is reported at once.
    ///
    /// # Errors
    /// Fails if the address cannot be resolved, or if the worker cannot listen on it.
    pub async fn bind(settings: WorkerSettings) -> Result<Self, ServeError> {
        let failed = |reason: io::Error| {
            let hint = match reason.kind() {
                io::ErrorKind::AddrInUse => "\nhint: choose another port with `--listen`",
                io::ErrorKind::AddrNotAvailable => {
                    "\nhint: listen on an address of this machine, or on 0.0.0.0 or [::] for all of them"
                }
                io::ErrorKind::PermissionDenied => "\nhint: choose a port above 1023 with `--listen`",
                _ => "",
            };
            ServeError::Bind { address: settings.listen.clone(), reason, hint }
        };
        let addresses = settings.listen.resolve().await.map_err(failed)?;
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(failed)?;
        // This registers the memory plan. It happens before the first connection, so that an orchestrator that also
        // connects to other workers on this machine gets numbers that account for all of them.
        let worker = WorkerState::new(settings.introduction.plan);
        Ok(Self { listener, settings, worker })
    }

    /// Returns the address that the worker listens on.
    ///
    /// # Errors
    /// Fails if the operating system cannot report the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves orchestrators, one at a time, until `stop` is cancelled. Runs tasks once `engine` is ready.
    ///
    /// # Errors
    /// Fails if the engine can never be ready.
    pub async fn serve(
        self,
        mut engine: watch::Receiver<EngineState>,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let stop = stop.child_token();
        let gate = Arc::new(ConnectionGate {
            orchestrators: self.settings.orchestrators.clone(),
            introduction: Arc::new(self.settings.introduction.clone()),
            engine: engine.clone(),
            worker: self.worker.clone(),
            connected: Mutex::new(None),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            stop: stop.clone(),
        });
        let sessions = TaskTracker::new();
        let outcome = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                error = engine_failure(&mut engine) => break Err(error.into()),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let gate = gate.clone();
                        let span = tracing::info_span!("session", %peer);
                        sessions.spawn(async move { gate.receive(stream, peer).await }.instrument(span));
                    }
                    Err(error) => {
                        // Most likely the process is out of file descriptors. They become free when connections end.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        };
        stop.cancel();
        sessions.close();
        sessions.wait().await;
        self.worker.end().await;
        outcome
    }
}

struct ConnectedOrchestrator {
    peer: SocketAddr,
    since: Instant,
}

/// Admits or refuses connections.
struct ConnectionGate {
    orchestrators: Filter,
    introduction: Arc<Introduction>,
    engine: watch::Receiver<EngineState>,
    worker: WorkerState,
    connected: Mutex<Option<ConnectedOrchestrator>>,
    handshakes: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The only pass for an orchestrator. It becomes free when this value is dropped, however the session ends.
struct GatePass<'a>(&'a ConnectionGate);

impl Drop for GatePass<'_> {
    fn drop(&mut self) {
        *self.0.connected() = None;
    }
}

impl ConnectionGate {
    fn connected(&self) -> MutexGuard<'_, Option<ConnectedOrchestrator>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn receive(&self, mut stream: TcpStream, peer: SocketAddr) {
        let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else {
            tracing::warn!("connection closed: too many handshakes at the same time");
            return;
        };
        if !self.orchestrators.allows(peer.ip()).await {
            tracing::warn!(allowed = %self.orchestrators, "connection refused: address not in --orchestrator");
            let text = format!("{} is not in the worker's --orchestrator list", peer.ip().to_canonical());
            let _ = accept(&mut stream, Role::Orchestrator, &PreambleReply::Refused(text)).await;
            return;
        }
        let taken = {
            let mut connected = self.connected();
            match &*connected {
                Some(connected) => {
                    let text = format!("proving for {} for {} s", connected.peer, connected.since.elapsed().as_secs());
                    Err(text)
                }
                None => {
                    *connected = Some(ConnectedOrchestrator { peer, since: Instant::now() });
                    Ok(GatePass(self))
                }
            }
        };
        let _pass = match taken {
            Ok(pass) => pass,
            Err(text) => {
                tracing::info!(%text, "connection refused: busy with another orchestrator");
                let _ = accept(&mut stream, Role::Orchestrator, &PreambleReply::Busy(text)).await;
                return;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "cannot set TCP_NODELAY");
        }
        match accept(&mut stream, Role::Orchestrator, &PreambleReply::Welcome).await {
            Ok(()) => {}
            // Load balancers and people open a connection only to check the port.
            Err(PreambleError::Io(error)) => return tracing::debug!(%error, "connection ended during the handshake"),
            Err(error) => return tracing::warn!(%error, "connection refused"),
        }
        drop(handshake);
        let context = SessionContext {
            introduction: self.introduction.clone(),
            engine: self.engine.clone(),
            worker: self.worker.clone(),
            stop: self.stop.clone(),
        };
        let end = run(stream, context).await;
        tracing::info!(%end, "session ended");
    }
}
