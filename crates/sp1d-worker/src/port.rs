//! Opens ports to listen on.

use sp1d_protocol::{Address, open_listener};
use std::io;
use tokio::net::TcpListener;

/// Why a worker cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}{hint}")]
pub struct PortError {
    /// The address as configured.
    address: Address,
    /// The operating system's error.
    reason: io::Error,
    /// A line with a hint, or empty if there is no obvious remedy.
    hint: String,
}

/// Listens on `listen`, which is the value of the command line flag `flag`.
pub(crate) async fn open_port(listen: &Address, flag: &str) -> Result<TcpListener, PortError> {
    let failed = |reason: io::Error| {
        let hint = match reason.kind() {
            io::ErrorKind::AddrInUse => format!("\nhint: choose another port with `{flag}`"),
            io::ErrorKind::AddrNotAvailable => {
                "\nhint: listen on an address of this machine, or on 0.0.0.0 or [::] for all of them".to_owned()
            }
            io::ErrorKind::PermissionDenied => format!("\nhint: choose a port above 1023 with `{flag}`"),
            _ => String::new(),
        };
        PortError { address: listen.clone(), reason, hint }
    };
    open_listener(listen).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn port_in_use_is_reported_with_the_flag_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(taken.local_addr().unwrap());
        let text = open_port(&address, "--health").await.unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
        assert!(text.ends_with("\nhint: choose another port with `--health`"), "{text}");
    }
}
