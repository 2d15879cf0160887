//! TLS with an identity that is read again when its files change.

use crate::{
    changed_files::ChangedFiles,
    error::{KeysError, TlsError},
    http::{HttpConfigs, HttpProtocol},
    load::{IdentityFiles, LoadedIdentity},
    peer::{Fingerprint, PeerIdentity, PeerRole},
    revocation::{Revocations, SharedRevocations},
    stream::{PeerStream, VerifiedPeer},
};
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName, UnixTime};
use sp1d_model::hint::one_line;
use std::{
    fmt, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

sp1d_model::limits! {
    /// Maximum time of a TLS handshake. It takes two round trips and a few milliseconds of one core.
    pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3); Time by EitherSide;
}

/// How often, at most, the files are checked for changes.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// How often a process warns that its certificate expires soon. A service may run for longer than its certificate.
pub(crate) const EXPIRY_CHECK: Duration = Duration::from_secs(24 * 60 * 60);

/// The identity of this process. Its files are read again when they change, so that a renewed certificate and a longer
/// revocation list need no restart.
pub struct TlsIdentity {
    files: IdentityFiles,
    role: PeerRole,
    revoked: Arc<SharedRevocations>,
    state: Mutex<IdentityState>,
}

struct IdentityState {
    loaded: Arc<LoadedIdentity>,
    keys: ChangedFiles,
    list: ChangedFiles,
    checked: Instant,
    expiry_checked: Instant,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("path", &self.files.path).field("role", &self.role).finish_non_exhaustive()
    }
}

impl IdentityState {
    /// Returns true if the end of the certificate must be checked at `now`, once a day.
    fn is_expiry_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.expiry_checked) >= EXPIRY_CHECK;
        if is_due {
            self.expiry_checked = now;
        }
        is_due
    }
}

impl TlsIdentity {
    /// Reads the identity at `path`: a file that `sp1d keys issue` has written, or a folder with `tls.key`, `tls.crt`
    /// and `ca.crt`. The file `revoked` in the same folder lists revoked peers.
    ///
    /// # Errors
    /// If the files cannot be read, or the certificate cannot be used in the role `role` now.
    pub fn load(path: &Path, role: PeerRole) -> Result<Arc<Self>, KeysError> {
        let files = IdentityFiles::at(path);
        let (keys, list) = (ChangedFiles::new(files.stamps()), ChangedFiles::new(files.list_stamps()));
        let revoked = Arc::new(SharedRevocations::new(files.load_list()?));
        let loaded = Arc::new(files.load(role, &revoked)?);
        files.warn_of_open_key();
        warn_of_expiry(&loaded, UnixTime::now());
        let now = Instant::now();
        let state = IdentityState { loaded, keys, list, checked: now, expiry_checked: now };
        Ok(Arc::new(Self { files, role, revoked, state: Mutex::new(state) }))
    }

    /// Returns who this process is.
    #[must_use]
    pub fn identity(&self) -> PeerIdentity {
        self.current().own.clone()
    }

    /// Returns the present identity, after reading changed files. If they cannot be used, the identity stays as it was.
    fn current(&self) -> Arc<LoadedIdentity> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.elapsed() >= RELOAD_INTERVAL {
            state.checked = Instant::now();
            self.reload_list(&mut state);
            self.reload_keys(&mut state);
            if state.is_expiry_due(Instant::now()) {
                warn_of_expiry(&state.loaded, UnixTime::now());
            }
        }
        state.loaded.clone()
    }

    /// Returns the present revocation list, after reading changed files.
    fn revocations(&self) -> Arc<Revocations> {
        self.current();
        self.revoked.get()
    }

    /// Reads the revocation list if it has changed. It counts even if the own keys cannot be used.
    fn reload_list(&self, state: &mut IdentityState) {
        let path = self.files.path.display();
        let IdentityState { loaded, list, checked, .. } = state;
        match list.reread(self.files.list_stamps(), *checked, || self.files.load_list()) {
            None => {}
            Some(Ok(revoked)) => {
                tracing::info!(%path, "changed revocation list loaded");
                if loaded.is_revoked(&revoked) {
                    tracing::warn!(%path, identity = %loaded.own, "this process is revoked: its peers may refuse it");
                }
                self.revoked.replace(revoked);
            }
            Some(Err(error)) => {
                let reason = one_line(&error.to_string());
                tracing::warn!(%path, %reason, "changed revocation list cannot be used; retrying every second");
            }
        }
    }

    /// Reads the keys if they have changed.
    fn reload_keys(&self, state: &mut IdentityState) {
        let path = self.files.path.display();
        let IdentityState { loaded, keys, checked, .. } = state;
        match keys.reread(self.files.stamps(), *checked, || self.renewed(loaded)) {
            None => {}
            Some(Ok(renewed)) => {
                tracing::info!(%path, identity = %renewed.own, "changed keys loaded");
                self.files.warn_of_open_key();
                warn_of_expiry(&renewed, UnixTime::now());
                *loaded = Arc::new(renewed);
            }
            Some(Err(reason)) => {
                tracing::warn!(%path, %reason, "changed keys cannot be used; retrying every second");
            }
        }
    }

    /// Reads the keys again. Returns why they cannot replace the identity `old`, in one line.
    fn renewed(&self, old: &LoadedIdentity) -> Result<LoadedIdentity, String> {
        let renewed = self.files.load(self.role, &self.revoked).map_err(|error| one_line(&error.to_string()))?;
        if renewed.own.name != old.own.name {
            return Err(format!("the keys belong to the {}, and this process is the {}", renewed.own, old.own));
        }
        Ok(renewed)
    }

    /// Accepts a peer of the other role on `stream`.
    ///
    /// # Errors
    /// If the handshake fails, if it takes longer than 3 s, or if the peer's certificate is not accepted.
    pub async fn accept(self: &Arc<Self>, stream: TcpStream) -> Result<PeerStream, TlsError> {
        let acceptor = TlsAcceptor::from(self.current().accepting.clone());
        let stream = in_time(acceptor.accept(stream)).await?;
        self.verified(stream.into())
    }

    /// Connects to a peer of the other role on `stream`.
    ///
    /// # Errors
    /// As for [`TlsIdentity::accept`].
    pub async fn connect(self: &Arc<Self>, stream: TcpStream) -> Result<PeerStream, TlsError> {
        // The name is neither sent nor checked: the certificate names the peer.
        let anywhere = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4])));
        let connector = TlsConnector::from(self.current().dialing.clone());
        let stream = in_time(connector.connect(anywhere, stream)).await?;
        self.verified(stream.into())
    }

    /// Accepts a client of HTTPS on `stream`.
    ///
    /// # Errors
    /// If the handshake fails, or takes longer than 3 s.
    pub async fn accept_http(&self, stream: TcpStream, protocol: HttpProtocol) -> Result<PeerStream, TlsError> {
        accept_client(&self.current().http, stream, protocol).await
    }

    fn verified(self: &Arc<Self>, stream: TlsStream<TcpStream>) -> Result<PeerStream, TlsError> {
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.ok_or(TlsError::NoCertificate)?;
        let (identity, fingerprint) = (PeerIdentity::of_certificate(certificate)?, Fingerprint::of(certificate));
        let tls = self.clone();
        let present = Box::new(move || tls.revocations());
        let peer = VerifiedPeer { identity, fingerprint, present, checked: Instant::now() };
        Ok(PeerStream::secure(stream, Some(peer)))
    }
}

/// Secures an accepted connection if `tls` is given.
///
/// # Errors
/// As for [`TlsIdentity::accept`].
pub async fn accept_peer(tls: Option<&Arc<TlsIdentity>>, stream: TcpStream) -> Result<PeerStream, TlsError> {
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => Ok(stream.into()),
    }
}

/// Secures a connection that this side has opened if `tls` is given.
///
/// # Errors
/// As for [`TlsIdentity::accept`].
pub async fn connect_peer(tls: Option<&Arc<TlsIdentity>>, stream: TcpStream) -> Result<PeerStream, TlsError> {
    match tls {
        Some(tls) => tls.connect(stream).await,
        None => Ok(stream.into()),
    }
}

/// Accepts a client of HTTPS on `stream`. It shows no certificate.
pub(crate) async fn accept_client(
    configs: &HttpConfigs,
    stream: TcpStream,
    protocol: HttpProtocol,
) -> Result<PeerStream, TlsError> {
    let acceptor = TlsAcceptor::from(configs.get(protocol).clone());
    let stream = in_time(acceptor.accept(stream)).await?;
    Ok(PeerStream::secure(stream.into(), None))
}

/// Returns what an HTTP port at `listens` shows its clients; `None` for plain HTTP. A port on the loopback interface
/// stays plain, for proxies and commands on the same machine.
#[must_use]
pub fn for_http_port<T: Clone>(tls: Option<&T>, listens: Option<SocketAddr>) -> Option<T> {
    let is_loopback = listens.is_some_and(|address| address.ip().to_canonical().is_loopback());
    tls.filter(|_| !is_loopback).cloned()
}

async fn in_time<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, TlsError> {
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(TlsError::Slow(HANDSHAKE_TIMEOUT)),
    }
}

fn warn_of_expiry(loaded: &LoadedIdentity, now: UnixTime) {
    let (identity, name) = (&loaded.own, &loaded.own.name);
    match loaded.expires_in(now) {
        None => {}
        Some(0) => tracing::warn!(%identity, "the certificate has expired: renew it with `sp1d keys renew {name}`"),
        Some(seconds) => {
            let days = seconds / (24 * 60 * 60);
            tracing::warn!(%identity, days, "the certificate expires soon: renew it with `sp1d keys renew {name}`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Issuance, KeyAuthority};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_running_process_checks_daily_when_its_certificate_expires() {
        let folder = tempfile::tempdir().unwrap();
        KeyAuthority::init(folder.path(), Vec::new(), 1).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        let identity = PeerIdentity { role: PeerRole::Worker, name: "w".parse().unwrap(), group: None, trusted: false };
        let path = authority.issue(Issuance { identity, hosts: Vec::new(), days: 20 }).unwrap();
        let tls = TlsIdentity::load(&path, PeerRole::Worker).unwrap();
        let mut state = tls.state.lock().unwrap();
        let (start, clock) = (state.expiry_checked, UnixTime::now().as_secs());
        let in_days = |state: &IdentityState, days: u32| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(clock) + DAY * days);
            state.loaded.expires_in(now).map(|seconds| seconds.div_ceil(DAY.as_secs()))
        };
        let mut is_due = |time: Duration| state.is_expiry_due(start + time);
        let due = [DAY / 2, DAY, DAY + DAY / 2, DAY * 2].map(&mut is_due);
        assert_eq!(due, [false, true, false, true]);
        assert_eq!([0, 5, 7, 19, 30].map(|days| in_days(&state, days)), [None, None, Some(13), Some(1), Some(0)]);
    }
}
