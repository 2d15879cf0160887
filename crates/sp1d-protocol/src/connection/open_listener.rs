//! Listens on a port that a killed process may still hold.

use super::address::Address;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// How long the port may stay in use. The kernel closes the sockets of a killed process after it has released its
/// memory, which takes about 0.1 s for each GB.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Pause between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Listens on the first possible address of `address`. If the port is in use, tries again for 5 s: after a kill, the
/// previous process of this port may still be ending.
///
/// # Errors
/// Fails if the name is unknown, or with the reason why none of its addresses is possible.
///
/// # Cancel safety
/// If the future is dropped, nothing listens.
pub async fn open_listener(address: &Address) -> io::Result<TcpListener> {
    let found = address.resolve().await?;
    let start = Instant::now();
    let mut is_logged = false;
    loop {
        match bind_first(&found).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < MAX_WAIT => {
                if !is_logged {
                    let seconds = MAX_WAIT.as_secs();
                    tracing::warn!(%address, seconds, "port in use; waiting for the end of a killed process");
                    is_logged = true;
                }
                sleep(RETRY_INTERVAL).await;
            }
            opened => return opened,
        }
    }
}

/// Listens on the first possible address of `found`. If none of them is possible, an address in use determines the
/// error, because only such an address may become possible. A name often has an address that never is, for example that
/// of IPv6 on a machine without it.
async fn bind_first(found: &[SocketAddr]) -> io::Result<TcpListener> {
    let mut failure = None;
    for address in found {
        match TcpListener::bind(*address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => failure = Some(error),
            Err(error) => _ = failure.get_or_insert(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a port that another listener holds for `held` of virtual time. Returns the outcome and the time it took.
    async fn open_after(held: Duration) -> (io::Result<TcpListener>, Duration) {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(taken.local_addr().unwrap());
        let start = Instant::now();
        let holder = tokio::spawn(async move {
            sleep(held).await;
            drop(taken);
        });
        let opened = open_listener(&address).await;
        let elapsed = start.elapsed();
        holder.abort();
        (opened, elapsed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_becomes_free_is_opened() {
        let (opened, elapsed) = open_after(Duration::from_secs(2)).await;
        opened.unwrap();
        assert!((2..3).contains(&elapsed.as_secs()), "{elapsed:?}");
    }

    async fn check_error(found: &[SocketAddr], expected: io::ErrorKind) {
        assert_eq!(bind_first(found).await.unwrap_err().kind(), expected, "{found:?}");
    }

    #[tokio::test]
    async fn an_address_in_use_determines_the_error() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // No machine has this address: 192.0.2.0/24 is reserved for documentation.
        let impossible = SocketAddr::from(([192, 0, 2, 1], 8090));
        let in_use = taken.local_addr().unwrap();
        check_error(&[in_use, impossible], io::ErrorKind::AddrInUse).await;
        check_error(&[impossible, in_use], io::ErrorKind::AddrInUse).await;
        check_error(&[impossible], io::ErrorKind::AddrNotAvailable).await;
    }

    #[tokio::test]
    async fn the_first_possible_address_is_opened() {
        let impossible = SocketAddr::from(([192, 0, 2, 1], 8090));
        let possible = SocketAddr::from(([127, 0, 0, 1], 0));
        let opened = bind_first(&[impossible, possible]).await.unwrap();
        assert_eq!(opened.local_addr().unwrap().ip(), possible.ip());
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_stays_in_use_is_refused() {
        let (opened, elapsed) = open_after(Duration::from_secs(60)).await;
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!((5..6).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
}
