//! Which peers may connect.

use super::address::is_host_name;
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// A list of addresses, ranges and names that may connect. Addresses are compared by value, not as text:
/// `::ffff:10.0.0.1` equals `10.0.0.1`.
///
/// An address is only weak proof of identity. On a network that others can reach, use a firewall as well.
///
/// `PeerFilter` applies a filter to peers, and looks up its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    entries: Vec<FilterEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FilterEntry {
    Any,
    Net(IpNet),
    Name(String),
}

/// Why a text is not a valid filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text contains no entry.
    #[error("the list is empty\nhint: list the addresses, ranges or host names that may connect, or write `any`")]
    Empty,
    /// An entry is neither an address, a range nor a host name.
    #[error("\"{0}\" is not a valid address, range or host name\nhint: write a range like `10.0.0.0/8`")]
    Entry(String),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() {
            return Err(FilterError::Empty);
        }
        Ok(Self { entries })
    }
}

fn parse(text: &str) -> Result<FilterEntry, FilterError> {
    if text.eq_ignore_ascii_case("any") {
        return Ok(FilterEntry::Any);
    }
    // A port is accepted but ignored, because an orchestrator dials from any port.
    let name = text.parse::<SocketAddr>().map(|address| address.ip().to_string()).ok();
    let name = name.as_deref().unwrap_or(text);
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(FilterEntry::Net(ip.to_canonical().into()));
    }
    if let Ok(net) = name.parse::<IpNet>() {
        return Ok(FilterEntry::Net(canonical_net(net)));
    }
    let name = name.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(name, |(name, _)| name);
    if is_host_name(name) {
        return Ok(FilterEntry::Name(name.to_ascii_lowercase()));
    }
    Err(FilterError::Entry(text.to_owned()))
}

/// Returns the network in canonical form: `::ffff:10.0.0.0/104` becomes `10.0.0.0/8`.
fn canonical_net(net: IpNet) -> IpNet {
    match (net, net.addr().to_canonical()) {
        (IpNet::V6(v6), IpAddr::V4(v4)) if v6.prefix_len() >= 96 => {
            IpNet::new(v4.into(), v6.prefix_len() - 96).unwrap_or(net).trunc()
        }
        _ => net.trunc(),
    }
}

impl Filter {
    /// Returns true if an address or a range matches `peer`. Names are not looked at.
    pub(super) fn allows_address(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        // A short IPv6 prefix like `::/0` contains the IPv4 addresses in their IPv6 form.
        let as_v6: IpAddr = match peer {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            IpAddr::V6(_) => peer,
        };
        self.entries.iter().any(|entry| match entry {
            FilterEntry::Any => true,
            FilterEntry::Net(net) => net.contains(&peer) || net.contains(&as_v6),
            FilterEntry::Name(_) => false,
        })
    }

    /// Returns the names among the entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            FilterEntry::Name(name) => Some(name.as_str()),
            FilterEntry::Any | FilterEntry::Net(_) => None,
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.entries.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match entry {
                FilterEntry::Any => f.write_str("any")?,
                FilterEntry::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f)?,
                FilterEntry::Net(net) => net.fmt(f)?,
                FilterEntry::Name(name) => f.write_str(name)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, peer: &str, expected: bool) {
        let filter: Filter = filter.parse().unwrap();
        assert_eq!(filter.allows_address(peer.parse().unwrap()), expected, "{filter} and {peer}");
    }

    #[test]
    fn peers_are_compared_as_addresses() {
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.10", false);
        check("10.0.0.1", "::ffff:10.0.0.1", true);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1:9000", "10.0.0.1", true);
        check("[::1]:9000", "::1", true);
        check("0:0:0:0:0:0:0:1", "::1", true);
        check("any", "203.0.113.9", true);
    }

    #[test]
    fn ranges_and_several_entries_match() {
        check("10.0.0.0/8", "10.200.3.4", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.5/8", "10.200.3.4", true);
        check("::ffff:10.0.0.0/104", "10.200.3.4", true);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::/32", "10.200.3.4", false);
        check("::/0", "10.200.3.4", true);
        check("::/0", "2001:db8:1::1", true);
        check("0.0.0.0/0", "2001:db8:1::1", false);
        check("192.168.1.1, 10.0.0.0/8", "10.1.1.1", true);
        check("192.168.1.1,10.0.0.0/8", "172.16.0.1", false);
    }

    #[test]
    fn invalid_filters_are_refused() {
        assert_eq!("".parse::<Filter>(), Err(FilterError::Empty));
        assert_eq!(" , ".parse::<Filter>(), Err(FilterError::Empty));
        for wrong in ["10.0.0.0/33", "10.0.0", "a b", "http://a/"] {
            assert_eq!(wrong.parse::<Filter>(), Err(FilterError::Entry(wrong.to_owned())));
        }
    }
}
