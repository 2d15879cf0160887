//! Serves a session with a worker of the list, or with one that joins.

use super::{
    contacts::Contact,
    dialer::Stream,
    first_outcome::{FirstOutcomeSender, Reached, report},
    reach_error::ReachError,
};
use crate::{
    session::server::{EndedSession, SessionStop, serve},
    shared_state::SharedState,
    workers::worker_address::WorkerAddress,
};
use sp1d_identity::PeerIdentity;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// Maximum wait for a worker's hello after it has accepted the connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum wait for a refused worker to close the connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves a session with the worker at the other end of `stream`. `peer` is who it is, with TLS. Fails if no session
/// started.
pub(crate) async fn serve_session<S: Stream>(
    stream: S,
    worker_address: &WorkerAddress,
    peer: Option<PeerIdentity>,
    shared: &Arc<SharedState>,
    first: &mut FirstOutcomeSender,
    stop: &SessionStop,
) -> Result<EndedSession, ReachError> {
    let (outcome_sender, mut handshake) = oneshot::channel();
    // Polled until the session ends, because it then waits for its own tasks. Only a worker that is refused or sends no
    // hello has a time limit.
    let mut session = pin!(serve(stream, worker_address.clone(), peer, shared.clone(), outcome_sender, stop));
    let on_connected = |first: &mut FirstOutcomeSender, name: String| {
        note(shared, worker_address, stop, Contact::Connected);
        report(first, Ok(Reached::Connected(name)));
    };
    let hello = tokio::select! {
        ended = &mut session => return match handshake.try_recv() {
            // The session started, and ended at once.
            Ok(Ok(name)) => {
                on_connected(first, name);
                Ok(ended)
            }
            Ok(Err(mismatch)) => Err(mismatch.into()),
            Err(_) => Err(ReachError::SessionEnded(ended.reason)),
        },
        hello = timeout(HELLO_TIMEOUT, &mut handshake) => hello,
    };
    let error = match hello {
        Ok(Ok(Ok(name))) => {
            on_connected(first, name);
            return Ok(session.await);
        }
        Ok(Ok(Err(mismatch))) => mismatch.into(),
        Ok(Err(_)) | Err(_) => ReachError::NoHello(HELLO_TIMEOUT),
    };
    // The worker receives the reason and closes the connection.
    let _ = timeout(GOODBYE_TIMEOUT, &mut session).await;
    Err(error)
}

/// Sets the state of a worker, unless it was removed from the list or had joined by itself.
pub(super) fn note(shared: &SharedState, worker_address: &WorkerAddress, stop: &SessionStop, contact: Contact) {
    shared.contacts.send_if_modified(|contacts| !stop.at_once.is_cancelled() && contacts.set(worker_address, contact));
}
