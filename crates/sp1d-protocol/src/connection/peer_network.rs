//! The network of a peer: the unit in which connections are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The network from which a peer connects. One machine can have all addresses of an IPv6 network of 64 bits, so such a
/// network counts as one peer. An IPv4 address counts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerNetwork(IpAddr);

impl From<IpAddr> for PeerNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            address @ IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) => Self(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))),
        }
    }
}

impl PeerNetwork {
    /// Returns a number that no other network has: the bits of the address, with an IPv4 address mapped to IPv6.
    #[must_use]
    pub fn to_bits(self) -> u128 {
        match self.0 {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, same: bool) {
        let network = |text: &str| PeerNetwork::from(text.parse::<IpAddr>().unwrap());
        let (one_network, other_network) = (network(one), network(other));
        assert_eq!(one_network == other_network, same, "{one} and {other}");
        assert_eq!(one_network.to_bits() == other_network.to_bits(), same, "{one} and {other}");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_peer() {
        check("2001:db8::1", "2001:db8::2:3", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        check("10.0.0.2", "10.0.0.1", false);
    }
}
