//! Which worker is meant: its address, and how it belongs to the pool.

use sp1d_protocol::{Address, AddressError};
use std::{fmt, net::SocketAddr, str::FromStr};

/// A worker of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// A worker that listens at this address.
    Remote(Address),
    /// One of the workers of a name with several addresses: its address, and the entry of the list with the name.
    Named(SocketAddr, Address),
    /// The worker in the orchestrator's own process, written `local`.
    Local,
    /// A worker that joined by itself, from this address. It is not in the list.
    Joined(SocketAddr),
}

/// Entry of the list for the worker in the orchestrator's own process.
const LOCAL: &str = "local";

impl FromStr for Member {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.trim() == LOCAL { Ok(Self::Local) } else { text.parse().map(Self::Remote) }
    }
}

impl From<Address> for Member {
    fn from(address: Address) -> Self {
        Self::Remote(address)
    }
}

impl From<SocketAddr> for Member {
    fn from(address: SocketAddr) -> Self {
        Self::Remote(address.into())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(address) => address.fmt(f),
            Self::Named(address, _) => address.fmt(f),
            Self::Local => f.write_str(LOCAL),
            Self::Joined(peer) => write!(f, "joined from {peer}"),
        }
    }
}
