//! HTTP/2 on an existing stream, with an owner that can end it.

use crate::wire::{
    session_client::SessionClient,
    session_server::{Session, SessionServer},
};
use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use sp1d_artifacts::CHUNK_BYTES;
use std::{
    future::ready,
    io::{self, IoSlice},
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

sp1d_model::limits! {
    /// Maximum size of a message: one chunk and its framing. No other message comes near it.
    const MAX_MESSAGE_BYTES: usize = CHUNK_BYTES + (64 << 10); Bytes by EitherSide;
    /// The flow-control window of one stream: two chunks keep a fast link busy. A connection has twice this window (4
    /// MiB). On a slow link (64 Mbit/s) a heartbeat therefore waits up to about half a second behind other data.
    const WINDOW_BYTES: u32 = 2 * CHUNK_BYTES as u32; Bytes by EitherSide;
    /// Maximum size of an HTTP/2 frame. Each frame costs a read, a buffer and bookkeeping on both sides, so the default
    /// of 16 KiB costs a large artifact a sixth of its throughput. A heartbeat waits behind at most one frame more.
    const MAX_FRAME_BYTES: u32 = 128 << 10; Bytes by EitherSide;
    /// Maximum number of calls of a worker at the same time: its control stream, and transfers of artifacts. More
    /// transfers wait on the worker's side. Each transfer holds up to two chunks in memory, and a few transfers use all
    /// of a link.
    const MAX_SESSION_STREAMS: u32 = 16; Count by Worker;
}

/// A stream that can be ended from outside, and that reports its end. An HTTP/2 server keeps its connection even after
/// the future that serves it was dropped. [`Closer`] ends such a connection.
pub struct Connection<S> {
    stream: S,
    close: Pin<Box<WaitForCancellationFutureOwned>>,
    state: Arc<ConnectionState>,
}

#[derive(Default)]
struct ConnectionState {
    close: CancellationToken,
    ended: CancellationToken,
    bytes_read: AtomicU64,
}

/// Ends a [`Connection`] and reports its end and the number of bytes read from it.
#[derive(Clone)]
pub struct Closer(Arc<ConnectionState>);

impl Closer {
    /// Ends the connection: both directions fail from now on.
    pub fn close(&self) {
        self.0.close.cancel();
    }

    /// Resolves when the connection has ended, on whichever side.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Returns true if the connection has ended or is about to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.close.is_cancelled() || self.0.ended.is_cancelled()
    }

    /// Returns the number of bytes read so far. While it grows the peer is alive, whatever it sends.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.0.bytes_read.load(Ordering::Relaxed)
    }
}

impl<S> Connection<S> {
    /// Wraps `stream` and returns its [`Closer`]. A TCP stream must have `TCP_NODELAY` set: without it every call takes
    /// 40 ms longer.
    pub fn new(stream: S) -> (Self, Closer) {
        let state = Arc::new(ConnectionState::default());
        let close = Box::pin(state.close.clone().cancelled_owned());
        (Self { stream, close, state: state.clone() }, Closer(state))
    }

    fn check_open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.close.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this side closed the connection")),
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

    // Without these two, HTTP/2 writes the head of each frame and its content separately.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_open(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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

/// Ends the connection when the future that owns this value is dropped.
struct CloseOnDrop<'a>(&'a Closer);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Serves `session` on `connection` until the connection ends. The caller must detect a silent peer itself. HTTP/2
/// pings do not help: their replies wait behind the data that is being sent, so a slow link would look dead.
///
/// # Errors
/// Fails if HTTP/2 itself fails.
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
    // The stream of connections never ends. If it ended, the server would not wait for its only connection.
    let incoming = stream::once(ready(Ok::<_, io::Error>(connection))).chain(stream::pending());
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_concurrent_streams(MAX_SESSION_STREAMS)
        .add_service(
            SessionServer::new(session)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .serve_with_incoming_shutdown(incoming, closer.ended())
        .await
}

/// Connects the client side of a stream whose other end runs [`serve_connection`].
///
/// # Errors
/// Fails if the HTTP/2 handshake fails.
pub async fn connect_client<S>(connection: Connection<S>) -> Result<SessionClient<Channel>, tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let only = Mutex::new(Some(connection));
    let connector = tower::service_fn(move |_| {
        let connection = only.lock().map(|mut slot| slot.take()).unwrap_or_default();
        ready(connection.map(TokioIo::new).ok_or_else(|| io::Error::other("a session has only one connection")))
    });
    let channel = Endpoint::from_static("http://orchestrator.invalid")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .connect_with_connector(connector)
        .await?;
    Ok(SessionClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}
