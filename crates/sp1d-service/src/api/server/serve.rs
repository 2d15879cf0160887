//! Accepts connections and serves HTTP on them.

use super::{
    busy_body::BusyBody,
    connections::{Connections, MAX_HEAD_BYTES, OpenConnection},
    preface_deadline::PrefaceDeadline,
    write_deadline::WriteDeadline,
};
use crate::{
    api::router::router,
    queue::{ClientNetwork, HttpLimits, Service},
};
use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use sp1d_identity::{HttpProtocol, HttpsIdentity, PeerStream, for_http_port};
use sp1d_model::hint::one_line;
use std::{
    io,
    pin::{Pin, pin},
    time::{Duration, Instant},
};
use tokio::{
    io::{join, split},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};
use tower::ServiceExt;

/// Pause after a failed accept. Usually the process has no free file descriptor, and a connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Time in which the client of a replaced connection must notice that the connection closes.
const CLOSING_NOTICE: Duration = Duration::from_secs(1);

/// Interval between two log lines about refused connections.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

sp1d_model::limits! {
    /// Maximum number of calls under way on one HTTP/2 connection. sp1-sdk has one call per proof.
    const MAX_STREAMS: u32 = 64; Count by Client;
    /// Interval at which an HTTP/2 client must show that it is alive, and time in which it must reply.
    const MAX_PING_TIME: Duration = Duration::from_secs(20); Time by Client;
    /// Longest time in which a replaced connection may still serve a request that was sent before the client knew. A
    /// held status call takes 50 s.
    const MAX_CLOSING_TIME: Duration = Duration::from_secs(60); Time by Client;
    /// Maximum time in which clients get their last responses when the service stops. Then their connections are
    /// closed.
    const MAX_LAST_RESPONSES: Duration = Duration::from_secs(5); Time by Client;
}

/// Serves the HTTP API and the status page on `listener` until the service shuts down. Returns when all connections
/// have ended.
///
/// # Errors
/// If the address of the listener is unknown.
pub async fn serve(service: Service, listener: TcpListener) -> io::Result<()> {
    let (stop, _delay) = (service.stopping().clone(), service.delay_shutdown());
    let (limits, listens) = (service.settings().http, listener.local_addr()?);
    let tls = for_http_port(service.settings().tls.as_ref(), Some(listens));
    let router = router(service, listens);
    serve_router(router, listener, limits, HttpProtocol::One, tls, stop).await;
    Ok(())
}

/// Serves `router` on `listener` until `stop` is cancelled, over HTTPS if `tls` is given. Without TLS, a connection
/// with HTTP/2 starts with it (`h2c` by prior knowledge). Returns when all connections have ended.
pub(in crate::api) async fn serve_router(
    router: Router,
    listener: TcpListener,
    limits: HttpLimits,
    protocol: HttpProtocol,
    tls: Option<HttpsIdentity>,
    stop: CancellationToken,
) {
    let (connections, tasks) = (Connections::new(&limits), BackgroundTasks::new());
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let client = ClientNetwork::from(address.ip());
                match connections.admit(client) {
                    Some(open) => {
                        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                        let cut = stop.clone();
                        let serving = async move {
                            let Some(stream) = secure(stream, tls, protocol, &open).await else { return };
                            serve_connection(stream, router, client, open, limits, protocol, stop).await;
                        };
                        tasks.spawn(until_cut(serving, cut));
                    }
                    // Dropping the stream closes the connection.
                    None => refusals.count(),
                }
            }
            Err(error) if is_of_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept HTTP connections; retrying in 1 s");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Serves a connection to its end, or until the time for the last responses has passed after `stop`. sp1-sdk repeats a
/// call that is refused, but not a call whose connection breaks.
async fn until_cut(serving: impl Future<Output = ()>, stop: CancellationToken) {
    let cut = async {
        stop.cancelled().await;
        sleep(MAX_LAST_RESPONSES).await;
    };
    tokio::select! {
        () = serving => {}
        () = cut => {}
    }
}

/// Returns true if only the accepted connection failed.
fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Counts refused connections, and logs them from time to time. Clients cannot cause one log line per connection.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    logged: Option<Instant>,
}

impl Refusals {
    fn count(&mut self) {
        self.count += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSAL_LOG_INTERVAL) {
            tracing::warn!(connections = self.count, "HTTP connections refused: all allowed connections have requests");
            (self.count, self.logged) = (0, Some(Instant::now()));
        }
    }
}

/// Runs the TLS handshake if `tls` is given. Returns `None` if the connection must be closed. It counts among the open
/// connections, so a flood of handshakes takes no more than the other clients leave.
async fn secure(
    stream: TcpStream,
    tls: Option<HttpsIdentity>,
    protocol: HttpProtocol,
    open: &OpenConnection,
) -> Option<PeerStream> {
    let Some(tls) = tls else { return Some(stream.into()) };
    tokio::select! {
        () = open.closing() => None,
        secured = tls.accept_http(stream, protocol) => match secured {
            Ok(stream) => Some(stream),
            Err(error) => {
                let reason = one_line(&error.to_string());
                tracing::debug!(%reason, "TLS handshake of an HTTP client failed");
                None
            }
        },
    }
}

async fn serve_connection(
    stream: PeerStream,
    router: Router,
    client: ClientNetwork,
    open: OpenConnection,
    limits: HttpLimits,
    protocol: HttpProtocol,
    stop: CancellationToken,
) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let (router, busy) = (router.clone(), open.start_request());
        request.extensions_mut().insert(client);
        async move { router.oneshot(request).await.map(|response| response.map(|body| BusyBody::new(body, busy))) }
    });
    match protocol {
        HttpProtocol::One => {
            let io = TokioIo::new(WriteDeadline::new(stream, limits.silence));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(MAX_HEAD_BYTES);
            let connection = pin!(server.serve_connection(io, service));
            drive(connection, |connection| connection.graceful_shutdown(), &open, &stop).await;
        }
        HttpProtocol::OneAndTwo => {
            let (reader, writer) = split(stream);
            let stream = join(PrefaceDeadline::new(reader, limits.head_time), writer);
            let io = TokioIo::new(WriteDeadline::new(stream, limits.silence));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_time)
                .max_buf_size(MAX_HEAD_BYTES)
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(MAX_PING_TIME)
                .keep_alive_timeout(MAX_PING_TIME)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEAD_BYTES as u32);
            let connection = pin!(server.serve_connection(io, service));
            drive(connection, |connection| connection.graceful_shutdown(), &open, &stop).await;
        }
    }
}

/// Drives a connection to its end. When `stop` is cancelled, `shut_down` lets its requests end.
async fn drive<C: Future>(
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    open: &OpenConnection,
    stop: &CancellationToken,
) {
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // Errors are those of the client: it broke off, was silent or sent something else than HTTP.
            _ = connection.as_mut() => return,
            () = open.closing() => {
                let Some(_place) = open.closing_place() else { return };
                shut_down(connection.as_mut());
                // A client that still has requests then, or that reads nothing, is cut.
                let _ = timeout(MAX_CLOSING_TIME, close(connection, open)).await;
                return;
            }
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                shut_down(connection.as_mut());
            }
        }
    }
}

/// Ends a replaced connection that is shutting down. An HTTP/2 client may have sent a request before it notices the
/// shutdown. sp1-sdk does not repeat a call whose connection breaks, so such a request is served.
async fn close<C: Future>(mut connection: Pin<&mut C>, open: &OpenConnection) {
    loop {
        let was_busy = open.has_requests();
        let is_closed = timeout(CLOSING_NOTICE, connection.as_mut()).await.is_ok();
        if is_closed || !was_busy && !open.has_requests() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks after how many seconds a connection ends whose last response takes `seconds`.
    async fn check(seconds: u64, expected: u64) {
        let (stop, started) = (CancellationToken::new(), tokio::time::Instant::now());
        stop.cancel();
        until_cut(sleep(Duration::from_secs(seconds)), stop).await;
        assert_eq!(started.elapsed().as_secs(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn last_responses_are_waited_for_but_not_for_ever() {
        check(3, 3).await;
        check(60, MAX_LAST_RESPONSES.as_secs()).await;
    }
}
