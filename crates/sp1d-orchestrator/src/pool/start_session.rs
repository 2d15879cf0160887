//! Starts a session with a worker of the list, or with one that joins, and serves it.

use super::first_outcome::{FirstOutcomeSender, Reached, report};
use crate::{
    session::lifetime::{EndedSession, SessionStop, serve_until_end},
    state::shared_state::SharedState,
    workers::{contacts::Contact, local_connector::Stream, reach_error::ReachError, worker_address::WorkerAddress},
};
use sp1d_identity::PeerIdentity;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// Maximum wait for a worker's hello after it has accepted the connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum wait for a refused worker to close the connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Starts a session with the worker at the other end of `stream`, and serves it until it ends. `peer` is who the worker
/// is, with TLS. Fails if no session started.
pub(crate) async fn run_session<S: Stream>(
    stream: S,
    worker_address: &WorkerAddress,
    peer: Option<PeerIdentity>,
    shared: &Arc<SharedState>,
    first: &mut FirstOutcomeSender,
    stop: &SessionStop,
) -> Result<EndedSession, ReachError> {
    let (outcome_sender, mut handshake) = oneshot::channel();
    let own_stop = SessionStop { at_once: stop.at_once.child_token(), when_idle: stop.when_idle.clone() };
    // Polled until the session ends, because it then waits for its own tasks. Only a worker that is refused or sends no
    // hello has a time limit.
    let mut session =
        pin!(serve_until_end(stream, worker_address.clone(), peer, shared.clone(), outcome_sender, &own_stop));
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
    let outcome = match hello {
        Ok(received) => received.ok(),
        Err(_) => {
            // From now on the session cannot start. It may have started just before.
            handshake.close();
            handshake.try_recv().ok()
        }
    };
    let error = match outcome {
        Some(Ok(name)) => {
            on_connected(first, name);
            return Ok(session.await);
        }
        Some(Err(mismatch)) => mismatch.into(),
        None => ReachError::NoHello(HELLO_TIMEOUT),
    };
    // The worker receives the reason and closes the connection.
    if timeout(GOODBYE_TIMEOUT, &mut session).await.is_err() {
        own_stop.at_once.cancel();
        session.await;
    }
    Err(error)
}

/// Sets the state of a worker, unless it was removed from the list or had joined by itself.
pub(super) fn note(shared: &SharedState, worker_address: &WorkerAddress, stop: &SessionStop, contact: Contact) {
    shared.contacts.send_if_modified(|contacts| !stop.at_once.is_cancelled() && contacts.set(worker_address, contact));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::TestState;
    use sp1d_protocol::{
        Connection, connect_client,
        wire::{Build, FromWorker, HelloRequest},
    };
    use tokio::{
        io::{DuplexStream, duplex},
        task::JoinHandle,
        time::sleep,
    };
    use tokio_util::sync::CancellationToken;

    /// Bytes that can be on the way in each direction.
    const PIPE_BYTES: usize = 64 << 10;

    /// Starts a worker that sends a hello for each of `builds`, waits for `delay`, opens its control stream, and keeps
    /// the connection for a second. Its task returns whether the control stream was accepted.
    fn start_worker(stream: DuplexStream, builds: Vec<Build>, delay: Duration) -> JoinHandle<bool> {
        tokio::spawn(async move {
            let (connection, _closer) = Connection::new(stream);
            let mut client = connect_client(connection).await.unwrap();
            for build in builds {
                client.hello(HelloRequest { build: Some(build), ..Default::default() }).await.unwrap();
            }
            sleep(delay).await;
            let control = client.control(tokio_stream::pending::<FromWorker>()).await;
            sleep(Duration::from_secs(1)).await;
            control.is_ok()
        })
    }

    /// Serves a worker of [`start_worker`]. Checks whether its session starts, and that it is not listed afterwards.
    async fn check(builds: Vec<Build>, delay: Duration, starts: bool) {
        let state = TestState::new();
        let (ours, theirs) = duplex(PIPE_BYTES);
        let worker = start_worker(theirs, builds, delay);
        let (mut first, stop) = (None, SessionStop::from(CancellationToken::new()));
        let ended = run_session(ours, &WorkerAddress::Local, None, &state.shared, &mut first, &stop).await;
        assert_eq!((ended.is_ok(), worker.await.unwrap()), (starts, starts), "{ended:?}");
        assert!(state.shared.workers().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_late_or_refused_is_not_listed() {
        let other = Build { sp1_version: "other".to_owned(), ..Build::default() };
        check(vec![Build::default()], Duration::ZERO, true).await;
        check(vec![Build::default()], Duration::from_millis(3200), false).await;
        // The second hello is accepted, but the first outcome counts.
        check(vec![other, Build::default()], Duration::ZERO, false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_whose_session_is_dropped_is_not_listed() {
        let state = TestState::new();
        let (ours, theirs) = duplex(PIPE_BYTES);
        let worker = start_worker(theirs, vec![Build::default()], Duration::ZERO);
        let (mut first, stop) = (None, SessionStop::from(CancellationToken::new()));
        let address = WorkerAddress::Local;
        let session = run_session(ours, &address, None, &state.shared, &mut first, &stop);
        assert!(timeout(Duration::from_millis(500), session).await.is_err());
        assert!(state.shared.workers().is_empty());
        assert!(worker.await.unwrap());
    }
}
