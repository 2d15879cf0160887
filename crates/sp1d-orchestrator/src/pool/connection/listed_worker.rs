//! Keeps workers of the list connected.

use super::dialer::{Established, address_of, establish};
use crate::{
    pool::{
        first_outcome::{FirstOutcomeSender, Reached, report},
        start_session::{note, run_session},
    },
    session::lifetime::{EndedSession, SessionStop},
    state::shared_state::SharedState,
    workers::{
        contacts::Contact,
        local_connector::Stream,
        reach_error::{ReachError, failure_line},
        worker_address::WorkerAddress,
    },
};
use sp1d_identity::{PeerIdentity, PeerStream};
use sp1d_protocol::{Backoff, HolderId, PreambleError, receive_place};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep};

/// How long the first connection to a worker is retried before the worker counts as unreachable. A worker that was
/// started at the same moment may not have opened its port yet.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two tries of the first connection.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How long, at most, the orchestrator connects at least once a second to a worker that it never reached. A program is
/// often started before its workers.
const EARLY_TIME: Duration = Duration::from_secs(60);

/// Maximum pause between two connections in that time.
const MAX_EARLY_PAUSE: Duration = Duration::from_secs(1);

/// Time between two connections of an orchestrator without proofs to a worker that serves another one.
const NOT_NEEDED_PAUSE: Duration = Duration::from_secs(10);

/// Time between two connections to an address of a worker that this orchestrator already reaches under another address.
/// That other connection may be about to end.
const SAME_WORKER_PAUSE: Duration = Duration::from_secs(5);

/// Time between two log lines of the wait for a worker.
const WAIT_LOG_INTERVAL: Duration = Duration::from_secs(30);

/// When to connect to a worker again.
enum NextConnection {
    /// Shortly, because the worker may be starting.
    Soon,
    /// After a pause that grows with each failure.
    AfterPause,
    /// When a proof needs the worker, which now serves another orchestrator. Without a proof, from time to time: the
    /// worker may have become free.
    WhenNeeded,
    /// After a fixed pause, because this orchestrator already uses the worker.
    AfterFixedPause,
}

/// A worker of the list, and the connections to it.
struct ListedWorker {
    worker_address: WorkerAddress,
    shared: Arc<SharedState>,
    first: FirstOutcomeSender,
    /// When the orchestrator connected to it for the first time.
    since: Instant,
    /// Whether it was ever reached.
    is_known: bool,
    stop: SessionStop,
}

/// Keeps connecting to `worker_address` until `stop` ends it. `first` receives the outcome of the first connection.
///
/// While no proof needs the worker, it is taken only if it is free. So an idle orchestrator takes no worker from
/// others.
pub(crate) async fn keep_connected(
    worker_address: WorkerAddress,
    shared: Arc<SharedState>,
    first: FirstOutcomeSender,
    stop: SessionStop,
) {
    let since = Instant::now();
    let mut worker = ListedWorker { worker_address, shared, first, since, is_known: false, stop };
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        let next = match worker.connect().await {
            Ok(ended) => worker.on_end(ended),
            Err(error) => worker.on_failure(error),
        };
        let pause = match next {
            NextConnection::WhenNeeded => {
                tokio::select! {
                    () = worker.stop.requested() => return,
                    () = worker.shared.demand.started() => worker.note(Contact::Connecting),
                    () = sleep(NOT_NEEDED_PAUSE) => {}
                }
                continue;
            }
            NextConnection::Soon => FIRST_PAUSE,
            NextConnection::AfterFixedPause => SAME_WORKER_PAUSE,
            NextConnection::AfterPause if worker.is_early() => backoff.pause(started.elapsed()).min(MAX_EARLY_PAUSE),
            NextConnection::AfterPause => backoff.pause(started.elapsed()),
        };
        tokio::select! {
            () = worker.stop.requested() => return,
            () = sleep(pause) => {}
        }
    }
}

impl ListedWorker {
    /// Connects to the worker, and serves the connection until it ends. Fails if no session started.
    async fn connect(&mut self) -> Result<EndedSession, ReachError> {
        let (has_proof, local) = (self.shared.demand.exists(), self.shared.local.as_deref());
        let settings = &self.shared.settings;
        let established = tokio::select! {
            () = self.stop.requested() => return Err(ReachError::Stopping),
            established = establish(&self.worker_address, local, &*settings.resolver, settings.tls.as_ref(), has_proof) => established,
        };
        let (stream, reached, peer): (Box<dyn Stream>, Option<IpAddr>, Option<PeerIdentity>) = match established {
            Ok(Established::Admitted { stream, reached, peer }) => (stream, reached, peer),
            Ok(Established::Queued(stream)) => {
                let stream = self.wait_for_turn(stream).await?;
                let (reached, peer) = (address_of(&stream), stream.peer().cloned());
                (Box::new(stream), reached, peer)
            }
            Err(ReachError::Preamble(PreambleError::Busy(busy))) if self.is_own(busy.holder) => {
                return Err(ReachError::SameWorker);
            }
            Err(ReachError::Preamble(PreambleError::Busy(busy))) if !has_proof => {
                return Err(ReachError::NotNeeded(busy.text));
            }
            Err(error) => return Err(error),
        };
        self.is_known = true;
        // The address of a worker of a name is known, and there may be other ones every day.
        if let (Some(reached), WorkerAddress::Listed(_)) = (reached, &self.worker_address) {
            self.shared.note_reached(&self.worker_address, reached);
        }
        run_session(stream, &self.worker_address, peer, &self.shared, &mut self.first, &self.stop).await
    }

    /// Waits in the worker's queue. Returns the connection when the turn of this orchestrator has come. Fails if no
    /// proof needs the worker.
    async fn wait_for_turn(&mut self, mut stream: PeerStream) -> Result<PeerStream, ReachError> {
        let started = Instant::now();
        let mut logged: Option<Instant> = None;
        self.is_known = true;
        loop {
            let place = tokio::select! {
                () = self.stop.requested() => return Err(ReachError::Stopping),
                place = receive_place(&mut stream) => place?,
            };
            let Some(place) = place else { return Ok(stream) };
            if self.is_own(place.holder_id) {
                return Err(ReachError::SameWorker);
            }
            report(&mut self.first, Ok(Reached::Busy(place.to_string())));
            // The proof may have ended meanwhile.
            if !self.shared.demand.exists() {
                return Err(ReachError::NotNeeded(place.to_string()));
            }
            if logged.is_none_or(|logged| logged.elapsed() >= WAIT_LOG_INTERVAL) {
                logged = Some(Instant::now());
                self.list_disconnected(&place.to_string());
                tracing::warn!(
                    worker = %self.worker_address,
                    holder = %place.holder,
                    held_s = place.held.as_secs(),
                    place = place.place,
                    waited_s = started.elapsed().as_secs(),
                    max_wait_s = self.shared.settings.patience.as_secs(),
                    "waiting for a worker that serves another orchestrator"
                );
            }
            self.note(Contact::Waiting(place));
        }
    }

    fn on_end(&mut self, EndedSession { reason, is_release }: EndedSession) -> NextConnection {
        tracing::info!(worker = %self.worker_address, %reason, "session ended");
        if is_release {
            self.note(Contact::NotNeeded);
            NextConnection::WhenNeeded
        } else {
            self.note(Contact::Unreachable(Arc::new(ReachError::SessionEnded(reason))));
            NextConnection::AfterPause
        }
    }

    fn on_failure(&mut self, error: ReachError) -> NextConnection {
        let reason = failure_line(&error);
        tracing::debug!(worker = %self.worker_address, %reason, "cannot connect to worker");
        if let ReachError::SameWorker = error {
            report(&mut self.first, Ok(Reached::Busy(reason)));
            self.shared.disconnected().remove_listed(&self.worker_address);
            self.note(Contact::Unreachable(Arc::new(error)));
            return NextConnection::AfterFixedPause;
        }
        self.list_disconnected(&reason);
        if let ReachError::NotNeeded(holder) = error {
            self.is_known = true;
            self.note(Contact::NotNeeded);
            report(&mut self.first, Ok(Reached::Busy(holder)));
            return NextConnection::WhenNeeded;
        }
        let patience = FIRST_PATIENCE.min(self.shared.settings.patience);
        let may_start = self.first.is_some() && error.is_transient() && self.since.elapsed() < patience;
        let error = Arc::new(error);
        self.note(Contact::Unreachable(error.clone()));
        if may_start {
            return NextConnection::Soon;
        }
        report(&mut self.first, Err(error));
        NextConnection::AfterPause
    }

    /// Returns true if the worker was never reached, and may still be starting.
    fn is_early(&self) -> bool {
        !self.is_known && self.since.elapsed() < EARLY_TIME.min(self.shared.settings.patience)
    }

    /// Lists the worker as disconnected, for this reason.
    fn list_disconnected(&self, reason: &str) {
        let mut disconnected = self.shared.disconnected();
        // Code that forgets a disconnected worker cancels `stop` while it holds this lock, so a forgotten worker is not
        // listed again.
        if !self.stop.at_once.is_cancelled() {
            disconnected.connection_failed(&self.worker_address, reason, SystemTime::now());
        }
    }

    fn note(&self, contact: Contact) {
        note(&self.shared, &self.worker_address, &self.stop, contact);
    }

    /// Returns true if `holder`, which has the worker, is this orchestrator. It then reaches the worker under another
    /// address of its name.
    fn is_own(&self, holder: Option<HolderId>) -> bool {
        matches!(self.worker_address, WorkerAddress::OfName(..)) && holder == Some(HolderId::of(&self.shared.instance))
    }
}
