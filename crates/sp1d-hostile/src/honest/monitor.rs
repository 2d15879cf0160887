//! Asks for the health of the service, and connects to the other ports, again and again.

use crate::pool::MeasuredPool;
use anyhow::{Result, bail};
use sp1d_client::Client;
use sp1d_identity::{TlsIdentity, connect_peer};
use sp1d_protocol::{Admission, PreambleError, Role, dial};
use std::{
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// Pause between two requests for the health.
const HEALTH_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for a response to `/healthz`.
const HEALTH_TIME: Duration = Duration::from_secs(5);
/// Pause between two handshakes at a port.
const HANDSHAKE_PAUSE: Duration = Duration::from_millis(500);
/// Longest handshake, as of a peer that retries afterwards.
const HANDSHAKE_TIME: Duration = Duration::from_secs(3);
/// Tries of a probe over HTTP. Monitors act only after several failures, because a full port replaces connections.
const PROBE_TRIES: u32 = 3;

/// What a monitor has seen.
#[derive(Debug, Clone)]
pub(crate) struct MonitorFigures {
    /// The longest time between two healthy responses.
    pub(crate) longest_silence: Duration,
    /// Handshakes and probes that were refused or took too long, in words.
    pub(crate) refusals: Vec<String>,
}

struct MonitorState {
    last_healthy: Instant,
    seen: MonitorFigures,
}

/// Watches a service until it is dropped.
pub(crate) struct HonestMonitor {
    state: Arc<Mutex<MonitorState>>,
    _tasks: [AbortOnDropHandle<()>; 5],
}

fn lock(state: &Mutex<MonitorState>) -> MutexGuard<'_, MonitorState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MonitorState {
    fn on_healthy(&mut self, now: Instant) {
        self.seen.longest_silence = self.seen.longest_silence.max(now - self.last_healthy);
        self.last_healthy = now;
    }
}

impl HonestMonitor {
    pub(crate) fn start(pool: &MeasuredPool) -> Result<Self> {
        let seen = MonitorFigures { longest_silence: Duration::ZERO, refusals: Vec::new() };
        let state = Arc::new(Mutex::new(MonitorState { last_healthy: Instant::now(), seen }));
        let client = Client::new(&pool.url())?;
        let (worker, orchestrator) = pool.keys.as_ref().map(|keys| (keys.worker(), keys.orchestrator())).unzip();
        let tasks = [
            tokio::spawn(watch_health(client, state.clone())),
            tokio::spawn(watch_port(pool.join_port, Role::Worker, worker, state.clone())),
            // The worker serves the service, so it tells an orchestrator without proofs that it is busy.
            tokio::spawn(watch_port(pool.worker_port, Role::IdleOrchestrator, orchestrator, state.clone())),
            // This path does not exist there, so the response says that the port serves requests.
            tokio::spawn(watch_path(pool.hosted_port, "/", "HTTP/1.1 404", state.clone())),
            tokio::spawn(watch_path(pool.health_port, "/healthz", "HTTP/1.1 200", state.clone())),
        ];
        Ok(Self { state, _tasks: tasks.map(AbortOnDropHandle::new) })
    }

    /// Returns what the monitor has seen since the last call.
    pub(crate) fn take(&self) -> MonitorFigures {
        let mut state = lock(&self.state);
        let silence = state.last_healthy.elapsed();
        state.seen.longest_silence = state.seen.longest_silence.max(silence);
        mem::replace(&mut state.seen, MonitorFigures { longest_silence: Duration::ZERO, refusals: Vec::new() })
    }
}

async fn watch_health(client: Client, state: Arc<Mutex<MonitorState>>) {
    loop {
        if let Ok(Ok(_)) = timeout(HEALTH_TIME, client.health()).await {
            lock(&state).on_healthy(Instant::now());
        }
        sleep(HEALTH_PAUSE).await;
    }
}

/// Shakes hands at `port`, with TLS if `tls` is given.
async fn watch_port(port: SocketAddr, role: Role, tls: Option<Arc<TlsIdentity>>, state: Arc<Mutex<MonitorState>>) {
    loop {
        let shaken = timeout(HANDSHAKE_TIME, shake_hands(port, role, tls.as_ref())).await;
        let refused = shaken.unwrap_or_else(|_| Err(anyhow::anyhow!("no handshake within {HANDSHAKE_TIME:?}")));
        if let Err(error) = refused {
            lock(&state).seen.refusals.push(format!("port of {role:?}: {error}"));
        }
        sleep(HANDSHAKE_PAUSE).await;
    }
}

/// Asks for `path` at `port`. The response must start with `expected`.
async fn watch_path(port: SocketAddr, path: &str, expected: &str, state: Arc<Mutex<MonitorState>>) {
    loop {
        let mut fault = None;
        for _ in 0..PROBE_TRIES {
            fault = match timeout(HANDSHAKE_TIME, probe(port, path)).await {
                Ok(Ok(start)) if start == expected => None,
                Ok(Ok(start)) => Some(format!("{start} instead of {expected}")),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no response within {HANDSHAKE_TIME:?}")),
            };
            if fault.is_none() {
                break;
            }
        }
        if let Some(fault) = fault {
            lock(&state).seen.refusals.push(format!("{path} at {port}: {fault}"));
        }
        sleep(HANDSHAKE_PAUSE).await;
    }
}

/// Returns the version and the status of the response to a request for `path`.
async fn probe(port: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(port).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    Ok(String::from_utf8_lossy(&start).into_owned())
}

async fn shake_hands(port: SocketAddr, role: Role, tls: Option<&Arc<TlsIdentity>>) -> Result<()> {
    let mut stream = connect_peer(tls, TcpStream::connect(port).await?).await?;
    match (dial(&mut stream, role).await, role) {
        (Ok(Admission::Welcome), _) | (Err(PreambleError::Busy(_)), Role::IdleOrchestrator) => Ok(()),
        (Ok(Admission::Queued), _) => bail!("the peer put this side into its queue"),
        (Err(error), _) => Err(error.into()),
    }
}
