//! Listens for orchestrators and admits one at a time.

use crate::{
    engine::EngineState,
    home::Home,
    introduction::Introduction,
    session::{self, Context},
};
use protocol::{Address, Filter, PreambleError, Role, Verdict, accept};
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

/// Maximum number of compressed bytes of programs and common inputs that a worker keeps in memory.
pub(crate) const CACHE_BYTES: u64 = 256 << 20;

/// Maximum number of connections that are in their handshake at the same time.
const MOST_HANDSHAKES: usize = 16;

/// Settings of a [`Worker`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on.
    pub listen: Address,
    /// The addresses from which orchestrators may connect.
    pub orchestrators: Filter,
    /// The worker's description of itself.
    pub introduction: Introduction,
}

/// Why a worker cannot serve orchestrators.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The worker cannot listen on the address.
    #[error("cannot listen on {address}: {reason}{hint}")]
    Bind {
        /// The address as configured.
        address: Address,
        /// The operating system's error.
        reason: io::Error,
        /// A line with a hint, or empty if there is no obvious remedy.
        hint: &'static str,
    },
    /// The engine can never be ready. The text states the reason.
    #[error("{0}")]
    Engine(String),
}

/// A worker that listens for orchestrators. [`Worker::bind`] opens the port, [`Worker::serve`] accepts connections.
pub struct Worker {
    listener: TcpListener,
    settings: Settings,
    home: Home,
}

impl Worker {
    /// Opens the port. Call this before loading the engine, so that a port that is in use is reported at once.
    ///
    /// # Errors
    /// Fails if the address cannot be resolved, or if the worker cannot listen on it.
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        let failed = |reason: io::Error| {
            let hint = match reason.kind() {
                io::ErrorKind::AddrInUse => "\nhint: choose another port with `--listen`",
                io::ErrorKind::AddrNotAvailable => {
                    "\nhint: listen on an address of this machine, or on 0.0.0.0 or [::] for all of them"
                }
                io::ErrorKind::PermissionDenied => "\nhint: choose a port above 1023 with `--listen`",
                _ => "",
            };
            Error::Bind { address: settings.listen.clone(), reason, hint }
        };
        let addresses = settings.listen.resolve().await.map_err(failed)?;
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(failed)?;
        // Creating the home registers the memory plan. This happens before the first connection, so that an
        // orchestrator that also connects to other workers on this machine gets numbers that account for all of them.
        let home = Home::new(CACHE_BYTES, settings.introduction.plan);
        Ok(Self { listener, settings, home })
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
    pub async fn serve(self, mut engine: watch::Receiver<EngineState>, stop: CancellationToken) -> Result<(), Error> {
        let stop = stop.child_token();
        let door = Arc::new(Door {
            orchestrators: self.settings.orchestrators.clone(),
            introduction: Arc::new(self.settings.introduction.clone()),
            engine: engine.clone(),
            home: self.home.clone(),
            guest: Mutex::new(None),
            handshakes: Arc::new(Semaphore::new(MOST_HANDSHAKES)),
            stop: stop.clone(),
        });
        let (sessions, home) = (TaskTracker::new(), door.home.clone());
        let outcome = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                why = failure(&mut engine) => break Err(Error::Engine(why)),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let door = door.clone();
                        let span = tracing::info_span!("session", %peer);
                        sessions.spawn(async move { door.receive(stream, peer).await }.instrument(span));
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
        home.end().await;
        outcome
    }
}

/// Resolves with the reason once the engine can never be ready.
pub(crate) async fn failure(engine: &mut watch::Receiver<EngineState>) -> String {
    let failed = engine.wait_for(|state| matches!(state, EngineState::Failed(_))).await.map(|state| state.clone());
    match failed {
        Ok(EngineState::Failed(why)) => why,
        // The sender of an in-process engine's state is dropped once the engine is ready. That is not a failure.
        _ if matches!(*engine.borrow(), EngineState::Ready(_)) => std::future::pending().await,
        _ => "the task that loads the prover ended without a result".to_owned(),
    }
}

/// The connected orchestrator.
struct Guest {
    peer: SocketAddr,
    since: Instant,
}

/// Admits or refuses connections.
struct Door {
    orchestrators: Filter,
    introduction: Arc<Introduction>,
    engine: watch::Receiver<EngineState>,
    home: Home,
    guest: Mutex<Option<Guest>>,
    handshakes: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The only place for an orchestrator. It becomes free when this value is dropped, however the session ends.
struct Place<'a>(&'a Door);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.guest() = None;
    }
}

impl Door {
    fn guest(&self) -> MutexGuard<'_, Option<Guest>> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn receive(&self, mut stream: TcpStream, peer: SocketAddr) {
        let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else {
            tracing::warn!("connection closed: too many handshakes at the same time");
            return;
        };
        if !self.orchestrators.allows(peer.ip()).await {
            tracing::warn!(allowed = %self.orchestrators, "connection refused: address not in --orchestrator");
            let text = format!("{} is not in the worker's --orchestrator list", peer.ip().to_canonical());
            let _ = accept(&mut stream, Role::Orchestrator, &Verdict::Refused(text)).await;
            return;
        }
        let taken = {
            let mut guest = self.guest();
            match &*guest {
                Some(guest) => {
                    let text = format!("proving for {} for {} s", guest.peer, guest.since.elapsed().as_secs());
                    Err(text)
                }
                None => {
                    *guest = Some(Guest { peer, since: Instant::now() });
                    Ok(Place(self))
                }
            }
        };
        let _place = match taken {
            Ok(place) => place,
            Err(text) => {
                tracing::info!(%text, "connection refused: busy with another orchestrator");
                let _ = accept(&mut stream, Role::Orchestrator, &Verdict::Busy(text)).await;
                return;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "cannot set TCP_NODELAY");
        }
        match accept(&mut stream, Role::Orchestrator, &Verdict::Welcome).await {
            Ok(()) => {}
            // Load balancers and people open a connection only to check the port.
            Err(PreambleError::Io(error)) => return tracing::debug!(%error, "connection ended during the handshake"),
            Err(error) => return tracing::warn!(%error, "connection refused"),
        }
        drop(handshake);
        let context = Context {
            introduction: self.introduction.clone(),
            engine: self.engine.clone(),
            home: self.home.clone(),
            stop: self.stop.clone(),
        };
        let end = session::run(stream, context).await;
        tracing::info!(%end, "session ended");
    }
}
