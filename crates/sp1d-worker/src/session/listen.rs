//! Listens for orchestrators and admits one at a time.

use super::{
    end::FinishedSession,
    error::{ServeError, engine_failure},
    introduction::Introduction,
    run::{SessionContext, run},
    turns::{TurnPass, TurnView, Turns},
    worker_state::WorkerState,
};
use crate::{engine_state::EngineState, port::open_port, stop::WorkerStop, text::line_with_hint};
use sp1d_identity::{PeerStream, TlsError, TlsIdentity, accept_peer};
use sp1d_protocol::{
    Address, BusyWorker, Filter, PeerPort, PreambleError, PreambleReply, Rate, Role, read_dialer, reply, send_place,
};
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_util::task::TaskTracker as BackgroundTasks;
use tracing::Instrument;

sp1d_model::limits! {
    /// How many log lines the handshakes of one address may cause. An orchestrator that calls again and again writes no
    /// more.
    const MAX_LOG_RATE: Rate = Rate { burst: 10, interval: Duration::from_secs(10) }; Events by Orchestrator;
}

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
    tls: Option<Arc<TlsIdentity>>,
}

impl ListeningWorker {
    /// Opens the port. Call this before loading the engine, so that a port of another program is reported first.
    ///
    /// # Errors
    /// Fails if the address cannot be resolved, or if the worker cannot listen on it.
    pub async fn bind(settings: WorkerSettings) -> Result<Self, ServeError> {
        let listener = open_port(&settings.listen, "--listen").await?;
        // This registers the memory plan. It happens before the first connection, so that an orchestrator that also
        // connects to other workers on this machine gets numbers that account for all of them.
        let worker = WorkerState::new(settings.introduction.plan);
        Ok(Self { listener, settings, worker, tls: None })
    }

    /// Accepts only orchestrators with a certificate if `tls` is given. Default: plain connections.
    #[must_use]
    pub fn secure(mut self, tls: Option<Arc<TlsIdentity>>) -> Self {
        self.tls = tls;
        self
    }

    /// Returns the address that the worker listens on.
    ///
    /// # Errors
    /// Fails if the operating system cannot report the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves orchestrators, one at a time, until `stop` ends the worker. Others wait for their turn, up to 64. Runs
    /// tasks once `engine` is ready.
    ///
    /// A worker that leaves serves its orchestrator until its attempts are finished, and starts nothing for others. It
    /// refuses all connections, unless it keeps attempts for an orchestrator that may return.
    ///
    /// # Errors
    /// Fails if the engine can never be ready.
    pub async fn serve(
        self,
        mut engine: watch::Receiver<EngineState>,
        stop: impl Into<WorkerStop>,
    ) -> Result<(), ServeError> {
        let stop = stop.into().child();
        let _closing = self.worker.close_gate_on(stop.leave.clone());
        let port = Arc::new(ListenPort {
            peers: PeerPort::new(self.settings.orchestrators.clone(), MAX_LOG_RATE),
            introduction: Arc::new(self.settings.introduction.clone()),
            engine: engine.clone(),
            worker: self.worker.clone(),
            turns: Turns::default(),
            tls: self.tls,
            stop: stop.clone(),
        });
        let sessions = BackgroundTasks::new();
        let mut left = pin!(port.left());
        let outcome = loop {
            tokio::select! {
                () = stop.now.cancelled() => break Ok(()),
                () = &mut left => break Ok(()),
                error = engine_failure(&mut engine) => break Err(error.into()),
                (stream, peer) = port.peers.accept(&self.listener) => {
                    let port = port.clone();
                    sessions.spawn(async move { port.receive(stream, peer).await });
                }
            }
        };
        stop.now.cancel();
        sessions.close();
        sessions.wait().await;
        self.worker.end().await;
        outcome
    }
}

/// The port of a worker: admits, queues or refuses connections.
struct ListenPort {
    peers: PeerPort,
    introduction: Arc<Introduction>,
    engine: watch::Receiver<EngineState>,
    worker: WorkerState,
    turns: Turns,
    tls: Option<Arc<TlsIdentity>>,
    stop: WorkerStop,
}

/// An orchestrator that has its turn or waits for it.
struct AdmittedOrchestrator {
    stream: PeerStream,
    /// Ends the turn, or frees the place in the queue, when it is dropped.
    pass: TurnPass,
    view: TurnView,
    must_wait: bool,
}

impl ListenPort {
    async fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        let span = tracing::info_span!("session", %peer);
        let shake_hands = |is_allowed| self.shake_hands(stream, peer, is_allowed).instrument(span.clone());
        let Some(admitted) = self.peers.handshake(peer, shake_hands).await else { return };
        self.serve_admitted(admitted).instrument(span).await;
    }

    async fn serve_admitted(&self, admitted: AdmittedOrchestrator) {
        let AdmittedOrchestrator { mut stream, pass: _pass, mut view, must_wait } = admitted;
        if must_wait {
            let waited = tokio::select! {
                () = self.stop.now.cancelled() => return,
                () = self.stop.leave.cancelled() => return,
                waited = wait_for_turn(&mut stream, &mut view) => waited,
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
            turn: view,
            peer: stream.peer().cloned(),
            stop: self.stop.clone(),
        };
        let FinishedSession { end, .. } = run(stream, context).await;
        tracing::info!(%end, "session ended");
    }

    /// Resolves when the worker leaves, serves no orchestrator, and keeps no attempts for one.
    async fn left(&self) {
        self.stop.leave.cancelled().await;
        loop {
            self.turns.freed().await;
            self.worker.nothing_kept().await;
            if self.turns.are_free() {
                return;
            }
        }
    }

    /// Secures the connection and exchanges the first bytes. Returns `None` if the connection must be closed.
    async fn shake_hands(&self, stream: TcpStream, peer: SocketAddr, is_allowed: bool) -> Option<AdmittedOrchestrator> {
        // A TLS handshake costs this side a signature, so a stranger gets none, and no reason.
        if self.tls.is_some() && !is_allowed {
            self.log_stranger(peer);
            return None;
        }
        match accept_peer(self.tls.as_ref(), stream).await {
            Ok(stream) => self.admit(stream, peer, is_allowed).await,
            Err(error) => {
                self.fail_secure(peer, &error);
                None
            }
        }
    }

    async fn admit(&self, mut stream: PeerStream, peer: SocketAddr, is_allowed: bool) -> Option<AdmittedOrchestrator> {
        let role = match read_dialer(&mut stream, &[Role::Orchestrator, Role::IdleOrchestrator]).await {
            Ok(role) => role,
            Err(error) => return self.fail(peer, &error),
        };
        if !is_allowed {
            self.log_stranger(peer);
            let text = format!("{} is not in the worker's --orchestrator list", peer.ip().to_canonical());
            let _ = reply(&mut stream, &PreambleReply::Refused(text)).await;
            return None;
        }
        // While the worker keeps attempts, their orchestrator must be able to return.
        if self.stop.leave.is_cancelled() && !self.worker.keeps_attempts() {
            let stopping = BusyWorker { text: "stopping".to_owned(), holder: None };
            let _ = reply(&mut stream, &PreambleReply::Busy(stopping)).await;
            return None;
        }
        let pass = match self.turns.enter(peer, role == Role::Orchestrator) {
            Ok(pass) => pass,
            Err(busy) => {
                self.peers.log(peer, |suppressed| {
                    tracing::info!(text = %busy, suppressed, "connection refused: busy with another orchestrator");
                });
                let _ = reply(&mut stream, &PreambleReply::Busy(busy)).await;
                return None;
            }
        };
        let mut view = pass.view();
        let place = view.place();
        let verdict = if place.is_some() { PreambleReply::Queued } else { PreambleReply::Welcome };
        if let Some(place) = &place {
            self.peers.log(peer, |suppressed| {
                tracing::info!(place = place.place, holder = %place.holder, suppressed, "orchestrator waits for its turn");
            });
        }
        if let Err(error) = reply(&mut stream, &verdict).await {
            return self.fail(peer, &error);
        }
        Some(AdmittedOrchestrator { stream, pass, view, must_wait: place.is_some() })
    }

    /// Logs a connection from an address that the filter does not allow.
    fn log_stranger(&self, peer: SocketAddr) {
        let allowed = self.peers.filter();
        self.peers.log(peer, |suppressed| {
            tracing::warn!(%allowed, suppressed, "connection refused: address not in --orchestrator");
        });
    }

    /// Logs a TLS handshake that failed.
    fn fail_secure(&self, peer: SocketAddr, error: &TlsError) {
        let reason = line_with_hint(&error.to_string());
        if error.is_port_test() {
            tracing::debug!(%reason, "connection ended during the handshake");
        } else {
            self.peers.log(peer, |suppressed| tracing::warn!(%reason, suppressed, "connection refused"));
        }
    }

    /// Logs a handshake that failed. Returns `None`.
    fn fail(&self, peer: SocketAddr, error: &PreambleError) -> Option<AdmittedOrchestrator> {
        match error {
            // Load balancers and people open a connection only to check the port.
            PreambleError::Io(error) => tracing::debug!(%error, "connection ended during the handshake"),
            error => self.peers.log(peer, |suppressed| tracing::warn!(%error, suppressed, "connection refused")),
        }
        None
    }
}

/// Tells a waiting orchestrator its place until its turn comes, and then that its turn has come.
///
/// # Errors
/// Fails if the orchestrator leaves, if it is silent, or if it sends anything but its replies.
async fn wait_for_turn(stream: &mut PeerStream, turn: &mut TurnView) -> Result<(), PreambleError> {
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
            // An orchestrator sends nothing while it waits. Every byte is an error, so this loses none.
            read = stream.read(&mut byte) => {
                return Err(match read? {
                    0 => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                    _ => PreambleError::Queue,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_state::engine_state;
    use sp1d_protocol::{Admission, dial};
    use tokio::io::AsyncReadExt;

    /// A worker on the loopback interface that admits the orchestrators of `filter`.
    struct TestWorker {
        address: SocketAddr,
        stop: WorkerStop,
        serving: tokio::task::JoinHandle<Result<(), ServeError>>,
    }

    impl TestWorker {
        async fn start(filter: &str) -> Self {
            let introduction = Introduction::example();
            let (listen, orchestrators) = ("127.0.0.1:0".parse::<SocketAddr>().unwrap(), filter.parse().unwrap());
            // The port 0 is not a valid `Address`, so the listener is made here.
            let listener = TcpListener::bind(listen).await.unwrap();
            let address = listener.local_addr().unwrap();
            let worker = WorkerState::new(introduction.plan);
            let settings = WorkerSettings { listen: address.into(), orchestrators, introduction };
            let stop = WorkerStop::new();
            let (sender, engine) = engine_state(Duration::ZERO);
            let serving = tokio::spawn({
                let (worker, stop) = (ListeningWorker { listener, settings, worker, tls: None }, stop.clone());
                async move {
                    let _sender = sender;
                    worker.serve(engine, stop).await
                }
            });
            Self { address, stop, serving }
        }

        /// Connects from the local address `from`.
        async fn connect(&self, from: [u8; 4]) -> TcpStream {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            socket.connect(self.address).await.unwrap()
        }

        async fn stop(self) {
            self.stop.now.cancel();
            self.serving.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn silent_strangers_do_not_lock_out_an_orchestrator() {
        let worker = TestWorker::start("127.0.0.1").await;
        let mut strangers = Vec::new();
        for last in 0..40 {
            strangers.push(worker.connect([127, 0, 1, last]).await);
        }
        let mut orchestrator = worker.connect([127, 0, 0, 1]).await;
        assert_eq!(dial(&mut orchestrator, Role::Orchestrator).await.unwrap(), Admission::Welcome);
        drop(strangers);
        worker.stop().await;
    }

    #[tokio::test]
    async fn silent_connections_of_an_allowed_address_do_not_lock_out_its_orchestrator() {
        let worker = TestWorker::start("127.0.0.0/8").await;
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(worker.connect([127, 0, 0, 1]).await);
        }
        let mut orchestrator = worker.connect([127, 0, 0, 1]).await;
        assert_eq!(dial(&mut orchestrator, Role::Orchestrator).await.unwrap(), Admission::Welcome);
        // The first of them has given way to later ones, long before it was silent for a second.
        let ended = tokio::time::timeout(Duration::from_millis(500), silent[0].read_u8()).await;
        assert!(ended.is_ok_and(|read| read.is_err()));
        worker.stop().await;
    }

    #[tokio::test]
    async fn a_stranger_learns_that_its_address_is_refused() {
        let worker = TestWorker::start("127.0.0.1").await;
        let mut stranger = worker.connect([127, 0, 0, 2]).await;
        let refused = dial(&mut stranger, Role::Orchestrator).await;
        assert!(matches!(refused, Err(PreambleError::Refused(text)) if text.contains("127.0.0.2")));
        worker.stop().await;
    }

    #[tokio::test]
    async fn a_leaving_worker_without_attempts_ends_at_once() {
        let worker = TestWorker::start("127.0.0.1").await;
        let (leaving, serving) = (worker.stop.leave_within(Duration::from_secs(60)), worker.serving);
        tokio::select! {
            () = leaving => panic!("the worker has not ended"),
            served = serving => served.unwrap().unwrap(),
        }
    }

    /// The first orchestrator is slow to start its session, so the worker waits for it.
    #[tokio::test]
    async fn a_leaving_worker_refuses_other_orchestrators_and_drops_those_that_wait() {
        let worker = TestWorker::start("127.0.0.1").await;
        let mut first = worker.connect([127, 0, 0, 1]).await;
        assert_eq!(dial(&mut first, Role::Orchestrator).await.unwrap(), Admission::Welcome);
        let mut waiting = worker.connect([127, 0, 0, 1]).await;
        assert_eq!(dial(&mut waiting, Role::Orchestrator).await.unwrap(), Admission::Queued);
        worker.stop.leave.cancel();
        // The places that were sent before come first, and then the end.
        let mut rest = Vec::new();
        waiting.read_to_end(&mut rest).await.unwrap();
        let refused = dial(&mut worker.connect([127, 0, 0, 1]).await, Role::Orchestrator).await;
        assert!(matches!(&refused, Err(PreambleError::Busy(busy)) if busy.text == "stopping"), "{refused:?}");
        drop(first);
        worker.serving.await.unwrap().unwrap();
    }
}
