//! A worker that dials its orchestrator, for machines that come and go or that the orchestrator cannot reach.

use super::{
    end::SessionEnd,
    error::{ServeError, engine_failure},
    introduction::Introduction,
    run::{SessionContext, run},
    turns::TurnView,
    worker_state::WorkerState,
};
use crate::{state::EngineState, stop::WorkerStop, text::one_line};
use futures::future::select_ok;
use sp1d_identity::{PeerStream, TlsError, TlsIdentity, connect_peer};
use sp1d_protocol::{Address, Backoff, PreambleError, Role, dial};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::Instrument;

/// Maximum time to open a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time to resolve the orchestrator's name. A resolver asks a name server again after 5 s, and then the next
/// one.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a worker has no session with its orchestrator.
#[derive(Debug, thiserror::Error)]
enum JoinFailure {
    #[error("the worker is stopping")]
    Stopping,
    #[error("cannot resolve the host name: {0}")]
    Resolve(io::Error),
    #[error("the host name was not resolved within {} s", RESOLVE_TIMEOUT.as_secs())]
    ResolveTimeout,
    #[error("{0}")]
    Connect(io::Error),
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error(
        "the name stands for {0} of another machine; without `--tls` or `--insecure`, the worker connects only to this one"
    )]
    OtherMachine(SocketAddr),
    #[error("cannot set TCP_NODELAY: {0}")]
    NoDelay(io::Error),
    #[error("{}", one_line(&.0.to_string()))]
    Tls(#[from] TlsError),
    #[error("{}", one_line(&.0.to_string()))]
    Preamble(#[from] PreambleError),
}

/// A worker that dials one orchestrator, and dials again whenever a connection ends.
pub struct JoiningWorker {
    target: JoinTarget,
    introduction: Introduction,
}

/// The orchestrator of a worker that joins, and how the worker connects to it.
struct JoinTarget {
    orchestrator: Address,
    tls: Option<Arc<TlsIdentity>>,
    /// Without TLS, only this machine is dialed.
    only_loopback: bool,
}

impl JoiningWorker {
    /// Creates a worker for the orchestrator at the given address. Does not connect yet.
    #[must_use]
    pub fn new(orchestrator: Address, introduction: Introduction) -> Self {
        Self { target: JoinTarget { orchestrator, tls: None, only_loopback: false }, introduction }
    }

    /// Serves only an orchestrator with a certificate if `tls` is given. Default: plain connections.
    #[must_use]
    pub fn secure(mut self, tls: Option<Arc<TlsIdentity>>) -> Self {
        self.target.tls = tls;
        self
    }

    /// Without TLS, dials only addresses of this machine, whatever the orchestrator's name stands for at that time.
    /// Default: any address.
    #[must_use]
    pub fn only_loopback(mut self) -> Self {
        self.target.only_loopback = true;
        self
    }

    /// Dials the orchestrator and serves it until `stop` ends the worker. Runs tasks once `engine` is ready.
    ///
    /// The worker dials again after every failure and every lost connection. So an orchestrator that starts late or
    /// restarts gets its workers back.
    ///
    /// # Errors
    /// Fails if the engine can never be ready.
    pub async fn serve(
        self,
        mut engine: watch::Receiver<EngineState>,
        stop: impl Into<WorkerStop>,
    ) -> Result<(), ServeError> {
        let stop = stop.into().child();
        let worker = WorkerState::new(self.introduction.plan);
        let _closing = worker.close_gate_on(stop.leave.clone());
        let (introduction, target) = (Arc::new(self.introduction), self.target);
        let mut backoff = Backoff::default();
        let mut last_reason = String::new();
        let for_sessions = engine.clone();
        let failed = engine_failure(&mut engine);
        let mut failed = std::pin::pin!(failed);
        let outcome = loop {
            let started = Instant::now();
            let context = SessionContext {
                introduction: introduction.clone(),
                engine: for_sessions.clone(),
                worker: worker.clone(),
                turn: TurnView::alone(),
                peer: None,
                stop: stop.clone(),
            };
            let span = tracing::info_span!("session", peer = %target.orchestrator);
            let session = run_session(&target, context).instrument(span);
            tokio::select! {
                error = &mut failed => break Err(error.into()),
                end = session => match end {
                    Ok(end) => {
                        tracing::info!(orchestrator = %target.orchestrator, %end, "session ended");
                        last_reason.clear();
                    }
                    Err(JoinFailure::Stopping) => {}
                    Err(failure) => {
                        let reason = failure.to_string();
                        // Warn only once about the same reason.
                        if reason == last_reason {
                            tracing::debug!(%reason, "cannot join the orchestrator");
                        } else {
                            tracing::warn!(orchestrator = %target.orchestrator, %reason, "cannot join the orchestrator; retrying until it succeeds");
                            last_reason = reason;
                        }
                    }
                },
            }
            tokio::select! {
                () = stop.now.cancelled() => break Ok(()),
                () = left(&stop, &worker) => break Ok(()),
                error = &mut failed => break Err(error.into()),
                () = sleep(backoff.pause(started.elapsed())) => {}
            }
        };
        stop.now.cancel();
        worker.end().await;
        outcome
    }
}

/// Resolves when the worker leaves, and keeps no attempts for which it must connect again. Between sessions only.
async fn left(stop: &WorkerStop, worker: &WorkerState) {
    stop.leave.cancelled().await;
    worker.nothing_kept().await;
}

/// Opens one connection and runs a session on it until the session ends. Fails if no session could start.
async fn run_session(target: &JoinTarget, mut context: SessionContext) -> Result<SessionEnd, JoinFailure> {
    // Only connecting must watch `stop` here. A session watches it too, and says goodbye.
    let stream = tokio::select! {
        () = context.stop.now.cancelled() => return Err(JoinFailure::Stopping),
        () = left(&context.stop, &context.worker) => return Err(JoinFailure::Stopping),
        connected = connect(target) => connected?,
    };
    context.peer = stream.peer().cloned();
    Ok(run(stream, context).await)
}

/// Opens a connection, with TLS if `tls` is given, and exchanges the preamble with the orchestrator.
async fn connect(target: &JoinTarget) -> Result<PeerStream, JoinFailure> {
    let only_loopback = target.only_loopback && target.tls.is_none();
    let stream = open(target.orchestrator.resolve(), only_loopback).await?;
    stream.set_nodelay(true).map_err(JoinFailure::NoDelay)?;
    let mut stream = connect_peer(target.tls.as_ref(), stream).await?;
    dial(&mut stream, Role::Worker).await?;
    Ok(stream)
}

/// Opens a TCP connection to one of the addresses that `lookup` finds. With `only_loopback`, fails if one of them may
/// be of another machine.
async fn open(
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    only_loopback: bool,
) -> Result<TcpStream, JoinFailure> {
    let found = timeout(RESOLVE_TIMEOUT, lookup).await.map_err(|_| JoinFailure::ResolveTimeout)?;
    let found = found.map_err(JoinFailure::Resolve)?;
    // A name can stand for another machine than when the worker started.
    let is_other = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    if only_loopback && let Some(other) = found.iter().find(is_other) {
        return Err(JoinFailure::OtherMachine(*other));
    }
    // Try all addresses of the name at the same time, because one of them may drop all packets.
    let tries = select_ok(found.into_iter().map(|address| Box::pin(TcpStream::connect(address))));
    match timeout(CONNECT_TIMEOUT, tries).await {
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(error)) => Err(JoinFailure::Connect(error)),
        Err(_) => Err(JoinFailure::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine_memory::MemoryPlan, state::engine_state};
    use tokio::{io::AsyncReadExt, net::TcpListener};

    #[tokio::test]
    async fn the_stop_ends_the_dial_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let orchestrator = Address::from(listener.local_addr().unwrap());
        let (_sender, engine) = engine_state(Duration::ZERO);
        let (worker, stop) = (WorkerState::new(MemoryPlan::default()), WorkerStop::new());
        let context = SessionContext {
            introduction: Arc::new(Introduction::example()),
            engine,
            worker,
            turn: TurnView::alone(),
            peer: None,
            stop: stop.clone(),
        };
        let silent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The first bytes of the preamble: the worker now waits for the reply.
            stream.read_u32().await.unwrap();
            stop.now.cancel();
            stream
        };
        let target = JoinTarget { orchestrator, tls: None, only_loopback: true };
        let (ended, _stream) = tokio::join!(run_session(&target, context), silent);
        assert!(matches!(ended, Err(JoinFailure::Stopping)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_server_only_delays_the_connection() {
        let reply = async |seconds: u64| {
            sleep(Duration::from_secs(seconds)).await;
            Err(io::Error::other("no such name"))
        };
        assert!(matches!(open(reply(5), false).await, Err(JoinFailure::Resolve(_))));
        assert!(matches!(open(reply(60), false).await, Err(JoinFailure::ResolveTimeout)));
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let found = vec![SocketAddr::from(([127, 0, 0, 1], 9)), listener.local_addr().unwrap()];
        assert!(open(async { Ok(found) }, true).await.is_ok());
    }

    #[tokio::test]
    async fn a_name_that_moves_to_another_machine_is_not_dialed_without_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = SocketAddr::from(([203, 0, 113, 1], 9));
        let found = vec![listener.local_addr().unwrap(), other];
        let refused = open(async { Ok(found) }, true).await;
        assert!(matches!(refused, Err(JoinFailure::OtherMachine(address)) if address == other), "{refused:?}");
    }
}
