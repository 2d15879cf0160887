//! Handshakes over TCP: which peers are accepted, and which errors both sides report.

use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    version::TLS13,
};
use sp1d_identity::{
    Enrollment, HttpProtocol, Issuance, JoinToken, KeyAuthority, KeysError, PeerIdentity, PeerRole, PeerStream,
    TlsError, TlsIdentity, fetch_identity, revoke,
};
use std::{
    fs::{self, File},
    io::IoSlice,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{advance, pause, resume},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOUR: i64 = 60 * 60;

fn peer(role: PeerRole, name: &str) -> PeerIdentity {
    PeerIdentity { role, name: name.parse().unwrap(), group: None, trusted: false }
}

/// A folder with an authority and an orchestrator.
struct Keys {
    folder: TempDir,
    authority: KeyAuthority,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        KeyAuthority::init(folder.path(), Vec::new(), 30).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        Self { folder, authority }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn issue(&self, role: PeerRole, name: &str) -> PathBuf {
        let issuance = Issuance { identity: peer(role, name), hosts: Vec::new(), days: 30 };
        self.authority.issue(issuance).unwrap()
    }

    fn orchestrator(&self) -> Arc<TlsIdentity> {
        TlsIdentity::load(&self.path().join("orchestrator.pem"), PeerRole::Orchestrator).unwrap()
    }

    fn worker(&self, name: &str) -> Arc<TlsIdentity> {
        TlsIdentity::load(&self.issue(PeerRole::Worker, name), PeerRole::Worker).unwrap()
    }
}

/// Returns the two ends of a TCP connection: the end that accepted, and the end that dialed.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialed = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, dialed)
}

/// Moves the clock to the next check of the files, which comes at most once a second.
async fn next_check() {
    pause();
    advance(Duration::from_millis(1100)).await;
    resume();
}

async fn handshake(
    accepting: &Arc<TlsIdentity>,
    dialing: &Arc<TlsIdentity>,
) -> (Result<PeerStream, TlsError>, Result<PeerStream, TlsError>) {
    let (accepted, dialed) = connection().await;
    tokio::join!(accepting.accept(accepted), dialing.connect(dialed))
}

/// Checks that `accepting` refuses `dialing` with `expected`, and that `dialing` learns why.
async fn check_refused(
    accepting: &Arc<TlsIdentity>,
    dialing: &Arc<TlsIdentity>,
    expected: fn(&TlsError) -> bool,
    reported: &str,
) {
    let (accepted, dialed) = handshake(accepting, dialing).await;
    let error = accepted.unwrap_err();
    assert!(expected(&error), "{error}");
    // In TLS 1.3, the dialing side may learn it only when it reads.
    let text = match dialed {
        Err(error) => error.to_string(),
        Ok(mut stream) => stream.read_u8().await.unwrap_err().to_string(),
    };
    assert!(text.contains(reported), "{text}");
}

#[tokio::test]
async fn both_sides_know_each_other_in_both_directions() {
    let keys = Keys::new();
    let (orchestrator, worker) = (keys.orchestrator(), keys.worker("w"));
    for (accepting, dialing) in [(&orchestrator, &worker), (&worker, &orchestrator)] {
        let (accepted, dialed) = handshake(accepting, dialing).await;
        let (mut accepted, mut dialed) = (accepted.unwrap(), dialed.unwrap());
        assert_eq!(accepted.peer(), Some(&dialing.identity()));
        assert_eq!(dialed.peer(), Some(&accepting.identity()));
        dialed.write_all(b"hello").await.unwrap();
        dialed.flush().await.unwrap();
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}

#[tokio::test]
async fn several_buffers_are_written_at_once_with_and_without_tls() {
    let keys = Keys::new();
    let secure = handshake(&keys.orchestrator(), &keys.worker("w")).await;
    let plain = connection().await;
    for (mut accepted, mut dialed) in
        [(secure.0.unwrap(), secure.1.unwrap()), (PeerStream::from(plain.0), PeerStream::from(plain.1))]
    {
        assert!(dialed.is_write_vectored());
        let written = dialed.write_vectored(&[IoSlice::new(b"he"), IoSlice::new(b"llo")]).await.unwrap();
        dialed.flush().await.unwrap();
        assert_eq!(written, 5);
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused() {
    let (keys, other) = (Keys::new(), Keys::new());
    let (orchestrator, stranger) = (keys.orchestrator(), other.worker("w"));
    let (accepted, dialed) = handshake(&orchestrator, &stranger).await;
    // The dialing side checks first, and ends the handshake.
    assert!(matches!(dialed, Err(TlsError::UnknownAuthority)), "{dialed:?}");
    assert!(matches!(accepted, Err(TlsError::Refused(_))), "{accepted:?}");
}

#[tokio::test]
async fn a_peer_of_the_same_role_is_refused() {
    let keys = Keys::new();
    let (one, other) = (keys.worker("one"), keys.worker("other"));
    let (accepted, dialed) = handshake(&one, &other).await;
    assert!(matches!(dialed, Err(TlsError::WrongRole { .. })), "{dialed:?}");
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_revoked_peer_is_refused_without_a_restart() {
    let keys = Keys::new();
    let (orchestrator, worker) = (keys.orchestrator(), keys.worker("w"));
    let (accepted, dialed) = handshake(&orchestrator, &worker).await;
    let (mut accepted, mut dialed) = (accepted.unwrap(), dialed.unwrap());
    revoke(keys.path(), &"w".parse().unwrap()).unwrap();
    next_check().await;
    check_refused(&orchestrator, &worker, |error| matches!(error, TlsError::Revoked(_)), "it is revoked").await;
    // The open connection ends too, also for a reader that tries again.
    dialed.write_all(b"a").await.unwrap();
    for _ in 0..2 {
        let error = accepted.read_u8().await.unwrap_err();
        assert!(error.to_string().contains("revoked"), "{error}");
    }
}

#[tokio::test]
async fn a_revocation_counts_while_the_own_keys_are_unusable() {
    let keys = Keys::new();
    let (orchestrator, worker) = (keys.orchestrator(), keys.worker("w"));
    fs::write(keys.path().join("orchestrator.pem"), "not a key").unwrap();
    revoke(keys.path(), &"w".parse().unwrap()).unwrap();
    next_check().await;
    check_refused(&orchestrator, &worker, |error| matches!(error, TlsError::Revoked(_)), "it is revoked").await;
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_read_again_until_it_can() {
    let keys = Keys::new();
    let (orchestrator, worker) = (keys.orchestrator(), keys.worker("w"));
    let list = keys.path().join("revoked");
    fs::write(&list, "W\n").unwrap();
    let written_at = fs::metadata(&list).unwrap().modified().unwrap();
    next_check().await;
    assert!(handshake(&orchestrator, &worker).await.0.is_ok());
    // Neither the size nor the time of the list changes, as when its owner changes.
    fs::write(&list, "w\n").unwrap();
    File::options().write(true).open(&list).unwrap().set_modified(written_at).unwrap();
    next_check().await;
    check_refused(&orchestrator, &worker, |error| matches!(error, TlsError::Revoked(_)), "it is revoked").await;
}

#[track_caller]
fn check_unusable(keys: &Keys, name: &str, from: i64, to: i64, expected: fn(&TlsError) -> bool) {
    let path = keys.authority.issue_between(&peer(PeerRole::Worker, name), from, to).unwrap();
    match TlsIdentity::load(&path, PeerRole::Worker) {
        Err(KeysError::Unusable { reason, .. }) => assert!(expected(&reason), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_identity_that_is_not_valid_now_is_reported_at_the_start() {
    let keys = Keys::new();
    check_unusable(
        &keys,
        "old",
        2 * HOUR,
        -HOUR,
        |error| matches!(error, TlsError::Expired(seconds) if *seconds >= 3600),
    );
    check_unusable(&keys, "new", -HOUR, 2 * HOUR, |error| matches!(error, TlsError::NotYetValid(_)));
}

/// Accepts every server, as a hostile client does.
#[derive(Debug)]
struct Gullible(CryptoProvider);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks with which error the orchestrator of `keys` refuses a hostile client that shows the identity in a file, or no
/// certificate.
async fn check_hostile(keys: &Keys, identity: Option<&Path>, expected: fn(&TlsError) -> bool) {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(ring::default_provider())));
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(path) => {
            let pem = fs::read(path).unwrap();
            let mut chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect();
            chain.pop();
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&pem).unwrap()).unwrap()
        }
    };
    let (accepted, dialed) = connection().await;
    let connector = TlsConnector::from(Arc::new(config));
    let orchestrator = keys.orchestrator();
    let name = ServerName::try_from("localhost").unwrap();
    let (accepted, _dialed) = tokio::join!(orchestrator.accept(accepted), connector.connect(name, dialed));
    let error = accepted.unwrap_err();
    assert!(expected(&error), "{error}");
}

#[tokio::test]
async fn hostile_clients_are_refused_by_their_certificates() {
    let keys = Keys::new();
    let between = |name, from, to| keys.authority.issue_between(&peer(PeerRole::Worker, name), from, to).unwrap();
    check_hostile(&keys, None, |error| matches!(error, TlsError::NoCertificate)).await;
    let orchestrator = keys.path().join("orchestrator.pem");
    check_hostile(&keys, Some(&orchestrator), |error| matches!(error, TlsError::WrongRole { .. })).await;
    let old = between("old", 2 * HOUR, -HOUR);
    check_hostile(&keys, Some(&old), |error| matches!(error, TlsError::Expired(_))).await;
    let new = between("new", -HOUR, 2 * HOUR);
    check_hostile(&keys, Some(&new), |error| matches!(error, TlsError::NotYetValid(_))).await;
    let others = Keys::new();
    let stranger = others.issue(PeerRole::Worker, "w");
    check_hostile(&keys, Some(&stranger), |error| matches!(error, TlsError::UnknownAuthority)).await;
    let stolen = keys.issue(PeerRole::Worker, "stolen");
    revoke(keys.path(), &"stolen".parse().unwrap()).unwrap();
    check_hostile(&keys, Some(&stolen), |error| matches!(error, TlsError::Revoked(_))).await;
}

#[test]
fn an_identity_of_the_other_role_is_reported_at_the_start() {
    let keys = Keys::new();
    let loaded = TlsIdentity::load(&keys.path().join("orchestrator.pem"), PeerRole::Worker);
    assert!(matches!(loaded, Err(KeysError::Role { .. })), "{loaded:?}");
}

#[tokio::test]
async fn a_peer_without_tls_gets_no_connection() {
    let keys = Keys::new();
    let (accepted, mut plain) = connection().await;
    plain.write_all(b"SP1D\0\x06\0\x01").await.unwrap();
    let error = keys.orchestrator().accept(accepted).await.unwrap_err();
    assert!(matches!(error, TlsError::Plaintext), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let keys = Keys::new();
    let (accepted, _silent) = connection().await;
    let error = keys.orchestrator().accept(accepted).await.unwrap_err();
    assert!(matches!(error, TlsError::Slow(_)), "{error}");
}

#[tokio::test]
async fn renewed_keys_are_used_without_a_restart() {
    let keys = Keys::new();
    let orchestrator = keys.orchestrator();
    let path = keys.issue(PeerRole::Worker, "w");
    let worker = TlsIdentity::load(&path, PeerRole::Worker).unwrap();
    let first = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    keys.issue(PeerRole::Worker, "w");
    assert_ne!(fs::read(&path).unwrap(), first);
    next_check().await;
    assert!(handshake(&orchestrator, &worker).await.0.is_ok());
    // Keys that cannot be used do not replace those that can.
    fs::write(&path, "not a key").unwrap();
    next_check().await;
    assert!(handshake(&orchestrator, &worker).await.0.is_ok());
}

#[tokio::test]
async fn an_identity_can_be_a_folder_as_kubernetes_mounts_it() {
    let keys = Keys::new();
    let bundle = fs::read_to_string(keys.issue(PeerRole::Worker, "w")).unwrap();
    let certificates = bundle.find("-----BEGIN CERTIFICATE").unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tls.key"), &bundle[..certificates]).unwrap();
    let own_end =
        bundle[certificates..].find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
    fs::write(folder.path().join("tls.crt"), &bundle[certificates..certificates + own_end]).unwrap();
    fs::copy(keys.path().join("ca.crt"), folder.path().join("ca.crt")).unwrap();
    let worker = TlsIdentity::load(folder.path(), PeerRole::Worker).unwrap();
    assert!(handshake(&keys.orchestrator(), &worker).await.0.is_ok());
}

#[tokio::test]
async fn a_client_of_https_needs_no_certificate_but_tls() {
    let keys = Keys::new();
    let (accepted, mut plain) = connection().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = keys.orchestrator().accept_http(accepted, HttpProtocol::One).await.unwrap_err();
    assert!(matches!(error, TlsError::Plaintext), "{error}");
}

#[tokio::test]
async fn a_token_gives_a_machine_its_identity_once_and_only_from_its_authority() {
    let (keys, other) = (Keys::new(), Keys::new());
    let token = keys.authority.new_token(&peer(PeerRole::Worker, "w"), Duration::from_secs(60)).unwrap();
    let port = async |keys: &Keys| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let enrollment = Enrollment::new(KeyAuthority::open(keys.path()).unwrap(), 30).unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(machine) = enrollment.receive(stream).await {
                    machine.deliver().await.unwrap();
                }
            }
        });
        address
    };
    let (honest, hostile) = (port(&keys).await, port(&other).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pem");
    let dial = async |address: SocketAddr| TcpStream::connect(address).await.unwrap();
    // The secret is not sent to another authority.
    let refused = fetch_identity(dial(hostile).await, &token, &path).await;
    assert!(matches!(refused, Err(KeysError::Fetch(TlsError::UnknownAuthority))), "{refused:?}");
    fetch_identity(dial(honest).await, &token, &path).await.unwrap();
    let worker = TlsIdentity::load(&path, PeerRole::Worker).unwrap();
    assert!(handshake(&keys.orchestrator(), &worker).await.0.is_ok());
    let again = folder.path().join("again.pem");
    assert!(matches!(fetch_identity(dial(honest).await, &token, &again).await, Err(KeysError::Token)));
    assert!(!again.exists());
}

/// Checks that a machine gets the identity of the worker `w` for `token`, and writes it to `path`.
async fn check_enrolled(enrollment: &Enrollment, token: &JoinToken, path: &Path) {
    let (accepted, dialed) = connection().await;
    let giving = async { enrollment.receive(accepted).await.unwrap().deliver().await };
    let (delivered, fetched) = tokio::join!(giving, fetch_identity(dialed, token, path));
    fetched.unwrap();
    assert_eq!(delivered.unwrap(), peer(PeerRole::Worker, "w"));
}

#[tokio::test]
async fn a_token_is_not_used_up_if_the_file_cannot_be_created() {
    let keys = Keys::new();
    let token = keys.authority.new_token(&peer(PeerRole::Worker, "w"), Duration::from_secs(60)).unwrap();
    let enrollment = Enrollment::new(KeyAuthority::open(keys.path()).unwrap(), 30).unwrap();
    let path = keys.path().join("none").join("w.pem");
    let (accepted, dialed) = connection().await;
    let (received, fetched) = tokio::join!(enrollment.receive(accepted), fetch_identity(dialed, &token, &path));
    assert!(matches!(fetched, Err(KeysError::File { .. })), "{fetched:?}");
    assert!(matches!(received.err(), Some(KeysError::Fetch(_))));
    // The same token still works.
    fs::create_dir(keys.path().join("none")).unwrap();
    check_enrolled(&enrollment, &token, &path).await;
}

#[tokio::test]
async fn a_machine_can_use_its_token_again_after_a_failure_of_the_authority() {
    let keys = Keys::new();
    let token = keys.authority.new_token(&peer(PeerRole::Worker, "w"), Duration::from_secs(60)).unwrap();
    let path = keys.path().join("fetched.pem");
    // No certificate can be valid for so many days.
    let enrollment = Enrollment::new(KeyAuthority::open(keys.path()).unwrap(), u32::MAX).unwrap();
    let (accepted, dialed) = connection().await;
    let (received, fetched) = tokio::join!(enrollment.receive(accepted), fetch_identity(dialed, &token, &path));
    assert!(matches!(received.err(), Some(KeysError::Clock)));
    assert!(matches!(fetched, Err(KeysError::Authority)), "{fetched:?}");
    let enrollment = Enrollment::new(KeyAuthority::open(keys.path()).unwrap(), 30).unwrap();
    check_enrolled(&enrollment, &token, &path).await;
}

#[tokio::test]
async fn an_identity_that_does_not_arrive_is_reported_with_the_file_that_frees_its_name() {
    let keys = Keys::new();
    let token = keys.authority.new_token(&peer(PeerRole::Worker, "w"), Duration::from_secs(60)).unwrap();
    let enrollment = Enrollment::new(KeyAuthority::open(keys.path()).unwrap(), 30).unwrap();
    let (accepted, dialed) = connection().await;
    // Closing the connection resets it.
    dialed.set_zero_linger().unwrap();
    let path = keys.path().join("fetched.pem");
    let machine = {
        let fetching = pin!(fetch_identity(dialed, &token, &path));
        tokio::select! {
            received = enrollment.receive(accepted) => received.unwrap(),
            fetched = fetching => panic!("{fetched:?}"),
        }
    };
    match machine.deliver().await {
        Err(KeysError::Undelivered { issued, .. }) => fs::remove_file(issued).unwrap(),
        other => panic!("{other:?}"),
    }
    keys.authority.new_token(&peer(PeerRole::Worker, "w"), Duration::from_secs(60)).unwrap();
}

#[tokio::test]
async fn another_orchestrator_of_the_authority_gets_no_secret() {
    let keys = Keys::new();
    let token = keys.authority.new_token(&peer(PeerRole::Worker, "w"), Duration::from_secs(60)).unwrap();
    let pem = fs::read(keys.path().join("orchestrator.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_slice(&pem).unwrap(),
        )
        .unwrap();
    let (accepted, dialed) = connection().await;
    let path = keys.path().join("fetched.pem");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (_hostile, fetched) = tokio::join!(acceptor.accept(accepted), fetch_identity(dialed, &token, &path));
    assert!(matches!(fetched, Err(KeysError::Fetch(TlsError::NotEnrollment(_)))), "{fetched:?}");
}
