//! Checks the certificate of a peer: its chain, its time, its role, and that it is not revoked.

use crate::{
    error::{KeysError, TlsError},
    peer::{ENROLLMENT_NAME, Fingerprint, PeerError, PeerIdentity, PeerRole},
    revocation::SharedRevocations,
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{path::Path, sync::Arc};

/// Checks the certificates of peers, on both sides of a connection. Names of machines do not count: a peer is its name
/// in the certificate, wherever it is.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    wanted: PeerRole,
    revoked: Arc<SharedRevocations>,
}

impl PeerVerifier {
    /// Creates a verifier for peers of the role `wanted`. `path` is only used in messages.
    pub(crate) fn new(
        provider: &Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
        wanted: PeerRole,
        revoked: Arc<SharedRevocations>,
        path: &Path,
    ) -> Result<Self, KeysError> {
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let clients =
            clients.map_err(|error| KeysError::Content { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Self { roots, clients, algorithms: provider.signature_verification_algorithms, wanted, revoked })
    }

    /// Returns why a certificate of this machine would not be accepted by a peer at the time `now`.
    pub(crate) fn check_own(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), TlsError> {
        let (own, rest) = chain.split_first().ok_or(TlsError::NoCertificate)?;
        self.check_chain(own, rest, now).map_err(TlsError::from)
    }

    fn check_chain(&self, own: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, rest, now, self.algorithms.all)
    }

    /// Checks who the peer is, after its chain was checked.
    fn check_peer(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let peer = PeerIdentity::of_certificate(certificate).map_err(refused)?;
        if peer.role != self.wanted {
            return Err(refused(PeerError::Role { found: peer, wanted: self.wanted }));
        }
        if self.revoked.get().contains(&peer, Fingerprint::of(certificate)) {
            return Err(refused(PeerError::Revoked(peer)));
        }
        Ok(())
    }
}

/// Accepts any orchestrator's certificate of the authority with this fingerprint.
#[derive(Debug)]
pub(crate) struct PinnedAuthority {
    authority: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedAuthority {
    pub(crate) fn new(authority: Fingerprint) -> Self {
        Self { authority, algorithms: ring::default_provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|certificate| Fingerprint::of(certificate) == self.authority);
        let pinned = pinned.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone())?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, self.algorithms.all)?;
        // A machine of the authority must not take the secrets of other machines.
        let found = PeerIdentity::of_certificate(end_entity).map_err(refused)?;
        if found.role == PeerRole::Orchestrator && found.name.as_str() == ENROLLMENT_NAME {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused(PeerError::NotEnrollment(found)))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn refused(error: PeerError) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// TLS 1.2 is never offered, so no such signature is ever checked.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not supported".to_owned())
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_chain(end_entity, intermediates, now)?;
        self.check_peer(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, now)?;
        self.check_peer(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
