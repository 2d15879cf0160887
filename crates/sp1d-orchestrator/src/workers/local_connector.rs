//! How the orchestrator connects to a worker of its own process.

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a worker, over any transport.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Connects to a worker inside this process.
pub trait LocalConnector: Send + Sync + 'static {
    /// Returns a new connection to the worker; `None` if the worker has stopped.
    fn connect(&self) -> Option<Box<dyn Stream>>;
}
