//! The first part of every connection at a port for orchestrators or for workers that join.

use super::{filter::Filter, peer_network::PeerNetwork, port_guard::PortGuard, rate_limiter::RateLimiter};
use sp1d_model::Rate;
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

/// Pause after a failed accept. Usually the process has no free file descriptor, and a connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections, bounds those that shake hands, and limits the log lines that their addresses cause.
#[derive(Debug)]
pub struct PeerPort {
    guard: PortGuard,
    failed_accepts: Mutex<RateLimiter<()>>,
    logs: Mutex<RateLimiter<PeerNetwork>>,
}

impl PeerPort {
    /// Creates a port for the peers that `filter` allows. Each address, or each IPv6 network of 64 bits, may cause log
    /// lines at `log_rate`.
    #[must_use]
    pub fn new(filter: Filter, log_rate: Rate) -> Self {
        Self {
            guard: PortGuard::new(filter),
            failed_accepts: Mutex::new(RateLimiter::new(log_rate)),
            logs: Mutex::new(RateLimiter::new(log_rate)),
        }
    }

    /// Returns the filter.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        self.guard.filter()
    }

    /// Returns the next connection, with `TCP_NODELAY` set. Logs a failure and waits for another connection.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            let error = match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
                    }
                    return (stream, peer);
                }
                Err(error) => error,
            };
            let suppressed =
                self.failed_accepts.lock().unwrap_or_else(PoisonError::into_inner).take((), Instant::now());
            if let Some(suppressed) = suppressed {
                tracing::warn!(%error, suppressed, "cannot accept a connection");
            }
            sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Takes a place for the handshake of `peer`, and then lets `shake_hands` work. It gets `true` if the filter allows
    /// the peer. Returns what `shake_hands` returns, or `None` if the connection must be closed because there are too
    /// many others.
    ///
    /// # Cancel safety
    /// Dropping the future ends the handshake and frees its place.
    pub async fn handshake<T, H>(&self, peer: SocketAddr, shake_hands: impl FnOnce(bool) -> H) -> Option<T>
    where
        H: Future<Output = Option<T>>,
    {
        let Some(place) = self.guard.enter(peer.ip()).await else {
            self.log(peer, |suppressed| tracing::warn!(%peer, suppressed, "connection closed: too many others"));
            return None;
        };
        tokio::select! {
            () = place.displaced() => {
                self.log(peer, |suppressed| {
                    tracing::warn!(%peer, suppressed, "connection closed: too many handshakes");
                });
                None
            }
            admitted = shake_hands(place.is_allowed()) => admitted,
        }
    }

    /// Calls `write` with the number of suppressed log lines, unless the address of `peer` has caused too many.
    pub fn log(&self, peer: SocketAddr, write: impl FnOnce(u64)) {
        let suppressed =
            self.logs.lock().unwrap_or_else(PoisonError::into_inner).take(peer.ip().into(), Instant::now());
        if let Some(suppressed) = suppressed {
            write(suppressed);
        }
    }
}
