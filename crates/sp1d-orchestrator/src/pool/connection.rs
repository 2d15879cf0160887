//! Keeps workers of the list connected, and serves workers that join.

use super::{
    dialer::{Stream, establish},
    list::Member,
    reach_error::ReachError,
};
use crate::{registry::Registry, session::server::serve};
use sp1d_model::hint::one_line;
use sp1d_protocol::{Backoff, Filter, PreambleError, PreambleReply, Role, accept};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Maximum wait for a worker's hello after it has accepted the connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum wait for a refused worker to close the connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the first connection to a worker is retried before the worker counts as unreachable. A worker that was
/// started at the same moment may not have opened its port yet. When one proof follows another, the previous session
/// may not have ended yet.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// Keeps connecting to `member` until `stop` is cancelled. `first` receives the outcome of the first connection: the
/// name of the worker, or why it cannot be reached.
pub(crate) async fn keep_connected(
    member: Member,
    registry: Arc<Registry>,
    first: oneshot::Sender<Result<String, ReachError>>,
    stop: CancellationToken,
) {
    let mut first = Some(first);
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        match connect_once(&member, &registry, &mut first, &stop).await {
            Ok(reason) => tracing::info!(worker = %member, %reason, "session ended"),
            Err(error) => {
                let reason = one_line(&error.to_string());
                tracing::debug!(worker = %member, %reason, "cannot connect to worker");
                {
                    let mut disconnected = registry.disconnected();
                    // Code that forgets a disconnected worker cancels `stop` while it holds this lock, so a forgotten
                    // worker is not listed again.
                    if !stop.is_cancelled() {
                        disconnected.connection_failed(&member, &reason, SystemTime::now());
                    }
                }
                if let Some(first) = first.take() {
                    let _ = first.send(Err(error));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.pause(started.elapsed())) => {}
        }
    }
}

/// Serves one connection until it ends. Returns `Ok` with the reason for its end if a session started, and `Err`
/// otherwise.
async fn connect_once(
    member: &Member,
    registry: &Arc<Registry>,
    first: &mut Option<oneshot::Sender<Result<String, ReachError>>>,
    stop: &CancellationToken,
) -> Result<String, ReachError> {
    // Later connections are retried by `keep_connected`, so they need no patience.
    let patience = if first.is_some() { FIRST_PATIENCE } else { Duration::ZERO };
    let stream = tokio::select! {
        () = stop.cancelled() => return Err(ReachError::Stopping),
        stream = establish(member, registry.local.as_deref(), patience) => stream?,
    };
    serve_session(stream, member, registry, first, stop).await
}

/// Serves a session with the worker at the other end of `stream`.
async fn serve_session<S: Stream>(
    stream: S,
    member: &Member,
    registry: &Arc<Registry>,
    first: &mut Option<oneshot::Sender<Result<String, ReachError>>>,
    stop: &CancellationToken,
) -> Result<String, ReachError> {
    let (welcome, mut welcomed) = oneshot::channel();
    // Polled until the session ends, because it then waits for its own tasks. Only a worker that is refused or sends no
    // hello has a time limit.
    let mut session = std::pin::pin!(serve(stream, member.clone(), registry.clone(), welcome, stop));
    let hello = tokio::select! {
        reason = &mut session => return Err(match welcomed.try_recv() {
            Ok(Err(mismatch)) => mismatch.into(),
            Ok(Ok(_)) | Err(_) => ReachError::SessionEnded(reason),
        }),
        hello = timeout(HELLO_TIMEOUT, &mut welcomed) => hello,
    };
    let error = match hello {
        Ok(Ok(Ok(name))) => {
            if let Some(first) = first.take() {
                let _ = first.send(Ok(name));
            }
            return Ok(session.await);
        }
        Ok(Ok(Err(mismatch))) => mismatch.into(),
        Ok(Err(_)) | Err(_) => ReachError::NoHello(HELLO_TIMEOUT),
    };
    // The worker receives the reason and closes the connection.
    let _ = timeout(GOODBYE_TIMEOUT, &mut session).await;
    Err(error)
}

/// Serves a worker that joins by itself, from the first bytes of its connection to the end of its session.
pub(crate) async fn serve_joined(
    mut stream: TcpStream,
    peer: SocketAddr,
    allowed: &Filter,
    registry: Arc<Registry>,
    stop: CancellationToken,
) {
    let verdict = if allowed.allows(peer.ip()).await {
        PreambleReply::Welcome
    } else {
        PreambleReply::Refused(format!("{} is not in the orchestrator's --join-from list", peer.ip().to_canonical()))
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::warn!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match accept(&mut stream, Role::Worker, &verdict).await {
        Ok(()) if verdict == PreambleReply::Welcome => {}
        Ok(()) => return tracing::warn!(%peer, "worker refused: its address is not in --join-from"),
        // The peer only tests whether the port is open, as load balancers and people do.
        Err(PreambleError::Io(error)) => return tracing::debug!(%peer, %error, "connection ended at once"),
        Err(error) => return tracing::warn!(%peer, error = %one_line(&error.to_string()), "connection rejected"),
    }
    match serve_session(stream, &Member::Joined(peer), &registry, &mut None, &stop).await {
        Ok(reason) => tracing::info!(%peer, %reason, "session ended"),
        Err(reason) => tracing::warn!(%peer, %reason, "joining worker refused"),
    }
}
