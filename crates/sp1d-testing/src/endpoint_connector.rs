//! How the orchestrator of a test reaches a worker in the same process.

use sp1d_orchestrator::{LocalConnector, Stream};
use sp1d_worker::LocalEndpoint;

/// Connects an orchestrator to the worker of this endpoint.
pub struct EndpointConnector(pub LocalEndpoint);

impl LocalConnector for EndpointConnector {
    fn connect(&self) -> Option<Box<dyn Stream>> {
        self.0.connect().map(|stream| Box::new(stream) as Box<dyn Stream>)
    }
}
