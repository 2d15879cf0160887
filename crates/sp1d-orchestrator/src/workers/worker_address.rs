//! Names a worker of the pool, before its own name is known.

use sp1d_protocol::{Address, AddressError};
use std::{fmt, net::SocketAddr, str::FromStr};

/// The address of a worker of the pool, and how it belongs to the pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkerAddress {
    /// A worker that listens at this address.
    Listed(Address),
    /// One of the workers of a name with several addresses: its address, and the entry of the list with the name.
    OfName(SocketAddr, Address),
    /// The worker in the orchestrator's own process, written `local`.
    Local,
    /// A worker that joined by itself, from this address. It is not in the list.
    JoinedFrom(SocketAddr),
}

/// Entry of the list for the worker in the orchestrator's own process.
const LOCAL: &str = "local";

impl FromStr for WorkerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.trim() == LOCAL { Ok(Self::Local) } else { text.parse().map(Self::Listed) }
    }
}

impl From<Address> for WorkerAddress {
    fn from(address: Address) -> Self {
        Self::Listed(address)
    }
}

impl From<SocketAddr> for WorkerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Listed(address.into())
    }
}

impl fmt::Display for WorkerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(address) => address.fmt(f),
            Self::OfName(address, _) => address.fmt(f),
            Self::Local => f.write_str(LOCAL),
            Self::JoinedFrom(peer) => write!(f, "joined from {peer}"),
        }
    }
}
