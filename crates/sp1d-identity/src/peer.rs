//! What a certificate says about its peer.

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use std::{fmt, iter, net::IpAddr, str::FromStr};

sp1d_model::limits! {
    /// Maximum length of the name of a peer and of its group, in a certificate.
    const MAX_NAME_BYTES: usize = 63; Bytes by EitherSide;
}

/// The name in the certificate of the port that gives out identities. No machine may have it: a new machine sends the
/// secret of its token to the peer with this name.
pub(crate) const ENROLLMENT_NAME: &str = "enrollment";

/// The start of the URI that names a peer.
const SCHEME: &str = "sp1d:";

/// The side of a connection that a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    /// An orchestrator: `sp1d serve`, `sp1d prove`, or a program.
    Orchestrator,
    /// A worker.
    Worker,
}

impl PeerRole {
    /// Returns the role whose certificates this role accepts.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Orchestrator => Self::Worker,
            Self::Worker => Self::Orchestrator,
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orchestrator => "orchestrator",
            Self::Worker => "worker",
        })
    }
}

/// A text is not a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected worker or orchestrator")]
pub struct PeerRoleError;

impl FromStr for PeerRole {
    type Err = PeerRoleError;

    fn from_str(text: &str) -> Result<Self, PeerRoleError> {
        match text {
            "orchestrator" => Ok(Self::Orchestrator),
            "worker" => Ok(Self::Worker),
            _ => Err(PeerRoleError),
        }
    }
}

/// The name of a peer or of a group: 1 to 63 lower-case letters, digits, dots, hyphens and underscores. It starts with
/// a letter or a digit, so it is also a safe file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerName(String);

/// A text is not a valid name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to {MAX_NAME_BYTES} lower-case letters, digits, dots, hyphens and underscores, first a letter or digit"
)]
pub struct PeerNameError;

impl PeerName {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(text: &str) -> Result<Self, PeerNameError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = (1..=MAX_NAME_BYTES).contains(&text.len())
            && text.bytes().all(|byte| is_plain(byte) || matches!(byte, b'.' | b'-' | b'_'))
            && text.bytes().next().is_some_and(is_plain);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(PeerNameError) }
    }
}

/// Why the certificate of a peer is not accepted, beyond the reasons that rustls knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("the certificate is malformed")]
    Malformed,
    #[error("the certificate names no sp1d peer")]
    Unnamed,
    #[error("the certificate belongs to the {found}")]
    Role { found: PeerIdentity, wanted: PeerRole },
    #[error("the certificate belongs to the {0}")]
    NotEnrollment(PeerIdentity),
    #[error("the certificate of the {0} is revoked")]
    Revoked(PeerIdentity),
}

/// Who a peer is, according to its verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The side that the certificate is for.
    pub role: PeerRole,
    /// The name of the peer. It stays the same when the certificate is renewed.
    pub name: PeerName,
    /// The operator to whom the peer belongs, together with others. Peers of one group do not confirm each other.
    /// `None` for a peer that is independent of all others.
    pub group: Option<PeerName>,
    /// Whether a worker may get the tasks of proofs that are only for trusted workers. False for orchestrators.
    pub trusted: bool,
}

/// The last part of the URI of a trusted worker.
const TRUSTED: &str = "trusted";

impl PeerIdentity {
    /// Returns the URI that names this peer in a certificate.
    pub(crate) fn uri(&self) -> String {
        let Self { role, name, group, trusted } = self;
        match (group, trusted) {
            (Some(group), true) => format!("{SCHEME}{role}:{name}:{group}:{TRUSTED}"),
            (Some(group), false) => format!("{SCHEME}{role}:{name}:{group}"),
            (None, true) => format!("{SCHEME}{role}:{name}::{TRUSTED}"),
            (None, false) => format!("{SCHEME}{role}:{name}"),
        }
    }

    /// Reads the identity from a certificate.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| PeerError::Malformed)?;
        let mut uris = parsed.valid_uri_names().filter(|uri| uri.starts_with(SCHEME));
        // A certificate with two identities would be one peer for the revocation list and another one elsewhere.
        match (uris.next(), uris.next()) {
            (Some(uri), None) => Self::parse(uri).ok_or(PeerError::Unnamed),
            _ => Err(PeerError::Unnamed),
        }
    }

    /// Reads a URI.
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split(':');
        let role: PeerRole = parts.next()?.parse().ok()?;
        let name: PeerName = parts.next()?.parse().ok()?;
        let (group, class) = (parts.next(), parts.next());
        let trusted = match class {
            Some(TRUSTED) if role == PeerRole::Worker => true,
            Some(_) => return None,
            None => false,
        };
        let group = match group {
            // A trusted worker without a group.
            Some("") if trusted => None,
            Some(group) => Some(group.parse::<PeerName>().ok()?),
            None => None,
        };
        parts.next().is_none().then_some(Self { role, name, group, trusted })
    }

    /// Returns a digest that all peers of the group have, or only this peer if it has no group.
    #[must_use]
    pub fn operator_digest(&self) -> [u8; 16] {
        let text = match &self.group {
            Some(group) => format!("group {group}"),
            None => format!("peer {}", self.name),
        };
        let mut short = [0; 16];
        short.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
        short
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, name, group, trusted } = self;
        write!(f, "{}{role} {name}", if *trusted { "trusted " } else { "" })?;
        match group {
            Some(group) => write!(f, " of group {group}"),
            None => Ok(()),
        }
    }
}

/// Splits the first element off bytes in DER. Returns its tag and its content.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (digits.iter().fold(0, |length: usize, digit| (length << 8) | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((tag, content))
}

/// Returns the elements of a sequence in DER, up to the first malformed one.
fn elements(mut content: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    iter::from_fn(move || element(&mut content))
}

/// Returns the DNS names and IP addresses of a certificate; `None` if it has no alternative names. webpki compares
/// addresses with one that it is given, but does not list them. Only for certificates that this authority has made.
pub(crate) fn hosts_of(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    /// 2.5.29.17, the extension with alternative names.
    const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
    let (_, content) = elements(certificate).next()?;
    let (_, signed) = elements(content).next()?;
    let (_, extensions) = elements(signed).find(|(tag, _)| *tag == 0xa3)?;
    let (_, extensions) = elements(extensions).next()?;
    let wanted = elements(extensions).find(|(_, extension)| {
        elements(extension).next().is_some_and(|(_, identifier)| identifier == ALTERNATIVE_NAMES)
    });
    let (_, value) = elements(wanted?.1).last()?;
    let (_, names) = elements(value).next()?;
    let host = |(tag, name): (u8, &[u8])| match tag {
        0x82 => String::from_utf8(name.to_vec()).ok(),
        0x87 if name.len() == 4 => Some(IpAddr::from(<[u8; 4]>::try_from(name).ok()?).to_string()),
        0x87 => Some(IpAddr::from(<[u8; 16]>::try_from(name).ok()?).to_string()),
        _ => None,
    };
    Some(elements(names).filter_map(host).collect())
}

/// The SHA-256 digest of a whole certificate, as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }

    pub(crate) fn into_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Reads 64 hexadecimal digits, with or without colons between the bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: Vec<char> = text.chars().filter(|character| *character != ':').collect();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let value = pair[0].to_digit(16)? * 16 + pair[1].to_digit(16)?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Option<&str>) {
        assert_eq!(PeerIdentity::parse(uri).map(|peer| peer.to_string()).as_deref(), expected, "{uri}");
    }

    #[test]
    fn a_uri_names_role_peer_and_group() {
        check("sp1d:worker:w-7", Some("worker w-7"));
        check("sp1d:worker:w-7:team_a", Some("worker w-7 of group team_a"));
        check("sp1d:orchestrator:main.example.org", Some("orchestrator main.example.org"));
        check("sp1d:worker:w-7::trusted", Some("trusted worker w-7"));
        check("sp1d:worker:w-7:team_a:trusted", Some("trusted worker w-7 of group team_a"));
    }

    #[test]
    fn other_uris_name_no_peer() {
        for uri in ["", "sp1d:", "sp1d:worker", "sp1d:worker:", "sp1d:admin:a", "sp1d:worker:a:", "sp1d:worker:a:b:c"] {
            check(uri, None);
        }
        for uri in [
            "sp1d:worker:a::",
            "sp1d:worker:a:b:",
            "sp1d:worker:a::Trusted",
            "sp1d:worker:a:b:trusted:",
            "sp1d:orchestrator:a::trusted",
            "sp1d:orchestrator:a:b:trusted",
        ] {
            check(uri, None);
        }
        for name in ["A", "a/b", "../a", ".a", "a b", "a\n"] {
            check(&format!("sp1d:worker:{name}"), None);
        }
        check(&format!("sp1d:worker:{}", "a".repeat(MAX_NAME_BYTES)), Some(&format!("worker {}", "a".repeat(63))));
        check(&format!("sp1d:worker:{}", "a".repeat(MAX_NAME_BYTES + 1)), None);
    }

    #[test]
    fn a_uri_is_read_as_it_is_written() {
        for uri in [
            "sp1d:worker:w",
            "sp1d:worker:w:g",
            "sp1d:worker:w::trusted",
            "sp1d:worker:w:g:trusted",
            "sp1d:orchestrator:o",
        ] {
            assert_eq!(PeerIdentity::parse(uri).unwrap().uri(), uri);
        }
    }

    #[test]
    fn peers_of_one_group_have_one_operator() {
        let digest = |uri: &str| PeerIdentity::parse(uri).unwrap().operator_digest();
        assert_eq!(digest("sp1d:worker:a:g"), digest("sp1d:worker:b:g"));
        assert_ne!(digest("sp1d:worker:a:g"), digest("sp1d:worker:a:h"));
        assert_ne!(digest("sp1d:worker:a"), digest("sp1d:worker:b"));
        // Trust changes nothing: a worker keeps its faults.
        assert_eq!(digest("sp1d:worker:a:g"), digest("sp1d:worker:a:g:trusted"));
        // A peer without a group does not belong to a group of its name.
        assert_ne!(digest("sp1d:worker:g"), digest("sp1d:worker:a:g"));
    }
}
