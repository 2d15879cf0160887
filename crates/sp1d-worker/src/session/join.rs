//! A worker that dials its orchestrator, for machines that come and go or that the orchestrator cannot reach.

use super::{
    end::{FinishedSession, SessionEnd},
    error::{ServeError, engine_failure},
    introduction::Introduction,
    run::{SessionContext, run},
    turns::TurnView,
    worker_state::WorkerState,
};
use crate::{engine_state::EngineState, stop::WorkerStop, text::line_without_hint};
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

/// Pause before the same failure to join is logged again. It doubles with each repetition.
const FIRST_REPEAT: Duration = Duration::from_secs(60);

/// Longest pause before the same failure is logged again.
const MAX_REPEAT: Duration = Duration::from_secs(60 * 60);

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
    #[error("{}", line_without_hint(&.0.to_string()))]
    Tls(#[from] TlsError),
    #[error("{}", line_without_hint(&.0.to_string()))]
    Preamble(#[from] PreambleError),
    /// The session ended in its handshake.
    #[error("{0}")]
    Handshake(SessionEnd),
}

/// Decides when a failure to join is logged as a warning: at once if its reason is new, and again after growing pauses.
/// So a reader of the last lines of the log finds it, however long the worker has been trying.
#[derive(Debug, Default)]
struct JoinWarnings {
    /// `None` before the first failure, and after a session.
    repeated: Option<RepeatedFailure>,
}

#[derive(Debug)]
struct RepeatedFailure {
    reason: String,
    since: Instant,
    last_logged: Instant,
    pause: Duration,
}

impl JoinWarnings {
    /// Notes that a try failed at `now`. Returns how long the tries have failed for this reason if that is to be
    /// logged.
    fn on_failure(&mut self, now: Instant, reason: &str) -> Option<Duration> {
        match &mut self.repeated {
            Some(repeated) if repeated.reason == reason => {
                let is_due = now.duration_since(repeated.last_logged) >= repeated.pause;
                is_due.then(|| {
                    repeated.last_logged = now;
                    repeated.pause = (repeated.pause * 2).min(MAX_REPEAT);
                    now.duration_since(repeated.since)
                })
            }
            repeated => {
                let reason = reason.to_owned();
                *repeated = Some(RepeatedFailure { reason, since: now, last_logged: now, pause: FIRST_REPEAT });
                Some(Duration::ZERO)
            }
        }
    }

    /// Notes that a session that had started has ended.
    fn on_session(&mut self) {
        self.repeated = None;
    }
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
        let mut warnings = JoinWarnings::default();
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
                        warnings.on_session();
                    }
                    Err(JoinFailure::Stopping) => {}
                    Err(failure) => {
                        let reason = failure.to_string();
                        match warnings.on_failure(Instant::now(), &reason) {
                            None => tracing::debug!(%reason, "cannot join the orchestrator"),
                            Some(failing) => {
                                let failing_s = failing.as_secs();
                                tracing::warn!(orchestrator = %target.orchestrator, %reason, failing_s, "cannot join the orchestrator; retrying until it succeeds");
                            }
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

/// Opens one connection and runs a session on it until the session ends. Fails if no session started.
async fn run_session(target: &JoinTarget, mut context: SessionContext) -> Result<SessionEnd, JoinFailure> {
    // Only connecting must watch `stop` here. A session watches it too, and says goodbye.
    let stream = tokio::select! {
        () = context.stop.now.cancelled() => return Err(JoinFailure::Stopping),
        () = left(&context.stop, &context.worker) => return Err(JoinFailure::Stopping),
        connected = connect(target) => connected?,
    };
    context.peer = stream.peer().cloned();
    match run(stream, context).await {
        FinishedSession { has_started: true, end } => Ok(end),
        FinishedSession { end: SessionEnd::Stopping, .. } => Err(JoinFailure::Stopping),
        FinishedSession { end, .. } => Err(JoinFailure::Handshake(end)),
    }
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
    use crate::{engine_state::engine_state, machine_memory::MemoryPlan};
    use sp1d_protocol::{PreambleReply, read_dialer, reply};
    use tokio::{io::AsyncReadExt, net::TcpListener};

    /// Runs one session with the orchestrator that `listener` accepts. No engine becomes ready.
    async fn join(listener: &TcpListener, stop: &WorkerStop) -> Result<SessionEnd, JoinFailure> {
        let orchestrator = Address::from(listener.local_addr().unwrap());
        let (_sender, engine) = engine_state(Duration::ZERO);
        let context = SessionContext {
            introduction: Arc::new(Introduction::example()),
            engine,
            worker: WorkerState::new(MemoryPlan::default()),
            turn: TurnView::alone(),
            peer: None,
            stop: stop.clone(),
        };
        let target = JoinTarget { orchestrator, tls: None, only_loopback: true };
        run_session(&target, context).await
    }

    #[tokio::test]
    async fn a_session_that_ends_in_its_handshake_is_a_failure_to_join() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closing = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_dialer(&mut stream, &[Role::Worker]).await.unwrap();
            reply(&mut stream, &PreambleReply::Welcome).await.unwrap();
        };
        let stop = WorkerStop::new();
        let (ended, ()) = tokio::join!(join(&listener, &stop), closing);
        assert!(matches!(ended, Err(JoinFailure::Handshake(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn the_stop_ends_the_dial_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = WorkerStop::new();
        let silent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The first bytes of the preamble: the worker now waits for the reply.
            stream.read_u32().await.unwrap();
            stop.now.cancel();
            stream
        };
        let (ended, _stream) = tokio::join!(join(&listener, &stop), silent);
        assert!(matches!(ended, Err(JoinFailure::Stopping)));
    }

    /// Sends a failure every second, and checks the seconds at which it is logged.
    #[track_caller]
    fn check_warnings(warnings: &mut JoinWarnings, start: Instant, reason: &str, seconds: u64, expected: &[u64]) {
        let is_logged = |second: &u64| {
            let now = start + Duration::from_secs(*second);
            warnings.on_failure(now, reason).inspect(|failing| assert_eq!(failing.as_secs(), *second)).is_some()
        };
        let logged: Vec<u64> = (0..seconds).filter(is_logged).collect();
        assert_eq!(logged, expected, "{reason}");
    }

    #[tokio::test]
    async fn a_failure_to_join_is_logged_again_after_growing_pauses() {
        let (mut warnings, start) = (JoinWarnings::default(), Instant::now());
        check_warnings(&mut warnings, start, "refused", 500, &[0, 60, 180, 420]);
        // Another reason is logged at once, and so is the same one after a session.
        let later = start + Duration::from_secs(500);
        check_warnings(&mut warnings, later, "timeout", 61, &[0, 60]);
        warnings.on_session();
        check_warnings(&mut warnings, later + Duration::from_secs(61), "timeout", 30, &[0]);
        let hours = start + Duration::from_secs(10_000);
        check_warnings(&mut warnings, hours, "reset", 15_000, &[0, 60, 180, 420, 900, 1860, 3780, 7380, 10980, 14580]);
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
