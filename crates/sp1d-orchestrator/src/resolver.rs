//! Looks up the names of the worker list.

use futures::future::BoxFuture;
use sp1d_protocol::Address;
use std::{fmt, io, net::SocketAddr, time::Duration};

/// Time between two lookups of a name of the worker list. Name servers of clusters announce changes within 5 to 30 s.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(15);

/// Looks up the addresses of workers.
pub trait AddressResolver: fmt::Debug + Send + Sync + 'static {
    /// Returns every socket address that `address` currently stands for. The reply may take any time: the caller stops
    /// waiting.
    ///
    /// # Errors
    /// Fails if the name is unknown or the name server does not respond.
    fn resolve<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Returns the time between two lookups of a name, which find new workers and workers that are gone. The default
    /// implementation returns 15 s.
    fn interval(&self) -> Duration {
        LOOKUP_INTERVAL
    }
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SystemResolver;

impl AddressResolver for SystemResolver {
    fn resolve<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(address.resolve())
    }
}
