//! Why keys cannot be used, and why a handshake fails.

use crate::peer::{PeerError, PeerIdentity, PeerName, PeerRole};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use std::{io, path::PathBuf, time::Duration};

/// Why keys cannot be created, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// A file of this name exists, and keys are never overwritten.
    #[error("{} exists already, and keys are never overwritten\nhint: choose another name or folder, or renew a certificate with `sp1d keys renew`", .0.display())]
    Exists(PathBuf),
    /// A name is reserved.
    #[error("the name {0} is reserved for the port of `sp1d keys serve`\nhint: choose another name")]
    Reserved(PeerName),
    /// A file is too large to be a key or a list.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The maximum size.
        limit: u64,
    },
    /// A file does not contain what it should.
    #[error("invalid {}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The identity cannot be used, for example because its certificate has expired.
    #[error("cannot use the identity in {}: {reason}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: TlsError,
    },
    /// The certificate is not for this side of a connection.
    #[error("the identity in {} belongs to the {found}, and this command needs one of the role {wanted}\nhint: `sp1d keys issue NAME --role {wanted}` makes one", path.display())]
    Role {
        /// The file or folder.
        path: PathBuf,
        /// Who the certificate is for.
        found: PeerIdentity,
        /// The role that this side needs.
        wanted: PeerRole,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// A token is not valid.
    #[error(
        "the token is not valid: it was used, has expired, or belongs to another authority\nhint: make a new one with `sp1d keys join-token`; if its identity did not arrive, first remove NAME.crt in the authority's folder"
    )]
    Token,
    /// The authority failed to make the identity of a token.
    #[error(
        "the authority failed to make the identity, and the token is not used up\nhint: read the log of `sp1d keys serve`, and then fetch the identity again with the same token"
    )]
    Authority,
    /// An identity cannot be fetched.
    #[error("cannot fetch the identity: {0}")]
    Fetch(TlsError),
    /// A machine has used up its token and did not receive its identity.
    #[error(
        "the {identity} did not receive its identity, and its token is used up\nhint: remove {} to free the name, and make a new token with `sp1d keys join-token`", issued.display()
    )]
    Undelivered {
        /// The machine.
        identity: PeerIdentity,
        /// The file that shows that the name is taken.
        issued: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system returns no random numbers")]
    Random,
    /// The clock of this machine shows a time that no certificate can have.
    #[error("the clock of this machine shows an impossible time\nhint: set the clock, for example with `timedatectl`")]
    Clock,
}

/// Why a TLS handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer did not finish the handshake in time.
    #[error("the TLS handshake took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// The peer sent something else than TLS.
    #[error("the peer does not use TLS\nhint: use `--tls` on both machines, or on none")]
    Plaintext,
    /// The peer does not support TLS 1.3.
    #[error("the peer does not support TLS 1.3")]
    Version,
    /// A certificate has expired.
    #[error(
        "the certificate expired {0} s ago by the clock of this machine\nhint: renew it with `sp1d keys renew`; if it is new, check the clocks of both machines"
    )]
    Expired(u64),
    /// A certificate is not yet valid.
    #[error(
        "the certificate is valid only in {0} s by the clock of this machine\nhint: check the clocks of both machines, for example with `timedatectl`"
    )]
    NotYetValid(u64),
    /// A certificate was issued by an authority that is not trusted.
    #[error(
        "the certificate was issued by an unknown authority\nhint: both machines need keys from the same `sp1d keys init`"
    )]
    UnknownAuthority,
    /// A certificate is revoked.
    #[error("the certificate of the {0} is revoked")]
    Revoked(PeerIdentity),
    /// A certificate belongs to a peer of another role.
    #[error("the certificate belongs to the {found}, and only one of the role {wanted} is accepted here")]
    WrongRole {
        /// Who the certificate is for.
        found: PeerIdentity,
        /// The role that is accepted.
        wanted: PeerRole,
    },
    /// A machine that is not the port of `sp1d keys serve` offers identities.
    #[error(
        "the certificate belongs to the {0}, and only `sp1d keys serve` gives out identities\nhint: check the address"
    )]
    NotEnrollment(PeerIdentity),
    /// A certificate does not say who the peer is.
    #[error("the certificate names no sp1d peer\nhint: it needs one URI like `sp1d:worker:NAME` as alternative name")]
    Unnamed,
    /// The peer has shown no certificate.
    #[error("the peer has no certificate\nhint: give it one with `sp1d keys issue` and `--tls`")]
    NoCertificate,
    /// The peer refused the certificate of this side.
    #[error("the peer refused the certificate of this machine: {0}")]
    Refused(&'static str),
    /// The connection failed.
    #[error(
        "the connection failed in the TLS handshake: {0}\nhint: if it repeats, the other side may not allow this address (`--join-from`, `--orchestrator`)"
    )]
    Io(io::Error),
    /// Another error of TLS.
    #[error("TLS failed: {0}")]
    Other(rustls::Error),
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => Self::from(inner.clone()),
            None => Self::Io(error),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self::Plaintext,
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
                Self::Version
            }
            rustls::Error::AlertReceived(alert) => match refusal(alert) {
                Some(reason) => Self::Refused(reason),
                None => Self::Other(error),
            },
            rustls::Error::InvalidCertificate(reason) => Self::from(reason),
            other => Self::Other(other),
        }
    }
}

impl From<CertificateError> for TlsError {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Expired => Self::Expired(0),
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Expired(time.as_secs().saturating_sub(not_after.as_secs()))
            }
            CertificateError::NotValidYet => Self::NotYetValid(0),
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotYetValid(not_before.as_secs().saturating_sub(time.as_secs()))
            }
            // A certificate of another authority with the same name fails only at its signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::Other(other) => match other.0.downcast_ref::<PeerError>() {
                Some(error) => Self::from(error.clone()),
                None => Self::Other(CertificateError::Other(other).into()),
            },
            other => Self::Other(other.into()),
        }
    }
}

impl From<PeerError> for TlsError {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Malformed => Self::Other(CertificateError::BadEncoding.into()),
            PeerError::Unnamed => Self::Unnamed,
            PeerError::Role { found, wanted } => Self::WrongRole { found, wanted },
            PeerError::NotEnrollment(found) => Self::NotEnrollment(found),
            PeerError::Revoked(peer) => Self::Revoked(peer),
        }
    }
}

/// Returns what an alert says about the certificate of this side; `None` for other alerts.
fn refusal(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateExpired => "it has expired or is not yet valid, by the peer's clock",
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "the peer does not know its authority",
        AlertDescription::CertificateUnknown => "it is revoked, has the wrong role, or names no sp1d peer",
        AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate => "it is not valid for this use",
        AlertDescription::CertificateRequired => "the peer requires one, and this machine has shown none",
        _ => return None,
    })
}

impl TlsError {
    /// Returns true if the peer only opened and closed a connection, as load balancers and people do to test a port.
    #[must_use]
    pub fn is_port_test(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}
