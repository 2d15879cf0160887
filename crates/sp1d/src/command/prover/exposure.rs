//! Which ports and connections others could read and change on the way: those to other machines without TLS.

use crate::exit::CliError;
use anyhow::Result;
use sp1d_orchestrator::{WorkerAddress, WorkerList};
use sp1d_protocol::Address;
use std::{io, net::SocketAddr, time::Duration};
use tokio::time::timeout;

/// Maximum time to look up a name. A start does not wait longer for slow name servers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Checks that `address`, the value of `flag`, may be used without TLS: it is of this machine, or the user has allowed
/// it with `--insecure` (`is_allowed`).
///
/// # Errors
/// If other machines are concerned, and the user has not allowed it.
pub(super) async fn check_exposure(address: &Address, flag: &str, is_allowed: bool) -> Result<()> {
    if is_here(address.resolve(), LOOKUP_TIMEOUT).await {
        return Ok(());
    }
    if is_allowed {
        tracing::warn!(flag, %address, "no TLS (--insecure): others on the network can read and change everything");
        return Ok(());
    }
    let text = format!(
        "`{flag} {address}` connects this machine with others without TLS\n\
         hint: make keys with `sp1d keys init` and pass `--tls`; on a network that only you can reach, pass `--insecure`"
    );
    Err(CliError::usage(text).into())
}

/// Warns if `list` has a worker on another machine. A worker listens for other machines without TLS only if its user
/// has allowed that, so this is not an error. The first such worker ends the check, and so does a name server that is
/// slow.
pub(super) async fn warn_of_plain_workers(list: &WorkerList) {
    for worker_address in &list.0 {
        if let WorkerAddress::Listed(worker) = worker_address
            && !is_here(worker.resolve(), LOOKUP_TIMEOUT).await
        {
            return tracing::warn!(%worker, "no TLS: others on the network can read and change what workers get");
        }
    }
}

/// Returns true if `lookup` finds only addresses of this machine. A name that is not resolved within `limit` may belong
/// to another machine.
async fn is_here(lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>, limit: Duration) -> bool {
    match timeout(limit, lookup).await {
        Ok(Ok(found)) => found.iter().all(|address| address.ip().to_canonical().is_loopback()),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(address: &str, is_allowed: bool, expected: bool) {
        let outcome = check_exposure(&address.parse().unwrap(), "--listen", is_allowed).await;
        assert_eq!(outcome.is_ok(), expected, "{address}: {outcome:?}");
    }

    #[tokio::test]
    async fn only_this_machine_is_reached_without_tls() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            check(address, false, true).await;
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "203.0.113.1:1", "[2001:db8::1]:1"] {
            check(address, false, false).await;
            check(address, true, true).await;
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_resolved_in_time_may_belong_to_another_machine() {
        assert!(!is_here(std::future::pending(), Duration::ZERO).await);
        assert!(!is_here(async { Err(io::Error::other("unknown")) }, LOOKUP_TIMEOUT).await);
    }
}
