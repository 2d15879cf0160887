//! The open connections, shared by the tasks that serve them.

use super::connection_table::{ConnectionAdmission, ConnectionTable};
use crate::queue::{ClientNetwork, HttpLimits};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

sp1d_model::limits! {
    /// Maximum length of the head of a request, and size of the buffers of a connection. Browsers send heads of a few
    /// kilobytes.
    pub(super) const MAX_HEAD_BYTES: usize = 64 << 10; Bytes by Client;
}

/// The open connections. Clones refer to the same connections.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    table: Arc<Mutex<ConnectionTable<CancellationToken>>>,
}

impl Connections {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        let table = ConnectionTable::new(limits.connections.max(1), limits.connections_per_client.max(1));
        Self { table: Arc::new(Mutex::new(table)) }
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
                Some(OpenConnection { connections: self.clone(), number, closing })
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
}

impl OpenConnection {
    /// Waits until the connection must be closed in favor of another one.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Counts a request until the returned value is dropped.
    pub(super) fn start_request(&self) -> OpenRequest {
        self.connections.lock().on_request(self.number);
        OpenRequest { connections: self.connections.clone(), number: self.number }
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
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.connections.lock().on_response_end(self.number);
    }
}
