//! Listens on a port that a killed process may still hold.

use super::address::Address;
use std::{io, time::Duration};
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
        match TcpListener::bind(found.as_slice()).await {
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

    #[tokio::test(start_paused = true)]
    async fn a_port_that_stays_in_use_is_refused() {
        let (opened, elapsed) = open_after(Duration::from_secs(60)).await;
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!((5..6).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
}
