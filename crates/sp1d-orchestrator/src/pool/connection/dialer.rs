//! Establishes connections to workers, over TCP or inside this process.
//!
//! It does not know what happens on a connection.

use crate::{
    resolver::AddressResolver,
    workers::{
        local_connector::{LocalConnector, Stream},
        reach_error::ReachError,
        worker_address::WorkerAddress,
    },
};
use futures::future::select_ok;
use sp1d_identity::{PeerIdentity, PeerStream, TlsIdentity, connect_peer};
use sp1d_protocol::{Address, Admission, Role, dial};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// Maximum time to establish a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum time to resolve a name. A resolver asks a name server again after 5 s, and then the next one.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to a worker.
pub(crate) enum Established {
    /// The session starts now.
    Admitted {
        /// The connection.
        stream: Box<dyn Stream>,
        /// The IP address of the worker; `None` for the worker of this process.
        reached: Option<IpAddr>,
        /// Who the worker is; `None` without TLS.
        peer: Option<PeerIdentity>,
    },
    /// The worker serves another orchestrator, and this one waits for its turn on this connection.
    Queued(PeerStream),
}

/// Returns a connection to a worker that accepts this orchestrator. If the worker serves another orchestrator, an
/// orchestrator that `has_proof` waits for its turn on this connection, and another one fails.
pub(crate) async fn establish(
    worker_address: &WorkerAddress,
    local: Option<&dyn LocalConnector>,
    resolver: &dyn AddressResolver,
    tls: Option<&Arc<TlsIdentity>>,
    has_proof: bool,
) -> Result<Established, ReachError> {
    let stream = match worker_address {
        WorkerAddress::Listed(address) => connect(address, resolver).await?,
        WorkerAddress::OfName(address, _) => connect_to(vec![*address]).await?,
        WorkerAddress::Local => {
            let local = local.ok_or(ReachError::NoLocalWorker)?;
            let stream = local.connect().ok_or(ReachError::LocalWorkerStopped)?;
            return Ok(Established::Admitted { stream, reached: None, peer: None });
        }
        WorkerAddress::JoinedFrom(_) => return Err(ReachError::Joins),
    };
    let mut stream = secure(stream, tls).await?;
    let role = if has_proof { Role::Orchestrator } else { Role::IdleOrchestrator };
    Ok(match dial(&mut stream, role).await? {
        Admission::Welcome => {
            let (reached, peer) = (address_of(&stream), stream.peer().cloned());
            Established::Admitted { stream: Box::new(stream), reached, peer }
        }
        Admission::Queued => Established::Queued(stream),
    })
}

/// Returns the IP address of the peer; `None` if the connection has just ended.
pub(crate) fn address_of(stream: &PeerStream) -> Option<IpAddr> {
    stream.peer_addr().ok().map(|address| address.ip())
}

/// Prepares a new TCP connection to a worker, with TLS if `tls` is given.
pub(crate) async fn secure(stream: TcpStream, tls: Option<&Arc<TlsIdentity>>) -> Result<PeerStream, ReachError> {
    stream.set_nodelay(true).map_err(ReachError::NoDelay)?;
    Ok(connect_peer(tls, stream).await?)
}

/// Returns a TCP connection to `address`. A name is looked up again in each call.
pub(crate) async fn connect(address: &Address, resolver: &dyn AddressResolver) -> Result<TcpStream, ReachError> {
    match timeout(RESOLVE_TIMEOUT, resolver.resolve(address)).await {
        Ok(Ok(found)) => connect_to(found).await,
        Ok(Err(error)) => Err(ReachError::Resolve(error)),
        Err(_) => Err(ReachError::ResolveTimeout(RESOLVE_TIMEOUT)),
    }
}

/// Returns a TCP connection to one of the addresses `found` of a worker.
async fn connect_to(found: Vec<SocketAddr>) -> Result<TcpStream, ReachError> {
    if found.is_empty() {
        return Err(ReachError::Resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    // Try all addresses of the name at the same time, because one of them may drop all packets.
    let tries = select_ok(found.into_iter().map(|socket| Box::pin(TcpStream::connect(socket))));
    match timeout(CONNECT_TIMEOUT, tries).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ReachError::ConnectionRefused),
        Ok(Err(error)) => Err(ReachError::Connect(error)),
        Err(_) => Err(ReachError::ConnectTimeout(CONNECT_TIMEOUT)),
    }
}
