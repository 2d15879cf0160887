//! The certificate of HTTPS ports, if it is another one than that of the process: usually of a public authority, which
//! issues no certificates that name an sp1d peer.

use crate::{
    changed_files::ChangedFiles,
    error::{KeysError, TlsError},
    files::{self, FileStamp},
    http::{HttpConfigs, HttpProtocol},
    load::{EXPIRY_NOTICE, certificates, content, private_key},
    stream::PeerStream,
    tls::{EXPIRY_CHECK, RELOAD_INTERVAL, TlsIdentity, accept_client},
};
use rustls::{
    CertificateError, Error, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};
use sp1d_model::hint::one_line;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, time::Instant};

/// A certificate of less than 70 days causes a warning once this part of its time is left. Programs renew certificates
/// when a third of their time is left, so the warning means that the renewal has failed.
const NOTICE_PART: u64 = 5;

/// What HTTPS ports show their clients.
#[derive(Debug, Clone)]
pub enum HttpsIdentity {
    /// The identity that the peers of the process see, too.
    Peer(Arc<TlsIdentity>),
    /// A certificate for HTTPS only.
    Certificate(Arc<HttpsCertificate>),
}

impl HttpsIdentity {
    /// Accepts a client of HTTPS on `stream`.
    ///
    /// # Errors
    /// As for [`TlsIdentity::accept_http`].
    pub async fn accept_http(&self, stream: TcpStream, protocol: HttpProtocol) -> Result<PeerStream, TlsError> {
        match self {
            Self::Peer(tls) => tls.accept_http(stream, protocol).await,
            Self::Certificate(certificate) => accept_client(&certificate.current().configs, stream, protocol).await,
        }
    }
}

impl From<Arc<TlsIdentity>> for HttpsIdentity {
    fn from(tls: Arc<TlsIdentity>) -> Self {
        Self::Peer(tls)
    }
}

impl From<Arc<HttpsCertificate>> for HttpsIdentity {
    fn from(certificate: Arc<HttpsCertificate>) -> Self {
        Self::Certificate(certificate)
    }
}

/// A certificate for HTTPS with its key. The files are read again when they change, so that a renewed certificate needs
/// no restart.
pub struct HttpsCertificate {
    files: CertificateFiles,
    state: Mutex<CertificateState>,
}

struct CertificateState {
    loaded: Arc<LoadedCertificate>,
    files: ChangedFiles,
    checked: Instant,
    expiry_checked: Instant,
}

impl fmt::Debug for HttpsCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsCertificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl HttpsCertificate {
    /// Reads the certificate in the file `chain`, with the certificates of its authorities after it, and its key in the
    /// file `key`. Both can be the same file.
    ///
    /// # Errors
    /// If a file cannot be read, if the key does not belong to the certificate, or if the certificate is not valid now.
    pub fn load(chain: &Path, key: &Path) -> Result<Arc<Self>, KeysError> {
        let files = CertificateFiles { chain: chain.to_owned(), key: key.to_owned() };
        let in_use = ChangedFiles::new(files.stamps());
        let (now, clock) = (Instant::now(), UnixTime::now());
        let loaded = Arc::new(files.load(clock)?);
        files.warn_of_open_key();
        files.warn_of_expiry(&loaded, clock);
        let state = CertificateState { loaded, files: in_use, checked: now, expiry_checked: now };
        Ok(Arc::new(Self { files, state: Mutex::new(state) }))
    }

    /// Returns the present certificate, after reading changed files. If they cannot be used, the certificate stays as
    /// it was: a renewal may have replaced only one of the two files yet.
    fn current(&self) -> Arc<LoadedCertificate> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.saturating_duration_since(state.checked) >= RELOAD_INTERVAL {
            state.checked = now;
            self.reload(&mut state);
            if now.saturating_duration_since(state.expiry_checked) >= EXPIRY_CHECK {
                state.expiry_checked = now;
                self.files.warn_of_expiry(&state.loaded, UnixTime::now());
            }
        }
        state.loaded.clone()
    }

    /// Reads the files if they have changed.
    fn reload(&self, state: &mut CertificateState) {
        let path = self.files.chain.display();
        let CertificateState { loaded, files, checked, .. } = state;
        let clock = UnixTime::now();
        match files.reread(self.files.stamps(), *checked, || self.files.load(clock)) {
            None => {}
            Some(Ok(renewed)) => {
                tracing::info!(%path, "changed certificate for HTTPS loaded");
                self.files.warn_of_open_key();
                self.files.warn_of_expiry(&renewed, clock);
                *loaded = Arc::new(renewed);
            }
            Some(Err(error)) => {
                let reason = one_line(&error.to_string());
                tracing::warn!(%path, %reason, "changed certificate for HTTPS cannot be used; retrying every second");
            }
        }
    }
}

#[derive(Debug)]
struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
}

/// A certificate that was read and checked.
struct LoadedCertificate {
    configs: HttpConfigs,
    validity: CertificateValidity,
}

impl CertificateFiles {
    fn stamps(&self) -> Vec<FileStamp> {
        vec![files::stamp(&self.key), files::stamp(&self.chain)]
    }

    fn load(&self, now: UnixTime) -> Result<LoadedCertificate, KeysError> {
        let (key, chain) = (private_key(&self.key)?, certificates(&self.chain)?);
        let validity = CertificateValidity::of(&chain[0]).map_err(|error| content(&self.chain, error.to_string()))?;
        validity.check(now).map_err(|reason| content(&self.chain, reason))?;
        let configs = HttpConfigs::new(&Arc::new(ring::default_provider()), &chain, &key);
        let configs = configs.map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                content(&self.key, format!("the key does not belong to the certificate in {}", self.chain.display()))
            }
            other => content(&self.key, other.to_string()),
        })?;
        Ok(LoadedCertificate { configs, validity })
    }

    /// Warns if other users of the machine can use the private key.
    fn warn_of_open_key(&self) {
        if files::is_open_to_all(&self.key) {
            let path = self.key.display();
            tracing::warn!(%path, "all users of this machine can use the private key: let only the user of this process read it");
        }
    }

    fn warn_of_expiry(&self, loaded: &LoadedCertificate, now: UnixTime) {
        let path = self.chain.display();
        match loaded.validity.ends_within(now) {
            None => {}
            Some(0) => tracing::warn!(%path, "the certificate for HTTPS has expired: renew it"),
            Some(seconds) => {
                let hours = seconds / (60 * 60);
                tracing::warn!(%path, hours, "the certificate for HTTPS expires soon: check why it was not renewed");
            }
        }
    }
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CertificateValidity {
    not_before: u64,
    not_after: u64,
}

impl CertificateValidity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        // webpki checks the dates first, and reports them if they are wrong. It returns them in no other way. Nothing
        // else is checked here: without a trusted authority, each check fails.
        let authorities = RootCertStore::empty();
        let refused = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verify_server_cert_signed_by_trust_anchor(&parsed, &authorities, &[], time, &[]).err()
        };
        let not_before = match refused(0) {
            Some(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                not_before.as_secs()
            }
            _ => 0,
        };
        let not_after = match refused(u64::MAX) {
            Some(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => not_after.as_secs(),
            _ => u64::MAX,
        };
        Ok(Self { not_before, not_after })
    }

    /// Returns why a certificate is not valid at the time `now`.
    fn check(self, now: UnixTime) -> Result<(), String> {
        let (now, clock) = (now.as_secs(), "by the clock of this machine");
        if now > self.not_after {
            return Err(format!("the certificate expired {} s ago {clock}", now - self.not_after));
        }
        if now < self.not_before {
            return Err(format!("the certificate is valid only in {} s {clock}", self.not_before - now));
        }
        Ok(())
    }

    /// Returns the seconds from `now` until the certificate expires, if it expires soon; 0 if it has expired.
    fn ends_within(self, now: UnixTime) -> Option<u64> {
        let notice = (self.not_after.saturating_sub(self.not_before) / NOTICE_PART).min(EXPIRY_NOTICE.as_secs());
        let left = self.not_after.saturating_sub(now.as_secs());
        (left <= notice).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    const DAY: u64 = 24 * 60 * 60;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Checks the dates of a certificate that is valid for `days`, and on which of its days it ends soon.
    fn check(days: u64, soon: [(u64, Option<u64>); 4]) {
        const START: u64 = 1_800_000_000;
        let end = START + days * DAY;
        let mut params = CertificateParams::new(vec!["proofs.example.org".to_owned()]).unwrap();
        let date = |seconds: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
        (params.not_before, params.not_after) = (date(START), date(end));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let validity = CertificateValidity::of(certificate.der()).unwrap();
        assert_eq!(validity, CertificateValidity { not_before: START, not_after: end });
        assert!(validity.check(at(START)).is_ok() && validity.check(at(end)).is_ok());
        let reason = |seconds| validity.check(at(seconds)).unwrap_err();
        assert_eq!(reason(START - 7), "the certificate is valid only in 7 s by the clock of this machine");
        assert_eq!(reason(end + 7), "the certificate expired 7 s ago by the clock of this machine");
        for (day, expected) in soon {
            assert_eq!(validity.ends_within(at(START + day * DAY)), expected.map(|days| days * DAY), "day {day}");
        }
    }

    #[test]
    fn the_dates_of_a_certificate_are_known_and_a_failed_renewal_is_noticed() {
        // The certificate of a public authority is renewed on day 60, a short one on day 4.
        check(90, [(61, None), (75, None), (76, Some(14)), (91, Some(0))]);
        check(10, [(0, None), (7, None), (8, Some(2)), (11, Some(0))]);
    }
}
