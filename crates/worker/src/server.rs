//! Listening, and letting in one orchestrator at a time.

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

/// Compressed bytes of programs and common inputs that a worker keeps.
pub(crate) const CACHE_BYTES: u64 = 256 << 20;

/// Connections that may be in their first second at the same time.
const MOST_HANDSHAKES: usize = 16;

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: Address,
    /// Which orchestrators may connect.
    pub orchestrators: Filter,
    /// What it says of itself.
    pub introduction: Introduction,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}{hint}")]
    Bind {
        /// The address as given.
        address: Address,
        /// The system's reason.
        reason: io::Error,
        /// The way out, where there is an obvious one.
        hint: &'static str,
    },
    /// The engine could not be started.
    #[error("{0}")]
    Engine(String),
}

/// A worker that listens and is not yet serving.
pub struct Worker {
    listener: TcpListener,
    settings: Settings,
    home: Home,
}

impl Worker {
    /// Opens the port: before the engine is loaded, so that a taken one is told at once.
    ///
    /// # Errors
    /// When the address is unknown or in use.
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        let failed = |reason: io::Error| {
            let hint = match reason.kind() {
                io::ErrorKind::AddrInUse => "; another program listens there: choose another port with --listen",
                io::ErrorKind::AddrNotAvailable => "; this machine has no such address: try 0.0.0.0 or [::]",
                io::ErrorKind::PermissionDenied => "; choose a port above 1023",
                _ => "",
            };
            Error::Bind { address: settings.listen.clone(), reason, hint }
        };
        let addresses = settings.listen.resolve().await.map_err(failed)?;
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(failed)?;
        // Whoever is connected to it and asks another worker of the machine gets an answer that counts with both.
        let home = Home::new(CACHE_BYTES, settings.introduction.plan);
        Ok(Self { listener, settings, home })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves orchestrators, one at a time, until `stop`; gives them tasks' results once `engine` is ready.
    ///
    /// # Errors
    /// When the engine fails to start.
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
                        // Out of file descriptors, most likely: they come back when connections end.
                        tracing::warn!(%error, "accept a connection");
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

/// Resolves when the engine will never be ready, with the reason.
pub(crate) async fn failure(engine: &mut watch::Receiver<EngineState>) -> String {
    let failed = engine.wait_for(|state| matches!(state, EngineState::Failed(_))).await.map(|state| state.clone());
    match failed {
        Ok(EngineState::Failed(why)) => why,
        // An engine in this process has nothing to say once it is ready.
        _ if matches!(*engine.borrow(), EngineState::Ready(_)) => std::future::pending().await,
        _ => "the engine's starter ended without a word".to_owned(),
    }
}

/// Who is in.
struct Guest {
    peer: SocketAddr,
    since: Instant,
}

/// Decides who comes in.
struct Door {
    orchestrators: Filter,
    introduction: Arc<Introduction>,
    engine: watch::Receiver<EngineState>,
    home: Home,
    guest: Mutex<Option<Guest>>,
    handshakes: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Frees the place when the session is over, however it ends.
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
            tracing::warn!("too many connections at their beginning: one was closed");
            return;
        };
        if !self.orchestrators.allows(peer.ip()).await {
            tracing::warn!(allowed = %self.orchestrators, "connection refused: its address is not in --orchestrator");
            let text = format!("{} is not in the worker's --orchestrator list", peer.ip().to_canonical());
            let _ = accept(&mut stream, Role::Orchestrator, &Verdict::Refused(text)).await;
            return;
        }
        let taken = {
            let mut guest = self.guest();
            match &*guest {
                Some(guest) => {
                    let text = format!("{} has it since {} s", guest.peer, guest.since.elapsed().as_secs());
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
            tracing::warn!(%error, "set TCP_NODELAY");
        }
        match accept(&mut stream, Role::Orchestrator, &Verdict::Welcome).await {
            Ok(()) => {}
            // Somebody looks whether the port is open, as load balancers and people do.
            Err(PreambleError::Io(error)) => return tracing::debug!(%error, "connection ended at once"),
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
