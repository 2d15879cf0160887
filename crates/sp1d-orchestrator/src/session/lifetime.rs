//! Serves a session from the handshake to its end. The orchestrator is the server of the connection, whichever side
//! established it.

use super::{
    calls::SessionCalls,
    worker_session::{WorkerRemoval, WorkerSession},
};
use crate::{state::shared_state::SharedState, workers::worker_address::WorkerAddress};
use sp1d_identity::PeerIdentity;
use sp1d_protocol::{Connection, Mismatch, serve_connection};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Why this orchestrator ends a session at once: it ends itself, or the worker was forgotten or removed from the list.
const STOPPING: &str = "the orchestrator is stopping, or has removed this worker";

/// Why this orchestrator ends the session of a worker for which others wait.
const RELEASED: &str = "released, because other orchestrators wait for this worker";

/// Why this orchestrator ends the session of a worker that leaves.
const LEFT: &str = "the worker is stopping";

/// Why this orchestrator ends the session of a worker that could prove and cannot any more.
const PROVER_LOST: &str = "the last prover of the worker ended, and none was loaded again for 30 minutes";

/// Why this orchestrator ends the session of a worker whose address the name server no longer returns. If a name with
/// one address gets more, this is also why the session that was opened for the name itself ends: the worker is
/// connected again under its address.
const RETIRED: &str = "the name server returns other addresses for the name of this worker";

/// What ends a session from this side.
#[derive(Debug, Clone)]
pub(crate) struct SessionStop {
    /// Ends the session at once.
    pub(crate) at_once: CancellationToken,
    /// Ends the session when the worker has finished the attempts that it has started.
    pub(crate) when_idle: CancellationToken,
}

impl From<CancellationToken> for SessionStop {
    fn from(at_once: CancellationToken) -> Self {
        Self { at_once, when_idle: CancellationToken::new() }
    }
}

impl SessionStop {
    /// Resolves when the session must end, at once or when its worker is idle. Without a session, both are the same.
    pub(crate) async fn requested(&self) {
        tokio::select! {
            () = self.at_once.cancelled() => {}
            () = self.when_idle.cancelled() => {}
        }
    }
}

/// The end of a session.
#[derive(Debug)]
pub(crate) struct EndedSession {
    /// Why it ended.
    pub(crate) reason: String,
    /// True if this orchestrator released the worker for others.
    pub(crate) is_release: bool,
}

/// Serves the worker at the other end of `stream` until the session ends, `stop` ends it, this orchestrator's turn at
/// the worker is over, the worker leaves, or its last prover ended and none is loaded again. `peer` is who the worker
/// is, with TLS. `handshake` gets the outcome of the handshake: the worker's name, or why it is refused.
pub(crate) async fn serve_until_end<S>(
    stream: S,
    address: WorkerAddress,
    peer: Option<PeerIdentity>,
    shared: Arc<SharedState>,
    handshake: oneshot::Sender<Result<String, Mismatch>>,
    stop: &SessionStop,
) -> EndedSession
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, closer) = Connection::new(stream);
    let session = Arc::new(WorkerSession::new(address, peer, closer.clone(), shared, handshake));
    let _removal = WorkerRemoval(session.clone());
    let mut is_release = false;
    let served = {
        // Dropping this future closes the connection, so it must outlive the goodbyes.
        let mut serving = pin!(serve_connection(connection, &closer, SessionCalls(session.clone())));
        tokio::select! {
            served = &mut serving => served,
            () = stop.at_once.cancelled() => {
                session.close_reason.set(STOPPING.to_owned());
                session.say_goodbye(STOPPING).await;
                Ok(())
            }
            () = session.retired(&stop.when_idle) => {
                session.close_reason.set(RETIRED.to_owned());
                session.say_goodbye(RETIRED).await;
                Ok(())
            }
            () = session.worker_left() => {
                session.close_reason.set(LEFT.to_owned());
                session.say_goodbye(LEFT).await;
                Ok(())
            }
            () = session.prover_stays_lost() => {
                session.close_reason.set(PROVER_LOST.to_owned());
                session.say_goodbye(PROVER_LOST).await;
                Ok(())
            }
            () = session.turn_over() => {
                is_release = session.close_reason.set(RELEASED.to_owned());
                session.say_goodbye(RELEASED).await;
                Ok(())
            }
        }
    };
    closer.close();
    // The task of the server holds the connection, and ends when it next uses the connection.
    let _ = timeout(Duration::from_secs(1), closer.ended()).await;
    session.background.close();
    session.background.wait().await;
    let reason = match (session.close_reason.take(), served) {
        (Some(reason), _) => reason,
        (None, Err(error)) => format!("the connection failed: {error}"),
        (None, Ok(())) => "the connection was closed".to_owned(),
    };
    let should_return = !stop.at_once.is_cancelled() && !stop.when_idle.is_cancelled();
    session.remove_worker(&reason, should_return).await;
    EndedSession { reason, is_release }
}
