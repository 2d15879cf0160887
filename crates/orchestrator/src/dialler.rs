//! Keeps a connection to each worker of the list.

use crate::{list::Member, session, shared::Shared};
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

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for a worker's hello, once it has accepted the connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest wait for a worker that was refused to hang up.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the first connection to a worker is tried again before the worker counts as unreachable. A worker that was
/// started in the same moment is about to open its port. When two proofs follow each other, the first session is still
/// ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two such tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection to a worker, whatever it goes over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The way to a worker inside this process.
pub trait LocalConnector: Send + Sync + 'static {
    /// A new connection to it; `None` when it has stopped.
    fn connect(&self) -> Option<Box<dyn Stream>>;
}

/// Connects to `member`, again and again, until `stop`. `first` hears how the first try went: the worker's name, or why
/// not.
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
                tracing::debug!(worker = %member, %reason, "connect to a worker");
                {
                    let mut absences = shared.absences();
                    // Whoever forgets it stops this first, and then looks for it among the absent.
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

/// One connection from its beginning to its end: `Ok` with the reason it ended, once there was a session; `Err` when
/// there was none.
async fn connect_once(
    member: &Member,
    shared: &Arc<Shared>,
    first: &mut Option<oneshot::Sender<Result<String, String>>>,
    stop: &CancellationToken,
) -> Result<String, String> {
    // Later there is no hurry.
    let patience = if first.is_some() { PATIENCE } else { Duration::ZERO };
    let stream = tokio::select! {
        () = stop.cancelled() => return Err("the orchestrator is stopping".to_owned()),
        stream = establish(member, shared, patience) => stream?,
    };
    serve_session(stream, member, shared, first, stop).await
}

/// A session with whoever is at the other end of `stream`.
async fn serve_session<S: Stream>(
    stream: S,
    member: &Member,
    shared: &Arc<Shared>,
    first: &mut Option<oneshot::Sender<Result<String, String>>>,
    stop: &CancellationToken,
) -> Result<String, String> {
    let (welcome, mut welcomed) = oneshot::channel();
    // Never dropped before its end: it has tasks to wait for.
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
        Ok(Err(_)) | Err(_) => format!("no hello within {} s", HELLO_TIMEOUT.as_secs()),
    };
    // The worker hears why, and hangs up.
    let _ = timeout(FAREWELL_TIMEOUT, &mut session).await;
    Err(refusal)
}

/// A session with a worker that has come by itself, from its first bytes to its end.
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
        tracing::warn!(%error, "set TCP_NODELAY");
    }
    match accept(&mut stream, Role::Worker, &verdict).await {
        Ok(()) if verdict == Verdict::Welcome => {}
        Ok(()) => return tracing::warn!(%peer, "a worker was refused: its address is not in --join-from"),
        // Somebody looks whether the port is open, as load balancers and people do.
        Err(PreambleError::Io(error)) => return tracing::debug!(%peer, %error, "a connection ended at once"),
        Err(error) => return tracing::warn!(%peer, %error, "a connection was refused"),
    }
    match serve_session(stream, &Member::Joined(peer), &shared, &mut None, &stop).await {
        Ok(reason) => tracing::info!(%peer, %reason, "session ended"),
        Err(reason) => tracing::warn!(%peer, %reason, "a worker that joined was refused"),
    }
}

/// A connection whose other end is a worker that lets this orchestrator in. Tries again within `patience` if the worker
/// cannot be reached, or has another orchestrator now.
async fn establish(member: &Member, shared: &Shared, patience: Duration) -> Result<Box<dyn Stream>, String> {
    let address = match member {
        Member::Remote(address) => address,
        Member::Local => {
            let local = shared.local.as_ref().ok_or("this process runs no worker")?;
            return local.connect().ok_or_else(|| "this process's worker has stopped".to_owned());
        }
        Member::Joined(_) => return Err("it joins by itself".to_owned()),
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
            Err(error) => return Err(error.to_string()),
        }
    }
}

pub(crate) async fn connect(address: &Address) -> Result<TcpStream, String> {
    let resolved = timeout(CONNECT_TIMEOUT, address.resolve()).await;
    let found = match resolved {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(format!("the name cannot be resolved: {error}")),
        Err(_) => return Err(format!("the name was not resolved within {} s", CONNECT_TIMEOUT.as_secs())),
    };
    // All at once: one of a name's addresses may swallow everything.
    let tries = select_ok(found.into_iter().map(|socket| Box::pin(TcpStream::connect(socket))));
    match timeout(CONNECT_TIMEOUT, tries).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".to_owned(),
        _ => error.to_string(),
    }
}
