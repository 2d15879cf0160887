//! The network of a client: the unit in which connections and uploads are counted.

use std::{fmt, net::IpAddr};

/// The network from which a client connects. A provider assigns a whole /64 network of IPv6 addresses to a customer, so
/// such a network counts as one client. An IPv4 address counts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientNetwork(IpAddr);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(IpAddr::V6((address.to_bits() >> 64 << 64).into())),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_shown_with_its_length() {
        let shown = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().unwrap()).to_string();
        assert_eq!((shown("10.0.0.1"), shown("2001:db8::1")), ("10.0.0.1".to_owned(), "2001:db8::/64".to_owned()));
    }

    #[track_caller]
    fn check(one: &str, other: &str, same: bool) {
        let network = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network(one) == network(other), same, "{one} {other}");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("10.0.0.1", "::ffff:10.0.0.1", true);
    }
}
