//! The health endpoint of a worker: two HTTP resources for probes and for ordered starts.
//!
//! It tells no secrets and changes nothing. So it needs no filter of clients, only bounds.

use crate::{
    engine_state::EngineState,
    port::{PortError, open_port},
};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sp1d_identity::{HttpProtocol, PeerStream, TlsIdentity, for_http_port};
use sp1d_protocol::Address;
use std::{collections::VecDeque, convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

sp1d_model::limits! {
    /// Maximum number of open connections to a worker's health endpoint. A further connection replaces the oldest one,
    /// so that silent clients do not lock out probes.
    const MAX_CONNECTIONS: usize = 32; Count by Client;
    /// Maximum time of a connection to a worker's health endpoint. A probe needs milliseconds.
    const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10); Time by Client;
    /// Maximum length of the head of a request to a worker's health endpoint.
    const MAX_HEAD_BYTES: usize = 16 << 10; Bytes by Client;
}

/// Pause after a failed accept. Usually the process has no free file descriptor, and a connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The open port of a worker's health endpoint. `GET /healthz` succeeds while the worker runs. `GET /readyz` succeeds
/// while the worker's prover is loaded and the worker takes new tasks.
#[derive(Debug)]
pub struct HealthPort {
    listener: TcpListener,
    tls: Option<Arc<TlsIdentity>>,
}

impl HealthPort {
    /// Opens the port.
    ///
    /// # Errors
    /// Fails if the address cannot be resolved, or if the worker cannot listen on it.
    pub async fn bind(listen: &Address) -> Result<Self, PortError> {
        Ok(Self { listener: open_port(listen, "--health").await?, tls: None })
    }

    /// Serves HTTPS instead of HTTP if `tls` is given and the port is not on the loopback interface.
    #[must_use]
    pub fn secure(mut self, tls: Option<Arc<TlsIdentity>>) -> Self {
        self.tls = for_http_port(tls.as_ref(), self.local_addr().ok());
        self
    }

    /// Returns the address that the endpoint listens on.
    ///
    /// # Errors
    /// Fails if the operating system cannot report the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Responds to probes. The worker counts as not ready once `leaving` is cancelled. The future never ends. Drop it
    /// together with the worker: a worker that finishes its last tasks still counts as alive.
    pub async fn serve(self, engine: watch::Receiver<EngineState>, leaving: CancellationToken) {
        let mut connections: VecDeque<AbortOnDropHandle<()>> = VecDeque::with_capacity(MAX_CONNECTIONS);
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    connections.retain(|connection| !connection.is_finished());
                    if connections.len() == MAX_CONNECTIONS {
                        connections.pop_front();
                    }
                    let serving = serve_connection(stream, self.tls.clone(), engine.clone(), leaving.clone());
                    connections.push_back(AbortOnDropHandle::new(tokio::spawn(serving)));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to the health endpoint; retrying in 1 s");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves one request.
async fn serve_connection(
    stream: TcpStream,
    tls: Option<Arc<TlsIdentity>>,
    engine: watch::Receiver<EngineState>,
    leaving: CancellationToken,
) {
    let stream = match tls {
        None => PeerStream::from(stream),
        // Errors are those of the client, as below.
        Some(tls) => match tls.accept_http(stream, HttpProtocol::One).await {
            Ok(stream) => stream,
            Err(_) => return,
        },
    };
    let respond = service_fn(|request: Request<Incoming>| {
        let status = status_of(request.method(), request.uri().path(), &engine.borrow(), leaving.is_cancelled());
        async move { Ok::<_, Infallible>(response(status)) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(MAX_CONNECTION_TIME);
    let connection = server.max_buf_size(MAX_HEAD_BYTES).serve_connection(TokioIo::new(stream), respond);
    // Errors are those of the client: it broke off, was silent or sent something else than HTTP.
    let _ = timeout(MAX_CONNECTION_TIME, connection).await;
}

/// Returns the status and the text of the response to a probe.
fn status_of(method: &Method, path: &str, engine: &EngineState, is_leaving: bool) -> (StatusCode, String) {
    let unready = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text);
    match path {
        "/healthz" | "/readyz" if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD".to_owned())
        }
        "/healthz" => (StatusCode::OK, "alive".to_owned()),
        "/readyz" if is_leaving => unready("not ready: the worker takes no new tasks and will stop".to_owned()),
        "/readyz" => match engine {
            EngineState::Ready(engine) => {
                let counts = engine.prover_counts();
                (StatusCode::OK, format!("ready: provers loaded: {}, failed: {}", counts.ready, counts.failed))
            }
            EngineState::Starting { .. } => {
                unready(format!("not ready: loading the prover, about {} s left", engine.seconds_left()))
            }
            EngineState::Failed(_) => unready("not ready: no prover can be loaded; see the worker's log".to_owned()),
        },
        _ => (StatusCode::NOT_FOUND, "unknown path: use /healthz or /readyz".to_owned()),
    }
}

fn response((status, text): (StatusCode, String)) -> Response<String> {
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CACHE_CONTROL, "no-store");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(ALLOW, "GET, HEAD");
    }
    response.body(format!("{text}\n")).expect("the header values are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{AttemptError, AttemptIo, ProvingEngine},
        engine_state::engine_state,
        load_error::LoadError,
    };
    use async_trait::async_trait;
    use sp1d_protocol::Assignment;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A loaded engine with one prover.
    struct LoadedEngine;

    #[async_trait]
    impl ProvingEngine for LoadedEngine {
        fn places(&self) -> usize {
            1
        }

        async fn run(&self, _: usize, _: Assignment, _: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
            Ok(())
        }
    }

    /// Checks the status of a GET request, and a part of the text.
    #[track_caller]
    fn check(path: &str, engine: &EngineState, is_leaving: bool, expected: u16, part: &str) {
        let (status, text) = status_of(&Method::GET, path, engine, is_leaving);
        assert_eq!(status.as_u16(), expected, "{path}: {text}");
        assert!(text.contains(part), "{path}: {text}");
    }

    #[tokio::test]
    async fn worker_is_alive_before_it_is_ready() {
        let starting = engine_state(Duration::from_secs(30)).1.borrow().clone();
        check("/healthz", &starting, false, 200, "alive");
        check("/readyz", &starting, false, 503, "loading the prover");
        let loaded = EngineState::Ready(Arc::new(LoadedEngine));
        check("/readyz", &loaded, false, 200, "provers loaded: 1");
        check("/readyz", &loaded, true, 503, "will stop");
        let failed = EngineState::Failed(LoadError::NoProver);
        check("/healthz", &failed, false, 200, "alive");
        check("/readyz", &failed, false, 503, "no prover can be loaded");
        check("/healthz", &starting, true, 200, "alive");
        check("/readyz", &starting, true, 503, "will stop");
        check("/", &starting, false, 404, "/readyz");
    }

    #[test]
    fn other_methods_are_refused() {
        let failed = EngineState::Failed(LoadError::NoProver);
        for path in ["/healthz", "/readyz"] {
            assert_eq!(status_of(&Method::POST, path, &failed, false).0, StatusCode::METHOD_NOT_ALLOWED);
        }
        let refused = response((StatusCode::METHOD_NOT_ALLOWED, String::new()));
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
    }

    /// Sends a request on a new connection and returns the whole response.
    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn probes_are_served_while_silent_clients_hold_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = HealthPort { listener, tls: None };
        let address = port.local_addr().unwrap();
        let (_sender, engine) = engine_state(Duration::from_secs(30));
        let leaving = CancellationToken::new();
        let _serving = AbortOnDropHandle::new(tokio::spawn(port.serve(engine, leaving.clone())));
        let mut silent = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let alive = get(address, "/healthz").await;
        assert!(alive.starts_with("HTTP/1.1 200 ") && alive.ends_with("alive\n"), "{alive}");
        let loading = get(address, "/readyz").await;
        assert!(loading.starts_with("HTTP/1.1 503 "), "{loading}");
        leaving.cancel();
        assert!(get(address, "/readyz").await.contains("will stop"));
        // The oldest silent connection has given way.
        assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
    }
}
