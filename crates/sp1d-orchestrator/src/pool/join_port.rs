//! The port on which workers join.
//!
//! It does not know what happens in a session.

use super::start_session::run_session;
use crate::{
    session::lifetime::EndedSession,
    state::shared_state::SharedState,
    workers::{reach_error::failure_line, worker_address::WorkerAddress},
};
use sp1d_identity::{PeerStream, TlsError, accept_peer};
use sp1d_protocol::{
    Filter, PeerLimits, PeerPlace, PeerPlaces, PeerPort, PreambleError, PreambleReply, Rate, Role, read_dialer, reply,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Default maximum number of connected workers that have joined. A process may usually open 1024 files, and the
    /// HTTP interface, the database and the artifacts need most of them.
    const MAX_JOINED: usize = 256; Count by Worker;
    /// How many log lines the connections of one address may cause. A worker that connects and leaves again and again
    /// writes no more.
    const MAX_LOG_RATE: Rate = Rate { burst: 20, interval: Duration::from_secs(10) }; Events by Worker;
}

/// Settings of the port on which workers join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinSettings {
    /// The addresses from which workers may join.
    pub from: Filter,
    /// Maximum number of connected workers that have joined, at least 2. Workers of one address, or of one IPv6 network
    /// of 64 bits, have at most half of the places.
    pub max_workers: usize,
}

impl JoinSettings {
    /// Returns the default settings for workers from these addresses: 256 workers.
    #[must_use]
    pub fn new(from: Filter) -> Self {
        Self { from, max_workers: MAX_JOINED }
    }
}

/// Admits or refuses the connections of workers that join.
pub(crate) struct JoinPort {
    peers: PeerPort,
    places: PeerPlaces,
    limits: PeerLimits,
    shared: Arc<SharedState>,
}

impl JoinPort {
    pub(crate) fn new(settings: JoinSettings, shared: Arc<SharedState>) -> Self {
        let total = settings.max_workers.max(2);
        let limits = PeerLimits { total, per_network: total / 2 };
        Self { peers: PeerPort::new(settings.from, MAX_LOG_RATE), places: PeerPlaces::new(limits), limits, shared }
    }

    /// Accepts connections until `stop` is cancelled. The sessions run on `background`.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        background: BackgroundTasks,
        stop: CancellationToken,
    ) {
        loop {
            let (stream, peer) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.peers.accept(&listener) => accepted,
            };
            let (port, stop) = (self.clone(), stop.child_token());
            background.spawn(async move { port.receive(stream, peer, stop).await });
        }
    }

    /// Serves a worker from the first bytes of its connection to the end of its session.
    async fn receive(&self, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        let shake_hands = |is_allowed| self.shake_hands(stream, peer, is_allowed);
        let Some((stream, _place)) = self.peers.handshake(peer, shake_hands).await else { return };
        let (worker_address, certified) = (WorkerAddress::JoinedFrom(peer), stream.peer().cloned());
        let ended = run_session(stream, &worker_address, certified, &self.shared, &mut None, &stop.into()).await;
        self.peers.log(peer, |suppressed| match ended {
            Ok(EndedSession { reason, .. }) => tracing::info!(%peer, %reason, suppressed, "session ended"),
            Err(reason) => tracing::warn!(%peer, %reason, suppressed, "joining worker refused"),
        });
    }

    /// Secures the connection and exchanges the first bytes. Returns the connection and the place of the worker, or
    /// `None` if the connection must be closed.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        is_allowed: bool,
    ) -> Option<(PeerStream, PeerPlace)> {
        // A TLS handshake costs this side a signature, so a stranger gets none, and no reason.
        if self.shared.settings.tls.is_some() && !is_allowed {
            let reason = self.refusal(peer, is_allowed);
            self.peers.log(peer, |suppressed| tracing::warn!(%peer, %reason, suppressed, "worker refused"));
            return None;
        }
        let mut stream = match accept_peer(self.shared.settings.tls.as_ref(), stream).await {
            Ok(stream) => stream,
            Err(error) => {
                self.fail_secure(peer, &error);
                return None;
            }
        };
        let place = self.admit(&mut stream, peer, is_allowed).await?;
        Some((stream, place))
    }

    async fn admit(&self, stream: &mut PeerStream, peer: SocketAddr, is_allowed: bool) -> Option<PeerPlace> {
        if let Err(error) = read_dialer(stream, &[Role::Worker]).await {
            return self.fail(peer, &error);
        }
        let place = if is_allowed { self.places.take(peer.ip()) } else { None };
        let response = match &place {
            Some(_) => PreambleReply::Welcome,
            None => PreambleReply::Refused(self.refusal(peer, is_allowed)),
        };
        if let Err(error) = reply(stream, &response).await {
            return self.fail(peer, &error);
        }
        if let PreambleReply::Refused(reason) = &response {
            self.peers.log(peer, |suppressed| tracing::warn!(%peer, %reason, suppressed, "worker refused"));
        }
        place
    }

    /// Returns why `peer` gets no place.
    fn refusal(&self, peer: SocketAddr, is_allowed: bool) -> String {
        let PeerLimits { total, per_network } = self.limits;
        if is_allowed {
            format!("this orchestrator has no place: it takes {total} joined workers, and {per_network} of one address")
        } else {
            format!("{} is not in the orchestrator's --join-from list", peer.ip().to_canonical())
        }
    }

    /// Logs a TLS handshake that failed.
    fn fail_secure(&self, peer: SocketAddr, error: &TlsError) {
        let reason = failure_line(error);
        if error.is_port_test() {
            tracing::debug!(%peer, %reason, "connection ended at once");
        } else {
            self.peers.log(peer, |suppressed| tracing::warn!(%peer, %reason, suppressed, "connection rejected"));
        }
    }

    /// Logs a handshake that failed. Returns `None`.
    fn fail(&self, peer: SocketAddr, error: &PreambleError) -> Option<PeerPlace> {
        match error {
            // The peer only tests whether the port is open, as load balancers and people do.
            PreambleError::Io(error) => tracing::debug!(%peer, %error, "connection ended at once"),
            error => {
                let error = failure_line(error);
                self.peers.log(peer, |suppressed| tracing::warn!(%peer, %error, suppressed, "connection rejected"));
            }
        }
        None
    }
}
