//! `sp1d keys`: creates, renews and revokes certificates.

use crate::{
    args::{KeysCommand, KeysFetchArguments, KeysServeArguments},
    command::runtime::block_on,
    exit::CliError,
    terminal::print,
};
use anyhow::{Context, Result};
use sp1d_identity::{
    Enrollment, Issuance, KeyAuthority, KeysError, MAX_ENROLLMENT_LOG_RATE, PeerIdentity, PeerName, PeerRole,
    fetch_identity, revoke,
};
use sp1d_model::hint::one_line;
use sp1d_protocol::{PortGuard, RateLimiter, open_listener};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

/// Maximum time to connect to an authority.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept. Usually the process has no free file descriptor, and a connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::Init(arguments) => {
            let made = KeyAuthority::init(&arguments.folder, arguments.hosts, arguments.days).map_err(usage)?;
            let folder = arguments.folder.display();
            print(&format!("created {} and {folder}/ca.crt", made.display()))?;
            print(&format!("next: `sp1d keys issue NAME --keys {folder}` for each worker"))
        }
        KeysCommand::Issue(arguments) => {
            let identity = identity_of(arguments.role, arguments.name, arguments.group, arguments.trusted)?;
            let authority = KeyAuthority::open(&arguments.keys).map_err(usage)?;
            let issuance = Issuance { identity, hosts: arguments.hosts, days: arguments.days };
            let made = authority.issue(issuance).map_err(usage)?;
            print(&format!("created {}", made.display()))
        }
        KeysCommand::Renew(arguments) => {
            let authority = KeyAuthority::open(&arguments.keys).map_err(usage)?;
            let made = authority.renew(&arguments.name, arguments.days).map_err(usage)?;
            print(&format!("renewed {}: copy it to its machine", made.display()))
        }
        KeysCommand::Revoke(arguments) => {
            let (name, folder) = (arguments.name, arguments.keys);
            revoke(&folder, &name).map_err(usage)?;
            if !KeyAuthority::has_issued(&folder, &name) {
                let folder = folder.display();
                tracing::warn!(%name, %folder, "this folder has issued no certificate of this name: is it misspelled?");
            }
            print(&format!("revoked {name}: see {}/revoked", folder.display()))
        }
        KeysCommand::JoinToken(arguments) => {
            let identity = identity_of(arguments.role, arguments.name, arguments.group, arguments.trusted)?;
            let authority = KeyAuthority::open(&arguments.keys).map_err(usage)?;
            let valid = Duration::from_secs(u64::from(arguments.minutes) * 60);
            print(&authority.new_token(&identity, valid).map_err(usage)?.to_string())
        }
        KeysCommand::Serve(arguments) => block_on(serve(arguments)),
        KeysCommand::Fetch(arguments) => block_on(fetch(arguments)),
    }
}

/// Returns the identity to issue.
fn identity_of(role: PeerRole, name: PeerName, group: Option<PeerName>, trusted: bool) -> Result<PeerIdentity> {
    if trusted && role != PeerRole::Worker {
        let text =
            "only a worker can be trusted\nhint: leave out `--trusted`: an orchestrator has the whole input anyway";
        return Err(CliError::usage(text.to_owned()).into());
    }
    Ok(PeerIdentity { role, name, group, trusted })
}

async fn serve(KeysServeArguments { listen, keys, days }: KeysServeArguments) -> Result<()> {
    let authority = KeyAuthority::open(&keys).map_err(usage)?;
    let listener = open_listener(&listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    print(&format!("giving identities to machines with tokens at {}; stop with Ctrl-C", listener.local_addr()?))?;
    let enrollment = Enrollment::new(authority, days).map_err(usage)?;
    Arc::new(EnrollmentPort::new(enrollment)).serve(listener).await;
    Ok(())
}

/// The port of `sp1d keys serve`.
struct EnrollmentPort {
    enrollment: Enrollment,
    guard: PortGuard,
    /// Limits the log lines about tokens that are not valid.
    logs: Mutex<RateLimiter<()>>,
}

impl EnrollmentPort {
    fn new(enrollment: Enrollment) -> Self {
        let guard = PortGuard::new("any".parse().expect("a valid filter"));
        Self { enrollment, guard, logs: Mutex::new(RateLimiter::new(MAX_ENROLLMENT_LOG_RATE)) }
    }

    /// Accepts connections until the process ends.
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let port = self.clone();
                    tokio::spawn(async move { port.receive(stream, peer).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection; retrying in 1 s");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one machine. Only a machine with a valid token keeps its connection for longer than the handshake.
    async fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.guard.enter(peer.ip()).await else { return };
        let received = tokio::select! {
            // A token that has just been used up must not be lost.
            biased;
            received = self.enrollment.receive(stream) => received,
            () = place.displaced() => {
                tracing::debug!(%peer, "connection closed: too many handshakes");
                return;
            }
        };
        drop(place);
        let outcome = match received {
            Ok(machine) => machine.deliver().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(identity) => tracing::info!(%peer, %identity, "identity issued"),
            Err(KeysError::Fetch(error)) => {
                let reason = one_line(&error.to_string());
                tracing::debug!(%peer, %reason, "connection failed");
            }
            Err(error) => self.warn(peer, &error),
        }
    }

    fn warn(&self, peer: SocketAddr, error: &KeysError) {
        let suppressed = self.logs.lock().unwrap_or_else(PoisonError::into_inner).take((), Instant::now());
        if let Some(suppressed) = suppressed {
            let reason = one_line(&error.to_string());
            tracing::warn!(%peer, %reason, suppressed, "no identity given");
        }
    }
}

async fn fetch(KeysFetchArguments { from, file, token }: KeysFetchArguments) -> Result<()> {
    let found = from.resolve().await.with_context(|| format!("cannot reach {from}"))?;
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(found.as_slice())).await;
    let stream = connected.with_context(|| format!("cannot reach {from}"))?;
    let stream = stream.with_context(|| format!("cannot reach {from}"))?;
    fetch_identity(stream, &token, &file).await.map_err(usage)?;
    print(&format!("created {}: pass it to `--tls`", file.display()))
}

fn usage(error: KeysError) -> CliError {
    CliError::usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_can_be_trusted() {
        let name = || "a".parse::<PeerName>().unwrap();
        assert!(identity_of(PeerRole::Worker, name(), None, true).unwrap().trusted);
        assert!(identity_of(PeerRole::Orchestrator, name(), None, true).is_err());
        assert!(!identity_of(PeerRole::Orchestrator, name(), None, false).unwrap().trusted);
    }

    #[tokio::test]
    async fn silent_connections_do_not_keep_a_machine_from_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        KeyAuthority::init(folder.path(), Vec::new(), 1).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        let identity = PeerIdentity { role: PeerRole::Worker, name: "w".parse().unwrap(), group: None, trusted: false };
        let token = authority.new_token(&identity, Duration::from_secs(60)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = Arc::new(EnrollmentPort::new(Enrollment::new(authority, 1).unwrap()));
        let serving = tokio::spawn(port.serve(listener));
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let path = folder.path().join("fetched.pem");
        let dialed = TcpStream::connect(address).await.unwrap();
        fetch_identity(dialed, &token, &path).await.unwrap();
        assert!(path.exists());
        serving.abort();
    }
}
