//! Which ports and connections others could read and change on the way: those to other machines without TLS.

use crate::exit::CliError;
use anyhow::Result;
use sp1d_orchestrator::{Member, WorkerList};
use sp1d_protocol::Address;

/// Checks that `address`, the value of `flag`, may be used without TLS: it is of this machine, or the user has allowed
/// it with `--insecure` (`is_allowed`).
///
/// # Errors
/// If other machines are concerned, and the user has not allowed it.
pub(super) async fn check_exposure(address: &Address, flag: &str, is_allowed: bool) -> Result<()> {
    // A name that is unknown now may belong to another machine.
    let is_here = match address.resolve().await {
        Ok(found) => found.iter().all(|address| address.ip().to_canonical().is_loopback()),
        Err(_) => false,
    };
    if is_here {
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

/// Warns if `list` has workers on other machines. A worker listens for other machines without TLS only if its user has
/// allowed that, so this is not an error.
pub(super) async fn warn_of_plain_workers(list: &WorkerList) {
    let mut exposed = 0_usize;
    for member in &list.0 {
        if let Member::Remote(address) = member
            && let Ok(found) = address.resolve().await
            && !found.iter().all(|address| address.ip().to_canonical().is_loopback())
        {
            exposed += 1;
        }
    }
    if exposed > 0 {
        tracing::warn!(workers = exposed, "no TLS: others on the network can read and change what workers get");
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
}
