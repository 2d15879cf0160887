//! Serves a session from the handshake to its end. The orchestrator is the server of the connection, whichever side
//! established it.

use super::{service::SessionService, worker_session::WorkerSession};
use crate::{pool::list::Member, registry::Registry};
use sp1d_protocol::{Connection, Mismatch, serve_connection};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Serves the worker at the other end of `stream` until the session ends or `stop` is cancelled. Returns why the
/// session ended. `welcome` receives the outcome of the handshake: the worker's name, or why it is refused.
pub(crate) async fn serve<S>(
    stream: S,
    address: Member,
    registry: Arc<Registry>,
    welcome: oneshot::Sender<Result<String, Mismatch>>,
    stop: &CancellationToken,
) -> String
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, closer) = Connection::new(stream);
    let session = Arc::new(WorkerSession::new(address, closer.clone(), registry, welcome));
    let served = tokio::select! {
        served = serve_connection(connection, &closer, SessionService(session.clone())) => served,
        () = stop.cancelled() => {
            session.close_reason.set("the orchestrator is stopping".to_owned());
            session.say_goodbye().await;
            Ok(())
        }
    };
    closer.close();
    // The task of the server holds the connection, and ends when it next uses the connection.
    let _ = timeout(Duration::from_secs(1), closer.ended()).await;
    session.tasks.close();
    session.tasks.wait().await;
    let reason = match (session.close_reason.take(), served) {
        (Some(reason), _) => reason,
        (None, Err(error)) => format!("the connection failed: {error}"),
        (None, Ok(())) => "the connection was closed".to_owned(),
    };
    session.leave(&reason, stop.is_cancelled()).await;
    reason
}
