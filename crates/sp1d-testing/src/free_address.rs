//! Addresses for listeners that a test starts later.

use sp1d_protocol::ReservedPort;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Returns an address of the loopback interface with a free port, which stays reserved until this process ends. So a
/// test can listen on it late, in another process, or again after the listener has stopped.
///
/// # Panics
/// Panics if no port is free.
#[must_use]
pub fn free_address() -> SocketAddr {
    free_address_on(Ipv4Addr::LOCALHOST.into())
}

/// Same as [`free_address`], on the address `ip` of this machine.
///
/// # Panics
/// Panics if no port is free, or if `ip` is not an address of this machine.
#[must_use]
pub fn free_address_on(ip: IpAddr) -> SocketAddr {
    let reserved = ReservedPort::new(ip).expect("the machine has a free port");
    let address = reserved.address();
    // The listener may stop and start again at any time of the test, so the reservation never ends.
    std::mem::forget(reserved);
    address
}
