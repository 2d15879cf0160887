//! Addresses as users write them: `IP:PORT`, `[IPV6]:PORT`, `NAME:PORT`.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// The address on which a peer listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    location: IpOrName,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum IpOrName {
    Ip(IpAddr),
    Name(String),
}

/// Why a text is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text does not end with a colon and a port.
    #[error("\"{0}\" has no port: expected HOST:PORT\nhint: add the port, for example `10.0.0.7:8081` or `[::1]:8081`")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("\"{port}\" in \"{address}\" is not a valid port: expected a number from 1 to 65535")]
    Port {
        /// The whole text.
        address: String,
        /// The part after the last colon.
        port: String,
    },
    /// The text contains several colons without brackets.
    #[error(
        "\"{0}\" has several colons: expected HOST:PORT\nhint: write an IPv6 address in brackets, for example `[::1]:8081`"
    )]
    Brackets(String),
    /// The part before the port is neither an IP address nor a host name.
    #[error("\"{name}\" in \"{address}\" is neither an IP address nor a host name")]
    Name {
        /// The whole text.
        address: String,
        /// The part before the port.
        name: String,
    },
}

impl Address {
    /// Returns the TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns true if the address is a host name and a port.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self.location, IpOrName::Name(_))
    }

    /// Returns every socket address that this address currently stands for. A name is looked up again in each call.
    ///
    /// # Errors
    /// Fails if the name is unknown or the resolver fails.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.location {
            IpOrName::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            IpOrName::Name(name) => {
                let found: Vec<_> = tokio::net::lookup_host((name.as_str(), self.port)).await?.collect();
                if found.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        format!("host name \"{name}\" has no address"),
                    ));
                }
                Ok(found)
            }
        }
    }
}

/// Returns true for host names as in RFC 1123, plus the underscores that container networks use. A name has at most 253
/// letters, digits, hyphens, underscores and dots. Each part between dots has 1 to 63 characters and neither starts nor
/// ends with a hyphen.
pub(super) fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.trim_end_matches('.').split('.').all(|part| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
        // "1.2.3" and "300.1.1.1" are mistyped addresses, not names.
        && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let no_port = || AddressError::NoPort(text.to_owned());
        let (name, port) = text.rsplit_once(':').ok_or_else(no_port)?;
        let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bracketed.is_none() && text.ends_with(']') {
            return Err(no_port());
        }
        if bracketed.is_none() && name.contains(':') {
            return Err(AddressError::Brackets(text.to_owned()));
        }
        let port = match port.parse() {
            Ok(number) if number != 0 => number,
            _ => return Err(AddressError::Port { address: text.to_owned(), port: port.to_owned() }),
        };
        let wrong_name = |name: &str| AddressError::Name { address: text.to_owned(), name: name.to_owned() };
        let location = match bracketed {
            Some(inner) => IpOrName::Ip(IpAddr::V6(inner.parse().map_err(|_| wrong_name(inner))?)),
            None => match name.parse() {
                Ok(ip) => IpOrName::Ip(ip),
                Err(_) if is_host_name(name) => IpOrName::Name(name.to_ascii_lowercase()),
                Err(_) => return Err(wrong_name(name)),
            },
        };
        Ok(Self { location, port })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { location: IpOrName::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            IpOrName::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            IpOrName::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let got = text.parse::<Address>().map(|address| address.to_string()).map_err(|error| error.to_string());
        match expected {
            Ok(shown) => assert_eq!(got.as_deref(), Ok(shown), "{text}"),
            Err(part) => assert!(got.as_ref().unwrap_err().contains(part), "{text}: {got:?}"),
        }
    }

    #[test]
    fn addresses_and_names_with_ports_are_parsed() {
        check("127.0.0.1:8081", Ok("127.0.0.1:8081"));
        check(" [::1]:8081 ", Ok("[::1]:8081"));
        check("[2001:DB8::7]:1", Ok("[2001:db8::7]:1"));
        check("Localhost:65535", Ok("localhost:65535"));
        check("prover_1.example.com:80", Ok("prover_1.example.com:80"));
    }

    #[test]
    fn invalid_addresses_are_refused_with_a_hint() {
        check("127.0.0.1", Err("HOST:PORT"));
        check("", Err("HOST:PORT"));
        check("[::1]", Err("HOST:PORT"));
        check("::1:8081", Err("brackets"));
        check("localhost:0", Err("1 to 65535"));
        check("localhost:65536", Err("1 to 65535"));
        check("localhost:http", Err("1 to 65535"));
        check(":8081", Err("neither"));
        check("300.1.1.1:8081", Err("neither"));
        check("[localhost]:8081", Err("neither"));
        check("http://a:8081", Err("brackets"));
        check("a b:8081", Err("neither"));
        check("-a:8081", Err("neither"));
    }

    #[tokio::test]
    async fn known_names_resolve_and_unknown_names_fail() {
        let local: Address = "localhost:81".parse().unwrap();
        assert!(local.resolve().await.unwrap().iter().all(|found| found.ip().is_loopback() && found.port() == 81));
        let unknown: Address = "no-such-host.invalid:81".parse().unwrap();
        assert!(unknown.resolve().await.is_err());
    }
}
