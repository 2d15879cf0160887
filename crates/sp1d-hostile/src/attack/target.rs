//! What an attack can reach, and what it has done.

use anyhow::{Context, Result};
use bytes::Bytes;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::{TcpSocket, TcpStream};

/// Maximum number of characters of a refusal that are kept.
const MAX_REFUSAL_CHARACTERS: usize = 200;

/// What an attack has done.
#[derive(Debug, Default)]
pub(crate) struct AttackCounts {
    acts: AtomicU64,
    refusals: AtomicU64,
    last_refusal: Mutex<String>,
    violations: Mutex<Vec<String>>,
    /// When the attack requested a proof for the last time.
    last_proof: Mutex<Option<Instant>>,
}

impl AttackCounts {
    /// Returns the number of hostile messages, requests or connections.
    pub(crate) fn acts(&self) -> u64 {
        self.acts.load(Ordering::Relaxed)
    }

    /// Returns how often the victim refused the attack, or ended the connection.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Returns the text of the last refusal.
    pub(crate) fn last_refusal(&self) -> String {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what the victim must never do and has done, in words.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if the attack has requested no proof for `pause`. Then the caller requests one.
    pub(super) fn is_proof_due(&self, pause: Duration) -> bool {
        let mut last = self.last_proof.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= pause);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    pub(super) fn refuse(&self, text: &str) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        let text = sp1d_model::clean_line(text, MAX_REFUSAL_CHARACTERS);
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// What an attack can reach.
#[derive(Debug, Clone)]
pub(crate) struct AttackTarget {
    /// Port for orchestrators of a worker.
    pub(crate) worker_port: SocketAddr,
    /// Port for joining workers of the service.
    pub(crate) join_port: SocketAddr,
    /// HTTP interface of the service.
    pub(crate) http_port: SocketAddr,
    /// Interface of the service for sp1-sdk.
    pub(crate) hosted_port: SocketAddr,
    /// Port for health probes of a worker.
    pub(crate) health_port: SocketAddr,
    /// First message of a TLS handshake at the ports of the worker and for joining workers. Empty without TLS.
    pub(crate) hello: Bytes,
    /// Number of addresses from which the attacker connects.
    pub(crate) addresses: u8,
    pub(crate) counts: Arc<AttackCounts>,
}

impl AttackTarget {
    /// Counts a hostile message, request or connection.
    pub(super) fn act(&self) {
        self.counts.acts.fetch_add(1, Ordering::Relaxed);
    }

    /// Records something that the victim must never do.
    pub(super) fn violate(&self, text: String) {
        self.counts.violations.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Connects to `port` from one of the attacker's addresses.
    pub(super) async fn connect(&self, port: SocketAddr) -> Result<TcpStream> {
        // Not the address of the honest peers.
        let last = 2 + (self.counts.acts() % u64::from(self.addresses.max(1))) as u8;
        let socket = TcpSocket::new_v4().context("cannot open a socket")?;
        socket.bind((Ipv4Addr::new(127, 0, 1, last), 0).into()).context("the attacker has no free port")?;
        let stream = socket.connect(port).await.context("the connection was refused")?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        Ok(stream)
    }
}
