//! HTTP/2 on a stream that exists already, with an owner that can end it.

use crate::wire::{
    session_client::SessionClient,
    session_server::{Session, SessionServer},
};
use artifacts::CHUNK_BYTES;
use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use std::{
    future::ready,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::{Channel, Endpoint, Server, server::Connected};

/// A chunk and its framing fit; nothing else is near it.
const MAX_MESSAGE_BYTES: usize = CHUNK_BYTES + (64 << 10);

/// Two chunks: enough to keep a fast link busy, and on a slow one (64 Mbit/s) half a second of bulk before a heartbeat
/// gets through.
const WINDOW_BYTES: u32 = 2 * CHUNK_BYTES as u32;

/// A stream whose end can be ordered and noticed from outside. HTTP/2 servers keep their connections after the future
/// that serves them is gone; this is what ends them.
pub struct Connection<S> {
    stream: S,
    close: Pin<Box<WaitForCancellationFutureOwned>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    close: CancellationToken,
    ended: CancellationToken,
    bytes_read: AtomicU64,
}

/// Ends a [`Connection`], and tells when it has ended and whether anything was heard on it.
#[derive(Clone)]
pub struct Closer(Arc<State>);

impl Closer {
    /// Ends the connection: both directions fail from now on.
    pub fn close(&self) {
        self.0.close.cancel();
    }

    /// Resolves when the connection is gone, whoever ended it.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// True when the connection is gone, or will be in a moment.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.close.is_cancelled() || self.0.ended.is_cancelled()
    }

    /// Bytes read so far: as long as it grows the peer is alive, whatever it sends.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.0.bytes_read.load(Ordering::Relaxed)
    }
}

impl<S> Connection<S> {
    /// Gives `stream` an owner. A TCP stream must have `TCP_NODELAY` set: without it every call takes 40 ms longer.
    pub fn new(stream: S) -> (Self, Closer) {
        let state = Arc::new(State::default());
        let close = Box::pin(state.close.clone().cancelled_owned());
        (Self { stream, close, state: state.clone() }, Closer(state))
    }

    fn check_open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.close.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the session was ended")),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.state.ended.cancel();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.state.bytes_read.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_open(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Ends the connection when the future that owns it is dropped.
struct CloseOnDrop<'a>(&'a Closer);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Serves `session` on `connection` until the connection ends. A silent peer is the caller's to notice: the answer to a
/// ping of HTTP/2 stands in line behind whatever bulk is on its way, and would have a slow link taken for a dead one.
///
/// # Errors
/// When HTTP/2 itself fails.
///
/// # Cancel safety
/// Dropping the future ends the connection.
pub async fn serve_connection<S>(
    connection: Connection<S>,
    closer: &Closer,
    session: impl Session,
) -> Result<(), tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _owner = CloseOnDrop(closer);
    // The stream of connections never ends by itself: its end would leave the one connection without a server to wait
    // for.
    let incoming = stream::once(ready(Ok::<_, io::Error>(connection))).chain(stream::pending());
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .add_service(
            SessionServer::new(session)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .serve_with_incoming_shutdown(incoming, closer.ended())
        .await
}

/// The client's side of a stream whose other end serves.
///
/// # Errors
/// When HTTP/2 cannot be agreed on.
pub async fn connect_client<S>(connection: Connection<S>) -> Result<SessionClient<Channel>, tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let only = Mutex::new(Some(connection));
    let connector = tower::service_fn(move |_| {
        let connection = only.lock().map(|mut slot| slot.take()).unwrap_or_default();
        ready(connection.map(TokioIo::new).ok_or_else(|| io::Error::other("the one connection is used up")))
    });
    let channel = Endpoint::from_static("http://orchestrator.invalid")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .connect_with_connector(connector)
        .await?;
    Ok(SessionClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}
