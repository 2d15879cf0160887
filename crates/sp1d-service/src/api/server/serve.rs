//! Accepts connections and serves HTTP/1.1 on them.

use super::{
    busy_body::BusyBody,
    connections::{Connections, MAX_HEAD_BYTES, OpenConnection},
    write_deadline::WriteDeadline,
};
use crate::{
    api::router::router,
    queue::{ClientNetwork, HttpLimits, Service},
};
use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    io,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};
use tower::ServiceExt;

/// Pause after a failed accept. Usually the process has no free file descriptor, and a connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Interval between two log lines about refused connections.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Serves the HTTP API and the status page on `listener` until the service shuts down. Returns when all connections
/// have ended.
///
/// # Errors
/// If the address of the listener is unknown.
pub async fn serve(service: Service, listener: TcpListener) -> io::Result<()> {
    let stop = service.stopping().clone();
    let limits = service.settings().http;
    let router = router(service, listener.local_addr()?);
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
                        let (router, stop) = (router.clone(), stop.clone());
                        tasks.spawn(serve_connection(stream, router, client, open, limits, stop));
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
    Ok(())
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

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    client: ClientNetwork,
    open: OpenConnection,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let io = TokioIo::new(WriteDeadline::new(stream, limits.silence));
    let service = service_fn(|mut request: Request<Incoming>| {
        let (router, busy) = (router.clone(), open.start_request());
        request.extensions_mut().insert(client);
        async move { router.oneshot(request).await.map(|response| response.map(|body| BusyBody::new(body, busy))) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(server.serve_connection(io, service));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // Errors are those of the client: it broke off, was silent or sent something else than HTTP.
            _ = connection.as_mut() => return,
            () = open.closing() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
