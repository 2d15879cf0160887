//! Reads an identity from its files.

use crate::{
    error::{KeysError, TlsError},
    files::{self, FileStamp},
    http::{HttpConfigs, without_resumption},
    peer::{Fingerprint, PeerIdentity, PeerRole},
    pem_problem::pem_problem,
    revocation::{Revocations, SharedRevocations},
    verifier::PeerVerifier,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    version::TLS13,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A certificate that ends within this time causes a warning.
pub(crate) const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Where the parts of an identity are.
#[derive(Debug)]
pub(crate) struct IdentityFiles {
    /// The path as the user wrote it.
    pub(crate) path: PathBuf,
    key: PathBuf,
    chain: PathBuf,
    /// The trusted authorities. `None`: the last certificate of the only file.
    authorities: Option<PathBuf>,
    revoked: PathBuf,
}

/// An identity that was read and checked.
#[derive(Debug)]
pub(crate) struct LoadedIdentity {
    pub(crate) own: PeerIdentity,
    fingerprint: Fingerprint,
    /// For accepting a peer, which must show its certificate.
    pub(crate) accepting: Arc<ServerConfig>,
    /// For dialing a peer.
    pub(crate) dialing: Arc<ClientConfig>,
    /// For HTTPS.
    pub(crate) http: HttpConfigs,
    verifier: Arc<PeerVerifier>,
    chain: Vec<CertificateDer<'static>>,
}

impl LoadedIdentity {
    /// Returns the seconds from `now` until the own certificate expires, if it expires soon; 0 if it has expired.
    pub(crate) fn expires_in(&self, now: UnixTime) -> Option<u64> {
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + EXPIRY_NOTICE);
        match self.verifier.check_own(&self.chain, soon) {
            Err(TlsError::Expired(seconds)) => Some(EXPIRY_NOTICE.as_secs().saturating_sub(seconds)),
            _ => None,
        }
    }

    /// Returns true if peers that have the list `revoked` refuse this identity.
    pub(crate) fn is_revoked(&self, revoked: &Revocations) -> bool {
        revoked.contains(&self.own, self.fingerprint)
    }
}

impl IdentityFiles {
    /// Finds the files: `path` is one file with key, certificates and authority, or a folder with `tls.key`, `tls.crt`
    /// and `ca.crt`, as Kubernetes mounts them.
    pub(crate) fn at(path: &Path) -> Self {
        if path.is_dir() {
            let file = |name: &str| path.join(name);
            Self {
                path: path.to_owned(),
                key: file("tls.key"),
                chain: file("tls.crt"),
                authorities: Some(file("ca.crt")),
                revoked: file("revoked"),
            }
        } else {
            Self {
                path: path.to_owned(),
                key: path.to_owned(),
                chain: path.to_owned(),
                authorities: None,
                revoked: files::folder_of(path).join("revoked"),
            }
        }
    }

    /// Warns if other users of the machine can use the private key.
    pub(crate) fn warn_of_open_key(&self) {
        if files::is_open_to_all(&self.key) {
            let path = self.key.display();
            tracing::warn!(%path, "all users of this machine can use the private key: let only the user of this process read it");
        }
    }

    /// Returns the present stamps of the keys and certificates.
    pub(crate) fn stamps(&self) -> Vec<FileStamp> {
        let paths = [&self.key, &self.chain].into_iter().chain(&self.authorities);
        paths.map(|path| files::stamp(path)).collect()
    }

    /// Returns the present stamp of the revocation list.
    pub(crate) fn list_stamps(&self) -> Vec<FileStamp> {
        vec![files::stamp(&self.revoked)]
    }

    /// Reads the revocation list.
    pub(crate) fn load_list(&self) -> Result<Revocations, KeysError> {
        Revocations::read(&self.revoked)
    }

    /// Reads and checks the identity, which must have the role `role`. It refuses the peers in `revoked`.
    pub(crate) fn load(&self, role: PeerRole, revoked: &Arc<SharedRevocations>) -> Result<LoadedIdentity, KeysError> {
        let key = private_key(&self.key)?;
        let mut chain = certificates(&self.chain)?;
        let authorities = match &self.authorities {
            Some(path) => certificates(path)?,
            None if chain.len() < 2 => {
                let reason = "expected a certificate, and after it that of the authority\n\
                              hint: copy the whole file again: the certificate of the authority is its last part";
                return Err(content(&self.chain, reason.to_owned()));
            }
            None => chain.split_off(chain.len() - 1),
        };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            let path = self.authorities.as_ref().unwrap_or(&self.chain);
            roots.add(authority).map_err(|error| content(path, format!("the authority is unusable: {error}")))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = PeerVerifier::new(&provider, Arc::new(roots), role.other(), revoked.clone(), &self.path)?;
        let now = UnixTime::now();
        let unusable = |reason| KeysError::Unusable { path: self.path.clone(), reason };
        verifier.check_own(&chain, now).map_err(unusable)?;
        let own = PeerIdentity::of_certificate(&chain[0]).map_err(|error| unusable(error.into()))?;
        if own.role != role {
            return Err(KeysError::Role { path: self.path.clone(), found: own, wanted: role });
        }
        let fingerprint = Fingerprint::of(&chain[0]);
        if revoked.get().contains(&own, fingerprint) {
            return Err(unusable(TlsError::Revoked(own)));
        }
        let configs = Configs { provider, verifier: Arc::new(verifier), chain, key };
        let configured = || -> Result<_, rustls::Error> {
            let http = HttpConfigs::new(&configs.provider, &configs.chain, &configs.key)?;
            Ok((configs.accepting()?, configs.dialing()?, http))
        };
        let (accepting, dialing, http) = configured().map_err(|error| unusable(TlsError::Other(error)))?;
        let Configs { verifier, chain, .. } = configs;
        Ok(LoadedIdentity { own, fingerprint, accepting, dialing, http, verifier, chain })
    }
}

/// Returns the configuration of a port that shows the identity `text` with its authority, and accepts all clients.
pub(crate) fn enrollment_config(text: &str, path: &Path) -> Result<Arc<ServerConfig>, KeysError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|error| content(path, pem_problem("certificate", text, &error)))?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| content(path, pem_problem("private key", text, &error)))?;
    let configured = || -> Result<_, rustls::Error> {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)
    };
    let config =
        configured().map_err(|error| KeysError::Unusable { path: path.to_owned(), reason: TlsError::Other(error) })?;
    Ok(Arc::new(without_resumption(config)))
}

pub(crate) fn content(path: &Path, reason: String) -> KeysError {
    KeysError::Content { path: path.to_owned(), reason }
}

/// Reads the first private key of a file: PKCS#8, or the older formats of RSA (PKCS#1) and of elliptic curves (SEC1).
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, KeysError> {
    let text = files::read(path)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| content(path, pem_problem("private key", &text, &error)))
}

/// Reads all certificates of a file. There is at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeysError> {
    let text = files::read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| content(path, pem_problem("certificate", &text, &error)))?;
    if found.is_empty() {
        let reason = "it has no certificate in PEM\n\
                      hint: if the file should have one, copy the whole file again";
        return Err(content(path, reason.to_owned()));
    }
    Ok(found)
}

/// What all configurations of an identity share.
struct Configs {
    provider: Arc<CryptoProvider>,
    verifier: Arc<PeerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Configs {
    fn accepting(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.verifier.clone())
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        Ok(Arc::new(without_resumption(config)))
    }

    fn dialing(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.resumption = Resumption::disabled();
        // The name in the handshake means nothing here, and would tell the network where the peer is.
        config.enable_sni = false;
        Ok(Arc::new(config))
    }
}
