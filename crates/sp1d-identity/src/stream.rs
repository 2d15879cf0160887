//! A connection, with or without TLS.

use crate::{
    error::TlsError,
    peer::{Fingerprint, PeerIdentity},
    revocation::Revocations,
};
use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsStream;

/// How often an open connection checks whether its peer has been revoked.
const REVOCATION_CHECK: Duration = Duration::from_secs(1);

/// Returns the present revocation list.
pub(crate) type PresentRevocations = dyn Fn() -> Arc<Revocations> + Send + Sync;

/// A TCP connection, with or without TLS. With TLS, reading fails once the peer is revoked.
#[derive(Debug)]
pub struct PeerStream(Transport);

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Secure(Box<SecureTransport>),
}

struct SecureTransport {
    stream: TlsStream<TcpStream>,
    /// `None` for a client of HTTPS.
    peer: Option<VerifiedPeer>,
}

/// The peer of an open connection.
pub(crate) struct VerifiedPeer {
    pub(crate) identity: PeerIdentity,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) present: Box<PresentRevocations>,
    pub(crate) checked: Instant,
}

impl fmt::Debug for SecureTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.as_ref().map(|peer| &peer.identity);
        f.debug_struct("SecureTransport").field("peer", &peer).finish_non_exhaustive()
    }
}

impl VerifiedPeer {
    /// Fails if the peer has been revoked since its handshake.
    fn check(&mut self) -> Result<(), TlsError> {
        if self.checked.elapsed() < REVOCATION_CHECK {
            return Ok(());
        }
        if (self.present)().contains(&self.identity, self.fingerprint) {
            return Err(TlsError::Revoked(self.identity.clone()));
        }
        self.checked = Instant::now();
        Ok(())
    }
}

impl From<TcpStream> for PeerStream {
    fn from(stream: TcpStream) -> Self {
        Self(Transport::Plain(stream))
    }
}

impl PeerStream {
    pub(crate) fn secure(stream: TlsStream<TcpStream>, peer: Option<VerifiedPeer>) -> Self {
        Self(Transport::Secure(Box::new(SecureTransport { stream, peer })))
    }

    /// Returns who the peer is; `None` without TLS, and for a client of HTTPS.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerIdentity> {
        match &self.0 {
            Transport::Plain(_) => None,
            Transport::Secure(secure) => secure.peer.as_ref().map(|peer| &peer.identity),
        }
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Transport::Plain(stream) => stream.peer_addr(),
            Transport::Secure(secure) => secure.stream.get_ref().0.peer_addr(),
        }
    }
}

/// Replaces the error of a refused certificate by one with a readable text. In TLS 1.3, the side that dialed learns
/// only after its own handshake that the other side refuses its certificate.
fn readable(error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        io::Error::new(error.kind(), TlsError::from(error))
    } else {
        error
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Secure(secure) => {
                if let Some(peer) = &mut secure.peer {
                    peer.check().map_err(|error| io::Error::new(ErrorKind::PermissionDenied, error))?;
                }
                Pin::new(&mut secure.stream).poll_read(context, buffer).map_err(readable)
            }
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Secure(secure) => Pin::new(&mut secure.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Transport::Secure(secure) => Pin::new(&mut secure.stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Secure(secure) => secure.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Secure(secure) => Pin::new(&mut secure.stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Secure(secure) => Pin::new(&mut secure.stream).poll_shutdown(context),
        }
    }
}
