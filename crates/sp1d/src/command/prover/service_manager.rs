//! Tells the service manager that started the process when it is ready, and when it stops. See sd_notify(3).

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::OnceLock,
};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// The socket of the service manager, once [`take_socket`] has found one.
static SOCKET: OnceLock<OsString> = OnceLock::new();

/// Takes the address of the service manager's socket out of the environment. Otherwise the child processes would have
/// it, and some of them run the code of programs: with `NotifyAccess=all`, they could report for this process. Must be
/// called while the process has only one thread.
pub(super) fn take_socket() {
    let Some(socket) = env::var_os(VARIABLE) else { return };
    // SAFETY: the process has only one thread, so no other thread reads the environment at the same time.
    #[expect(unsafe_code, reason = "SP1 starts its executor with the environment of this process")]
    unsafe {
        env::remove_var(VARIABLE);
    }
    // Only the first call finds the variable.
    let _ = SOCKET.set(socket);
}

/// Tells the service manager that the process accepts connections. With `Type=notify`, systemd starts other units and
/// returns from `systemctl start` only then. Does nothing without a service manager.
pub(super) fn report_ready() {
    report("READY=1");
}

/// Tells the service manager that the process has started to stop. Does nothing without a service manager.
pub(super) fn report_stopping() {
    report("STOPPING=1");
}

fn report(state: &str) {
    let Some(socket) = SOCKET.get() else { return };
    if let Err(error) = send(socket, state) {
        tracing::warn!(%error, state, "cannot reach the service manager (NOTIFY_SOCKET)");
    }
}

/// Sends `state` to `socket`: a path, or the name of an abstract socket after `@`.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(format!("{state}\n").as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[track_caller]
    fn check(manager: &UnixDatagram, socket: &OsStr) {
        manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        send(socket, "READY=1").unwrap();
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\n");
    }

    #[test]
    fn states_reach_sockets_with_and_without_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        check(&UnixDatagram::bind(&path).unwrap(), path.as_os_str());
        let name = format!("sp1d-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        check(&UnixDatagram::bind_addr(&address).unwrap(), OsStr::new(&format!("@{name}")));
        let missing = folder.path().join("missing");
        assert_eq!(send(missing.as_os_str(), "READY=1").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
