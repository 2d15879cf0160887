//! Certificates for HTTPS as certbot, lego and cert-manager write them, and how they are renewed.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use sp1d_identity::{
    HttpProtocol, HttpsCertificate, HttpsIdentity, Issuance, KeyAuthority, KeysError, PeerIdentity, PeerRole,
    TlsIdentity,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{advance, pause, resume},
};
use tokio_rustls::TlsConnector;

const NAME: &str = "proofs.example.org";

/// The same keys in several formats. openssl has written them, and they are used nowhere else.
const EC_PKCS8: &str = include_str!("keys/ec-pkcs8.pem");
const EC_SEC1: &str = include_str!("keys/ec-sec1.pem");
const EC_ENCRYPTED: &str = include_str!("keys/ec-encrypted.pem");
const RSA_PKCS8: &str = include_str!("keys/rsa-pkcs8.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");

/// A root authority, and one below it that issues the certificates, as public authorities have them.
struct WebAuthority {
    root: CertificateDer<'static>,
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl WebAuthority {
    fn new() -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority_params("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(authority_params("root"), root_key);
        let intermediate = authority_params("intermediate").signed_by(&key, &root_issuer).unwrap();
        Self {
            root: root.der().clone(),
            intermediate: intermediate.pem(),
            issuer: Issuer::new(authority_params("intermediate"), key),
        }
    }

    /// Returns a new certificate for `key`, with that of the intermediate authority after it.
    fn issue(&self, key: &KeyPair) -> String {
        self.issue_until(key, 4_000_000_000)
    }

    /// Returns a new certificate that is valid until `end`, in seconds since 1970.
    fn issue_until(&self, key: &KeyPair, end: i64) -> String {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(end).unwrap();
        format!("{}{}", params.signed_by(key, &self.issuer).unwrap().pem(), self.intermediate)
    }

    /// Connects to `port` as a client that trusts the root authority. Returns the certificate that the port shows.
    async fn connect(&self, port: &HttpsIdentity) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (accepted, dialed) = connection().await;
        let (connector, name) = (TlsConnector::from(Arc::new(config)), ServerName::try_from(NAME).unwrap());
        let accepting = port.accept_http(accepted, HttpProtocol::OneAndTwo);
        let (_accepted, dialed) = tokio::join!(accepting, connector.connect(name, dialed));
        dialed.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone()
    }
}

/// Returns the first certificate of a file.
fn first(chain: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()
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

/// Writes a certificate and its key as certbot names them. Returns both paths.
fn write(folder: &Path, chain: &str, key: &str) -> (PathBuf, PathBuf) {
    let (chain_file, key_file) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
    fs::write(&chain_file, chain).unwrap();
    fs::write(&key_file, key).unwrap();
    (chain_file, key_file)
}

/// Checks that a port can use `key`, whose file has the content `written`.
async fn check_key(case: &str, key: &KeyPair, written: &str) {
    let (authority, folder) = (WebAuthority::new(), tempfile::tempdir().unwrap());
    let chain = authority.issue(key);
    let (chain_file, key_file) = write(folder.path(), &chain, written);
    let certificate = HttpsCertificate::load(&chain_file, &key_file).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(authority.connect(&certificate.into()).await, first(&chain), "{case}");
}

#[tokio::test]
async fn keys_of_all_usual_kinds_and_formats_are_used() {
    let (ec, rsa) = (KeyPair::from_pem(EC_PKCS8).unwrap(), KeyPair::from_pem(RSA_PKCS8).unwrap());
    let large = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    check_key("certbot, P-256", &ec, EC_PKCS8).await;
    check_key("certbot, P-384", &large, &large.serialize_pem()).await;
    check_key("certbot, RSA", &rsa, RSA_PKCS8).await;
    let (parameters, lego) = EC_SEC1.split_at(EC_SEC1.find("-----BEGIN EC PRIVATE KEY").unwrap());
    assert!(parameters.starts_with("-----BEGIN EC PARAMETERS"));
    check_key("openssl, P-256", &ec, EC_SEC1).await;
    check_key("lego, P-256", &ec, lego).await;
    check_key("lego, RSA", &rsa, RSA_PKCS1).await;
}

#[track_caller]
fn check_refused(chain: &str, key: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (chain_file, key_file) = write(folder.path(), chain, key);
    match HttpsCertificate::load(&chain_file, &key_file) {
        Err(error @ KeysError::Content { .. }) => assert!(error.to_string().contains(expected), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_that_clients_would_refuse_is_reported_at_the_start() {
    let (authority, key, other) = (WebAuthority::new(), KeyPair::from_pem(EC_PKCS8).unwrap(), KeyPair::generate());
    let chain = authority.issue(&key);
    check_refused(&chain, &other.unwrap().serialize_pem(), "the key does not belong to the certificate in");
    check_refused(&chain, EC_ENCRYPTED, "privkey.pem: no private key in PEM");
    check_refused(EC_PKCS8, EC_PKCS8, "fullchain.pem: it has no certificate");
    let old = authority.issue_until(&key, 1_000_000_000);
    check_refused(&old, EC_PKCS8, "fullchain.pem: the certificate expired");
}

#[tokio::test]
async fn a_certificate_of_certbot_is_renewed_without_a_restart() {
    let (authority, folder) = (WebAuthority::new(), tempfile::tempdir().unwrap());
    let [live, archive] = ["live", "archive"].map(|name| folder.path().join(name));
    for folder in [&live, &archive] {
        fs::create_dir(folder).unwrap();
    }
    let make = |number: u32| {
        let key = KeyPair::generate().unwrap();
        let chain = authority.issue(&key);
        fs::write(archive.join(format!("privkey{number}.pem")), key.serialize_pem()).unwrap();
        fs::write(archive.join(format!("fullchain{number}.pem")), &chain).unwrap();
        first(&chain)
    };
    let link = |name: &str, number: u32| {
        let new = live.join("new");
        symlink(format!("../archive/{name}{number}.pem"), &new).unwrap();
        fs::rename(new, live.join(format!("{name}.pem"))).unwrap();
    };
    let old = make(1);
    link("privkey", 1);
    link("fullchain", 1);
    let certificate = HttpsCertificate::load(&live.join("fullchain.pem"), &live.join("privkey.pem")).unwrap();
    let port = HttpsIdentity::from(certificate);
    assert_eq!(authority.connect(&port).await, old);
    let renewed = make(2);
    assert_ne!(renewed, old);
    // The files are not replaced at the same moment.
    link("privkey", 2);
    next_check().await;
    assert_eq!(authority.connect(&port).await, old, "the new key does not belong to the old certificate");
    link("fullchain", 2);
    next_check().await;
    assert_eq!(authority.connect(&port).await, renewed);
    // Files that cannot be used change nothing.
    link("fullchain", 3);
    next_check().await;
    assert_eq!(authority.connect(&port).await, renewed);
}

/// A folder as Kubernetes mounts a Secret: its files are links into `..data`, a link to the folder of the present
/// version.
struct MountedSecret {
    folder: TempDir,
    version: u32,
}

impl MountedSecret {
    fn new(chain: &str, key: &str, authority: &str) -> Self {
        let mut secret = Self { folder: tempfile::tempdir().unwrap(), version: 0 };
        secret.update(chain, key, authority);
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{name}"), secret.file(name)).unwrap();
        }
        secret
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces all files at once.
    fn update(&mut self, chain: &str, key: &str, authority: &str) {
        let old = self.file(&format!("..{}", self.version));
        self.version += 1;
        let new = format!("..{}", self.version);
        fs::create_dir(self.file(&new)).unwrap();
        for (name, content) in [("tls.crt", chain), ("tls.key", key), ("ca.crt", authority)] {
            fs::write(self.file(&new).join(name), content).unwrap();
        }
        symlink(new, self.file("..data_tmp")).unwrap();
        fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
        if self.version > 1 {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

#[tokio::test]
async fn a_secret_of_cert_manager_is_renewed_without_a_restart() {
    let authority = WebAuthority::new();
    let issue = || {
        let key = KeyPair::generate().unwrap();
        (authority.issue(&key), key.serialize_pem())
    };
    let ((old, old_key), (renewed, renewed_key)) = (issue(), issue());
    let mut secret = MountedSecret::new(&old, &old_key, "");
    let port = HttpsIdentity::from(HttpsCertificate::load(&secret.file("tls.crt"), &secret.file("tls.key")).unwrap());
    assert_eq!(authority.connect(&port).await, first(&old));
    secret.update(&renewed, &renewed_key, "");
    next_check().await;
    assert_eq!(authority.connect(&port).await, first(&renewed));
}

#[tokio::test]
async fn the_identity_of_a_worker_in_a_secret_is_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = KeyAuthority::init(folder.path(), Vec::new(), 30).unwrap();
    let orchestrator = TlsIdentity::load(&path, PeerRole::Orchestrator).unwrap();
    let (authority, ca) =
        (KeyAuthority::open(folder.path()).unwrap(), fs::read_to_string(folder.path().join("ca.crt")).unwrap());
    // Returns the certificate and the key of the worker in a group.
    let issue = |group: &str| {
        let identity = PeerIdentity {
            role: PeerRole::Worker,
            name: "w".parse().unwrap(),
            group: Some(group.parse().unwrap()),
            trusted: false,
        };
        let path = authority.issue(Issuance { identity, hosts: Vec::new(), days: 30 }).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        let (key, chain) = text.split_at(text.find("-----BEGIN CERTIFICATE").unwrap());
        (chain.to_owned(), key.to_owned())
    };
    let ((old, old_key), (renewed, renewed_key)) = (issue("old"), issue("renewed"));
    let mut secret = MountedSecret::new(&old, &old_key, &ca);
    let worker = TlsIdentity::load(secret.folder.path(), PeerRole::Worker).unwrap();
    let group = async || {
        let (accepted, dialed) = connection().await;
        let (accepted, dialed) = tokio::join!(orchestrator.accept(accepted), worker.connect(dialed));
        dialed.unwrap();
        accepted.unwrap().peer().unwrap().group.as_ref().unwrap().to_string()
    };
    assert_eq!(group().await, "old");
    secret.update(&renewed, &renewed_key, &ca);
    next_check().await;
    assert_eq!(group().await, "renewed");
}
