//! A free port for a process that is started later.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::net::TcpSocket;

/// A free port that stays free. On Linux, no listener and no connection gets it unless it asks for this port by number.
///
/// A socket that is bound and does not listen holds the port. Until the process that the port is meant for listens,
/// connections to it are refused. A port that is only looked up is different: before that process starts, another
/// program may take it.
#[derive(Debug)]
pub struct ReservedPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl ReservedPort {
    /// Reserves a free port of `ip` until the returned value is dropped.
    ///
    /// # Errors
    /// Fails if no port is free, or if `ip` is not an address of this machine.
    pub fn new(ip: IpAddr) -> io::Result<Self> {
        let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // With this option on both sockets, a port without a listener can be bound a second time. tokio and the
        // standard library set it for each listener.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(ip, 0))?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    /// Returns the address with the reserved port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_listener_can_use_a_reserved_port_repeatedly() {
        let reserved = ReservedPort::new(Ipv4Addr::LOCALHOST.into()).unwrap();
        let address = reserved.address();
        for _ in 0..2 {
            let refused = TcpStream::connect(address).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind(address).await.unwrap();
            TcpStream::connect(address).await.unwrap();
            drop(listener);
        }
    }

    #[test]
    fn a_reserved_port_is_in_use() {
        let reserved = ReservedPort::new(Ipv4Addr::LOCALHOST.into()).unwrap();
        let other = TcpSocket::new_v4().unwrap();
        assert_eq!(other.bind(reserved.address()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
