//! Listens for orchestrators and admits one at a time.

use super::{
    error::{ServeError, engine_failure},
    introduction::Introduction,
    run::{SessionContext, run},
    turns::{TurnView, Turns},
    worker_state::WorkerState,
};
use crate::state::EngineState;
use sp1d_protocol::{Address, Filter, PreambleError, PreambleReply, Role, read_dialer, reply, send_place};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Maximum number of connections that are in their handshake at the same time.
const MAX_HANDSHAKES: usize = 16;

/// Time between two notices to a waiting orchestrator, if nothing changes. The notices show both sides that the other
/// one is there.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

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

    /// Serves orchestrators, one at a time, until `stop` is cancelled. Others wait for their turn, up to 64. Runs tasks
    /// once `engine` is ready.
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
            turns: Turns::default(),
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

/// Admits, queues or refuses connections.
struct ConnectionGate {
    orchestrators: Filter,
    introduction: Arc<Introduction>,
    engine: watch::Receiver<EngineState>,
    worker: WorkerState,
    turns: Turns,
    handshakes: Arc<Semaphore>,
    stop: CancellationToken,
}

impl ConnectionGate {
    async fn receive(&self, mut stream: TcpStream, peer: SocketAddr) {
        let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else {
            tracing::warn!("connection closed: too many handshakes at the same time");
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "cannot set TCP_NODELAY");
        }
        let role = match read_dialer(&mut stream, &[Role::Orchestrator, Role::IdleOrchestrator]).await {
            Ok(role) => role,
            Err(error) => return log_handshake(&error),
        };
        if !self.orchestrators.allows(peer.ip()).await {
            tracing::warn!(allowed = %self.orchestrators, "connection refused: address not in --orchestrator");
            let text = format!("{} is not in the worker's --orchestrator list", peer.ip().to_canonical());
            let _ = reply(&mut stream, &PreambleReply::Refused(text)).await;
            return;
        }
        let pass = match self.turns.enter(peer, role == Role::Orchestrator) {
            Ok(pass) => pass,
            Err(text) => {
                tracing::info!(%text, "connection refused: busy with another orchestrator");
                let _ = reply(&mut stream, &PreambleReply::Busy(text)).await;
                return;
            }
        };
        let mut turn = pass.view();
        let verdict = match turn.place() {
            Some(place) => {
                tracing::info!(place = place.place, holder = %place.holder, "orchestrator waits for its turn");
                PreambleReply::Queued
            }
            None => PreambleReply::Welcome,
        };
        if let Err(error) = reply(&mut stream, &verdict).await {
            return log_handshake(&error);
        }
        drop(handshake);
        if verdict == PreambleReply::Queued {
            let waited = tokio::select! {
                () = self.stop.cancelled() => return,
                waited = wait_for_turn(&mut stream, &mut turn) => waited,
            };
            match waited {
                Ok(()) => tracing::info!("the turn of a waiting orchestrator starts"),
                Err(error) => return tracing::info!(%error, "a waiting orchestrator left"),
            }
        }
        let context = SessionContext {
            introduction: self.introduction.clone(),
            engine: self.engine.clone(),
            worker: self.worker.clone(),
            turn,
            stop: self.stop.clone(),
        };
        let end = run(stream, context).await;
        tracing::info!(%end, "session ended");
    }
}

fn log_handshake(error: &PreambleError) {
    match error {
        // Load balancers and people open a connection only to check the port.
        PreambleError::Io(error) => tracing::debug!(%error, "connection ended during the handshake"),
        error => tracing::warn!(%error, "connection refused"),
    }
}

/// Tells a waiting orchestrator its place until its turn comes, and then that its turn has come.
///
/// # Errors
/// Fails if the orchestrator leaves, if it is silent, or if it sends anything but its replies.
async fn wait_for_turn(stream: &mut TcpStream, turn: &mut TurnView) -> Result<(), PreambleError> {
    loop {
        let place = turn.place();
        send_place(stream, place.as_ref()).await?;
        if place.is_none() {
            return Ok(());
        }
        let mut byte = [0];
        tokio::select! {
            () = turn.changed() => {}
            () = sleep(NOTICE_INTERVAL) => {}
            peeked = stream.peek(&mut byte) => {
                return Err(match peeked? {
                    0 => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                    _ => PreambleError::Queue,
                });
            }
        }
    }
}
