//! Connects to the workers of the list and keeps them connected, and serves workers that join.

use crate::{list::Member, session, shared::Shared, text::one_line};
use futures::future::select_ok;
use protocol::{Address, Backoff, Filter, PreambleError, Role, Verdict, accept, dial};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Maximum time to resolve a name, and then to establish a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum wait for a worker's hello after it has accepted the connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum wait for a refused worker to close the connection.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the first connection to a worker is retried before the worker counts as unreachable. A worker that was
/// started at the same moment may not have opened its port yet. When one proof follows another, the previous session
/// may not have ended yet.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two of these retries.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection to a worker, over any transport.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Connects to a worker inside this process.
pub trait LocalConnector: Send + Sync + 'static {
    /// Returns a new connection to the worker; `None` if the worker has stopped.
    fn connect(&self) -> Option<Box<dyn Stream>>;
}

/// Keeps connecting to `member` until `stop` is cancelled. `first` receives the outcome of the first connection: the
/// name of the worker, or the reason for the failure.
pub(crate) async fn keep_connected(
    member: Member,
    shared: Arc<Shared>,
    first: oneshot::Sender<Result<String, String>>,
    stop: CancellationToken,
) {
    let mut first = Some(first);
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        match connect_once(&member, &shared, &mut first, &stop).await {
            Ok(reason) => tracing::info!(worker = %member, %reason, "session ended"),
            Err(reason) => {
                tracing::debug!(worker = %member, %reason, "cannot connect to worker");
                {
                    let mut absences = shared.absences();
                    // Code that forgets a disconnected worker cancels `stop` while it holds this lock, so a forgotten
                    // worker is not listed again.
                    if !stop.is_cancelled() {
                        absences.called_in_vain(&member, &reason, SystemTime::now());
                    }
                }
                if let Some(first) = first.take() {
                    let _ = first.send(Err(reason));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.pause(began.elapsed())) => {}
        }
    }
}

/// Serves one connection until it ends. Returns `Ok` with the reason for its end if there was a session, and `Err` if
/// there was none.
async fn connect_once(
    member: &Member,
    shared: &Arc<Shared>,
    first: &mut Option<oneshot::Sender<Result<String, String>>>,
    stop: &CancellationToken,
) -> Result<String, String> {
    // Later connections are retried by `keep_connected`, so they need no patience.
    let patience = if first.is_some() { PATIENCE } else { Duration::ZERO };
    let stream = tokio::select! {
        () = stop.cancelled() => return Err("the orchestrator is stopping".to_owned()),
        stream = establish(member, shared, patience) => stream?,
    };
    serve_session(stream, member, shared, first, stop).await
}

/// Serves a session with the worker at the other end of `stream`.
async fn serve_session<S: Stream>(
    stream: S,
    member: &Member,
    shared: &Arc<Shared>,
    first: &mut Option<oneshot::Sender<Result<String, String>>>,
    stop: &CancellationToken,
) -> Result<String, String> {
    let (welcome, mut welcomed) = oneshot::channel();
    // Polled until the session ends, because it then waits for its own tasks. Only a worker that is refused or sends no
    // hello has a time limit.
    let mut session = std::pin::pin!(session::serve(stream, member.clone(), shared.clone(), welcome, stop));
    let hello = tokio::select! {
        reason = &mut session => return Err(welcomed.try_recv().ok().and_then(Result::err).unwrap_or(reason)),
        hello = timeout(HELLO_TIMEOUT, &mut welcomed) => hello,
    };
    let refusal = match hello {
        Ok(Ok(Ok(name))) => {
            if let Some(first) = first.take() {
                let _ = first.send(Ok(name));
            }
            return Ok(session.await);
        }
        Ok(Ok(Err(reason))) => reason,
        Ok(Err(_)) | Err(_) => format!("the worker sent no hello within {} s", HELLO_TIMEOUT.as_secs()),
    };
    // The worker receives the reason and closes the connection.
    let _ = timeout(FAREWELL_TIMEOUT, &mut session).await;
    Err(refusal)
}

/// Serves a worker that joins by itself, from the first bytes of its connection to the end of its session.
pub(crate) async fn serve_joined(
    mut stream: TcpStream,
    peer: SocketAddr,
    allowed: &Filter,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let verdict = if allowed.allows(peer.ip()).await {
        Verdict::Welcome
    } else {
        Verdict::Refused(format!("{} is not in the orchestrator's --join-from list", peer.ip().to_canonical()))
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::warn!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match accept(&mut stream, Role::Worker, &verdict).await {
        Ok(()) if verdict == Verdict::Welcome => {}
        Ok(()) => return tracing::warn!(%peer, "worker refused: its address is not in --join-from"),
        // The peer only tests whether the port is open, as load balancers and people do.
        Err(PreambleError::Io(error)) => return tracing::debug!(%peer, %error, "connection ended at once"),
        Err(error) => return tracing::warn!(%peer, error = %one_line(&error.to_string()), "connection rejected"),
    }
    match serve_session(stream, &Member::Joined(peer), &shared, &mut None, &stop).await {
        Ok(reason) => tracing::info!(%peer, %reason, "session ended"),
        Err(reason) => tracing::warn!(%peer, %reason, "joining worker refused"),
    }
}

/// Returns a connection to a worker that accepts this orchestrator. Retries within `patience` if the worker cannot be
/// reached, or if it works for another orchestrator.
async fn establish(member: &Member, shared: &Shared, patience: Duration) -> Result<Box<dyn Stream>, String> {
    let address = match member {
        Member::Remote(address) => address,
        Member::Local => {
            let local = shared.local.as_ref().ok_or("this process runs no worker")?;
            return local.connect().ok_or_else(|| "the worker of this process has stopped".to_owned());
        }
        Member::Joined(_) => return Err("this worker joins by itself".to_owned()),
    };
    let began = Instant::now();
    loop {
        let mut stream = match connect(address).await {
            Ok(stream) => stream,
            Err(_) if began.elapsed() < patience => {
                sleep(PAUSE).await;
                continue;
            }
            Err(reason) => return Err(reason),
        };
        stream.set_nodelay(true).map_err(|error| format!("cannot set TCP_NODELAY: {error}"))?;
        match dial(&mut stream, Role::Orchestrator).await {
            Ok(()) => return Ok(Box::new(stream)),
            Err(PreambleError::Busy(_)) if began.elapsed() < patience => sleep(PAUSE).await,
            Err(error) => return Err(one_line(&error.to_string())),
        }
    }
}

pub(crate) async fn connect(address: &Address) -> Result<TcpStream, String> {
    let resolved = timeout(CONNECT_TIMEOUT, address.resolve()).await;
    let found = match resolved {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(format!("cannot resolve the name: {error}")),
        Err(_) => return Err(format!("the name was not resolved within {} s", CONNECT_TIMEOUT.as_secs())),
    };
    // Try all addresses of the name at the same time, because one of them may drop all packets.
    let tries = select_ok(found.into_iter().map(|socket| Box::pin(TcpStream::connect(socket))));
    match timeout(CONNECT_TIMEOUT, tries).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: no program listens at this address".to_owned(),
        _ => error.to_string(),
    }
}
