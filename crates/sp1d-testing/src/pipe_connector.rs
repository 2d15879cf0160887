//! How an orchestrator reaches a test that speaks the protocol by itself.

use sp1d_orchestrator::{LocalConnector, Stream};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
};

/// Connects an orchestrator to a test that plays the worker. Each connection is an in-memory pipe.
pub struct PipeConnector {
    connections: mpsc::UnboundedSender<DuplexStream>,
    pipe_bytes: usize,
}

impl PipeConnector {
    /// Creates a connector, and the receiver of the worker's ends of its connections. Each connection has room for
    /// `pipe_bytes` bytes in each direction.
    #[must_use]
    pub fn new(pipe_bytes: usize) -> (Self, mpsc::UnboundedReceiver<DuplexStream>) {
        let (connections, opened) = mpsc::unbounded_channel();
        (Self { connections, pipe_bytes }, opened)
    }
}

impl LocalConnector for PipeConnector {
    fn connect(&self) -> Option<Box<dyn Stream>> {
        let (theirs, ours) = duplex(self.pipe_bytes);
        self.connections.send(ours).ok()?;
        Some(Box::new(theirs))
    }
}
