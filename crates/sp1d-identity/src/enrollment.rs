//! A new machine fetches its identity with a token, over a connection that is pinned to the authority.
//!
//! ```text
//!   machine   ─► TLS: the chain must end in the certificate whose fingerprint is in the token
//!             ─► the secret of the token, one line
//!   authority ◄─ the identity file, or one line: `refused`, or `failed` if the authority has an error of its own
//! ```
//!
//! A token works once, and for a limited time. The authority keeps only the digest of its secret.

use crate::{
    authority::{Issuance, KeyAuthority},
    error::{KeysError, TlsError},
    files::{self, NewFile},
    peer::{Fingerprint, PeerIdentity},
    port_certificate::PortCertificate,
    tls::HANDSHAKE_TIMEOUT,
    verifier::PinnedAuthority,
};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::ring::default_provider,
    pki_types::{IpAddr, Ipv4Addr, ServerName},
    version::TLS13,
};
use sp1d_model::Rate;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

sp1d_model::limits! {
    /// How many log lines the machines that fetch an identity may cause. A machine that tries tokens without end writes
    /// no more.
    pub const MAX_ENROLLMENT_LOG_RATE: Rate = Rate { burst: 20, interval: Duration::from_secs(10) }; Events by Client;
    /// Maximum time in which a machine fetches its identity, after it has sent its token.
    const ENROLLMENT_TIMEOUT: Duration = Duration::from_secs(10); Time by Client;
    /// Maximum length of a request for an identity: a secret of 64 digits and the end of the line.
    const MAX_REQUEST_BYTES: u64 = 128; Bytes by Client;
    /// Maximum length of the identity that a machine fetches.
    const MAX_IDENTITY_BYTES: u64 = 64 << 10; Bytes by Service;
}

/// Response to a token that is not valid.
const REFUSED: &str = "refused";

/// Response if the authority fails to make the identity of a valid token.
const FAILED: &str = "failed";

/// A token with which a new machine fetches its identity once. It is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    authority: Fingerprint,
    secret: [u8; 32],
}

/// A text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid token: expected 64 hexadecimal digits, a dot and 64 further digits")]
pub struct JoinTokenError;

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.authority, hexadecimal(&self.secret))
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let (authority, secret) = text.trim().split_once('.').ok_or(JoinTokenError)?;
        let authority = Fingerprint::parse(authority).ok_or(JoinTokenError)?;
        let secret = secret_of(secret).ok_or(JoinTokenError)?;
        Ok(Self { authority, secret })
    }
}

/// Reads a secret: 64 hexadecimal digits.
fn secret_of(text: &str) -> Option<[u8; 32]> {
    // A fingerprint has the same form, and may also contain colons.
    if text.contains(':') { None } else { Fingerprint::parse(text).map(Fingerprint::into_bytes) }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the file of a token in the folder of its authority.
fn token_file(folder: &Path, secret: &[u8; 32]) -> PathBuf {
    folder.join("tokens").join(hexadecimal(digest(&SHA256, secret).as_ref()))
}

/// Returns when a token ends, from the first line of its file.
fn end_of(token: &str) -> Option<u64> {
    token.lines().next()?.parse().ok()
}

/// Removes the files of expired tokens. A file that cannot be removed does no harm: its token does not work.
fn remove_expired(folder: &Path, now: u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let ends = files::read(&path).ok().and_then(|token| end_of(&token));
        if ends.is_some_and(|ends| ends < now)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "cannot remove an expired token");
        }
    }
}

fn seconds_now() -> Result<u64, KeysError> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| KeysError::Clock)?.as_secs())
}

/// Converts the error of the file of a token. A token without a file is not valid.
fn invalid_if_missing(error: KeysError) -> KeysError {
    match error {
        KeysError::File { reason, .. } if reason.kind() == io::ErrorKind::NotFound => KeysError::Token,
        error => error,
    }
}

impl KeyAuthority {
    /// Makes a token with which a machine can fetch an identity for `identity` once, within `valid`.
    ///
    /// # Errors
    /// If the name has an identity already or is reserved, or if the file of the token cannot be written.
    pub fn new_token(&self, identity: &PeerIdentity, valid: Duration) -> Result<JoinToken, KeysError> {
        self.check_new(&identity.name)?;
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).map_err(|_| KeysError::Random)?;
        let path = token_file(self.folder(), &secret);
        files::create_folder(files::folder_of(&path))?;
        let now = seconds_now()?;
        remove_expired(files::folder_of(&path), now);
        let ends = now.saturating_add(valid.as_secs());
        files::write_new(&path, &format!("{ends}\n{}\n", identity.uri()))?;
        Ok(JoinToken { authority: self.fingerprint()?, secret })
    }

    /// Makes the identity of a token, and then uses up the token. If it fails, a valid token stays valid.
    fn redeem(&self, secret: &[u8; 32], days: u32) -> Result<(PeerIdentity, String), KeysError> {
        let path = token_file(self.folder(), secret);
        let content = files::read(&path).map_err(invalid_if_missing)?;
        let ends = end_of(&content).ok_or(KeysError::Token)?;
        let identity = content.lines().nth(1).and_then(PeerIdentity::parse).ok_or(KeysError::Token)?;
        let now = seconds_now()?;
        if now > ends {
            remove_expired(files::folder_of(&path), now);
            return Err(KeysError::Token);
        }
        self.check_new(&identity.name)?;
        let text = self.sign(Issuance { identity: identity.clone(), hosts: Vec::new(), days })?;
        // The key stays only on the new machine. The certificate shows that the name is taken.
        self.note_issued(&identity.name, &text)?;
        // Of several requests, only the one that removes the file gives an identity.
        if let Err(reason) = fs::remove_file(&path) {
            let issued = self.issued_file(&identity.name);
            fs::remove_file(&issued).map_err(|reason| KeysError::File { path: issued, reason })?;
            return Err(invalid_if_missing(KeysError::File { path, reason }));
        }
        Ok((identity, text))
    }
}

/// Gives machines with tokens their identities. The caller accepts the connections, and bounds their number.
pub struct Enrollment {
    authority: KeyAuthority,
    certificate: PortCertificate,
    days: u32,
}

/// A machine whose token was valid, and is used up.
pub struct EnrolledMachine {
    stream: TlsStream<TcpStream>,
    identity: PeerIdentity,
    text: String,
    /// The file in the authority's folder that shows that the name is taken.
    issued: PathBuf,
}

impl Enrollment {
    /// Creates the certificate of the port. The identities of the machines will be valid for `days` days.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn new(authority: KeyAuthority, days: u32) -> Result<Self, KeysError> {
        let certificate = PortCertificate::new(&authority, seconds_now()?)?;
        Ok(Self { authority, certificate, days })
    }

    /// Receives the token of the machine at the other end of `stream`, within 3 s. Refuses a token that is not valid.
    ///
    /// # Errors
    /// [`KeysError::Fetch`] if the connection fails or is too slow, and another error if the machine gets no identity.
    ///
    /// # Cancel safety
    /// A token is used up only if the future returns the machine.
    pub async fn receive(&self, stream: TcpStream) -> Result<EnrolledMachine, KeysError> {
        let receiving = async {
            let config = self.certificate.config(&self.authority, seconds_now()?)?;
            let mut stream = TlsAcceptor::from(config).accept(stream).await.map_err(broken)?;
            let mut line = String::new();
            BufReader::new((&mut stream).take(MAX_REQUEST_BYTES)).read_line(&mut line).await.map_err(broken)?;
            let redeemed = match secret_of(line.trim_end()) {
                Some(secret) => self.authority.redeem(&secret, self.days),
                None => Err(KeysError::Token),
            };
            match redeemed {
                Ok((identity, text)) => {
                    let issued = self.authority.issued_file(&identity.name);
                    Ok(EnrolledMachine { stream, identity, text, issued })
                }
                Err(error) => {
                    // The reason is only for the log of the authority.
                    let response = match error {
                        KeysError::Token | KeysError::Exists(_) => REFUSED,
                        _ => FAILED,
                    };
                    stream.write_all(format!("{response}\n").as_bytes()).await.map_err(broken)?;
                    stream.shutdown().await.map_err(broken)?;
                    Err(error)
                }
            }
        };
        match timeout(HANDSHAKE_TIMEOUT, receiving).await {
            Ok(received) => received,
            Err(_) => Err(KeysError::Fetch(TlsError::Slow(HANDSHAKE_TIMEOUT))),
        }
    }
}

impl EnrolledMachine {
    /// Sends the machine its identity. Returns who it is now.
    ///
    /// # Errors
    /// [`KeysError::Undelivered`] if the connection fails, or the machine does not read within 10 s.
    pub async fn deliver(mut self) -> Result<PeerIdentity, KeysError> {
        let delivering = async {
            self.stream.write_all(self.text.as_bytes()).await?;
            self.stream.shutdown().await
        };
        let delivered = timeout(ENROLLMENT_TIMEOUT, delivering).await;
        match delivered {
            Ok(Ok(())) => Ok(self.identity),
            _ => Err(KeysError::Undelivered { identity: self.identity, issued: self.issued }),
        }
    }
}

/// Converts the error of a connection.
fn broken(error: io::Error) -> KeysError {
    KeysError::Fetch(error.into())
}

/// Fetches an identity from an authority at the other end of `stream`, and writes it to the new file `path`.
///
/// # Errors
/// If the file exists or cannot be created, the peer is not the authority of the token, the token is not valid, or the
/// authority fails to make the identity.
pub async fn fetch_identity(stream: TcpStream, token: &JoinToken, path: &Path) -> Result<(), KeysError> {
    // Sending the token uses it up. A file that cannot be created must be noticed before.
    let file = NewFile::create(path)?;
    let fetched = timeout(ENROLLMENT_TIMEOUT, fetch(stream, token)).await;
    let text = fetched.map_err(|_| KeysError::Fetch(TlsError::Slow(ENROLLMENT_TIMEOUT)))?;
    let text = text.map_err(KeysError::Fetch)?;
    if text.trim_end() == FAILED {
        return Err(KeysError::Authority);
    }
    if !text.starts_with("-----BEGIN ") {
        return Err(KeysError::Token);
    }
    file.finish(&text)
}

async fn fetch(stream: TcpStream, token: &JoinToken) -> Result<String, TlsError> {
    let verifier = Arc::new(PinnedAuthority::new(token.authority));
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let anywhere = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4])));
    let mut stream = TlsConnector::from(Arc::new(config)).connect(anywhere, stream).await?;
    stream.write_all(format!("{}\n", hexadecimal(&token.secret)).as_bytes()).await?;
    stream.flush().await?;
    let mut text = String::new();
    stream.take(MAX_IDENTITY_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerRole;
    use std::{sync::Barrier, thread};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn worker() -> PeerIdentity {
        PeerIdentity {
            role: PeerRole::Worker,
            name: "w".parse().unwrap(),
            group: Some("g".parse().unwrap()),
            trusted: false,
        }
    }

    fn authority(folder: &Path) -> KeyAuthority {
        KeyAuthority::init(folder, Vec::new(), 1).unwrap();
        KeyAuthority::open(folder).unwrap()
    }

    #[test]
    fn a_token_works_once() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        let token = authority.new_token(&worker(), DAY).unwrap();
        assert_eq!(token.to_string().parse::<JoinToken>(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&hexadecimal(&token.secret)));
        let (identity, text) = authority.redeem(&token.secret, 1).unwrap();
        assert_eq!(identity, worker());
        assert!(text.contains("PRIVATE KEY"));
        assert!(matches!(authority.redeem(&token.secret, 1), Err(KeysError::Token)));
        // The name is taken now, and its key is not kept here.
        assert!(matches!(authority.new_token(&worker(), DAY), Err(KeysError::Exists(_))));
        assert!(!fs::read_to_string(folder.path().join("w.crt")).unwrap().contains("PRIVATE"));
    }

    #[test]
    fn a_failure_of_the_authority_does_not_use_up_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        let token = authority.new_token(&worker(), DAY).unwrap();
        // No certificate can be valid for so many days.
        assert!(matches!(authority.redeem(&token.secret, u32::MAX), Err(KeysError::Clock)));
        assert_eq!(authority.redeem(&token.secret, 1).unwrap().0, worker());
    }

    #[test]
    fn two_machines_with_one_token_at_the_same_time_get_one_identity() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        let token = authority.new_token(&worker(), DAY).unwrap();
        let start = Barrier::new(2);
        let redeem = || {
            start.wait();
            authority.redeem(&token.secret, 1)
        };
        let both = thread::scope(|scope| {
            let machines = [scope.spawn(redeem), scope.spawn(redeem)];
            machines.map(|machine| machine.join().unwrap())
        });
        assert_eq!(both.iter().filter(|redeemed| redeemed.is_ok()).count(), 1);
        for error in both.into_iter().filter_map(Result::err) {
            assert!(matches!(error, KeysError::Token | KeysError::Exists(_)), "{error}");
        }
        assert!(folder.path().join("w.crt").exists());
    }

    #[test]
    fn a_new_token_removes_expired_ones() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        let [expired, valid] = [(); 2].map(|()| authority.new_token(&worker(), DAY).unwrap());
        let [expired, valid] = [expired, valid].map(|token| token_file(folder.path(), &token.secret));
        files::replace_list(&expired, &format!("1\n{}\n", worker().uri())).unwrap();
        authority.new_token(&worker(), DAY).unwrap();
        assert!(!expired.exists() && valid.exists());
    }

    #[test]
    fn an_expired_token_does_not_work() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        let token = authority.new_token(&worker(), DAY).unwrap();
        let path = token_file(folder.path(), &token.secret);
        files::replace_list(&path, &format!("1\n{}\n", worker().uri())).unwrap();
        assert!(matches!(authority.redeem(&token.secret, 1), Err(KeysError::Token)));
        assert!(!path.exists());
    }
}
