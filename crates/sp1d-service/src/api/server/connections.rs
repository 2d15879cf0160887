//! The open connections, shared by the tasks that serve them.

use super::connection_table::{ConnectionAdmission, ConnectionTable};
use crate::queue::{ClientNetwork, HttpLimits};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker as BackgroundTasks, task_tracker::TaskTrackerToken},
};

sp1d_model::limits! {
    /// Maximum length of the head of a request, and size of the buffers of a connection. Browsers send heads of a few
    /// kilobytes.
    pub(super) const MAX_HEAD_BYTES: usize = 64 << 10; Bytes by Client;
    /// Maximum number of replaced connections that are still closing. Further ones are cut at once.
    const MAX_CLOSING: usize = 64; Count by Client;
}

/// The open connections. Clones refer to the same connections.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    table: Arc<Mutex<ConnectionTable<CancellationToken>>>,
    closing: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        let table = ConnectionTable::new(limits.connections.max(1), limits.connections_per_client.max(1));
        Self { table: Arc::new(Mutex::new(table)), closing: Arc::new(Semaphore::new(MAX_CLOSING)) }
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionTable<CancellationToken>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection of `client`, possibly in place of an older one. `None` if the connection must be closed.
    pub(super) fn admit(&self, client: ClientNetwork) -> Option<OpenConnection> {
        let closing = CancellationToken::new();
        match self.lock().admit(client, closing.clone()) {
            ConnectionAdmission::Admitted { number, replaced } => {
                if let Some(replaced) = replaced {
                    replaced.cancel();
                }
                Some(OpenConnection { connections: self.clone(), number, closing, requests: BackgroundTasks::new() })
            }
            ConnectionAdmission::Refused => None,
        }
    }
}

/// A connection in the table. Dropping it removes it from the table.
#[derive(Debug)]
pub(super) struct OpenConnection {
    connections: Connections,
    number: u64,
    closing: CancellationToken,
    requests: BackgroundTasks,
}

impl OpenConnection {
    /// Waits until the connection must be closed in favor of another one.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Returns a place for the time in which this connection closes. `None` if too many connections are closing.
    pub(super) fn closing_place(&self) -> Option<OwnedSemaphorePermit> {
        self.connections.closing.clone().try_acquire_owned().ok()
    }

    /// Counts a request until the returned value is dropped.
    pub(super) fn start_request(&self) -> OpenRequest {
        self.connections.lock().on_request(self.number);
        OpenRequest { connections: self.connections.clone(), number: self.number, _running: self.requests.token() }
    }

    /// Returns true if the connection has a request. The table no longer counts those of a replaced connection.
    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.lock().on_closed(self.number);
    }
}

/// A request whose response has not ended.
#[derive(Debug)]
pub(super) struct OpenRequest {
    connections: Connections,
    number: u64,
    _running: TaskTrackerToken,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.connections.lock().on_response_end(self.number);
    }
}
