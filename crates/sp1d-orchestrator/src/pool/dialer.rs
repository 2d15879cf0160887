//! Establishes connections to workers, over TCP or inside this process.
//!
//! It does not know what happens on a connection.

use super::{list::Member, reach_error::ReachError};
use futures::future::select_ok;
use sp1d_protocol::{Address, PreambleError, Role, dial};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Maximum time to resolve a name, and then to establish a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause between two tries to reach a worker.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A connection to a worker, over any transport.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Connects to a worker inside this process.
pub trait LocalConnector: Send + Sync + 'static {
    /// Returns a new connection to the worker; `None` if the worker has stopped.
    fn connect(&self) -> Option<Box<dyn Stream>>;
}

/// Returns a connection to a worker that accepts this orchestrator. Retries within `patience` if the worker cannot be
/// reached, or if it works for another orchestrator.
pub(crate) async fn establish(
    member: &Member,
    local: Option<&dyn LocalConnector>,
    patience: Duration,
) -> Result<Box<dyn Stream>, ReachError> {
    let address = match member {
        Member::Remote(address) => address,
        Member::Local => {
            let local = local.ok_or(ReachError::NoLocalWorker)?;
            return local.connect().ok_or(ReachError::LocalWorkerStopped);
        }
        Member::Joined(_) => return Err(ReachError::Joins),
    };
    let started = Instant::now();
    loop {
        let mut stream = match connect(address).await {
            Ok(stream) => stream,
            Err(_) if started.elapsed() < patience => {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true).map_err(ReachError::NoDelay)?;
        match dial(&mut stream, Role::Orchestrator).await {
            Ok(()) => return Ok(Box::new(stream)),
            Err(PreambleError::Busy(_)) if started.elapsed() < patience => sleep(RETRY_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns a TCP connection to `address`.
pub(crate) async fn connect(address: &Address) -> Result<TcpStream, ReachError> {
    let resolved = timeout(CONNECT_TIMEOUT, address.resolve()).await;
    let found = match resolved {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(ReachError::Resolve(error)),
        Err(_) => return Err(ReachError::ResolveTimeout(CONNECT_TIMEOUT)),
    };
    // Try all addresses of the name at the same time, because one of them may drop all packets.
    let tries = select_ok(found.into_iter().map(|socket| Box::pin(TcpStream::connect(socket))));
    match timeout(CONNECT_TIMEOUT, tries).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ReachError::ConnectionRefused),
        Ok(Err(error)) => Err(ReachError::Connect(error)),
        Err(_) => Err(ReachError::ConnectTimeout(CONNECT_TIMEOUT)),
    }
}
