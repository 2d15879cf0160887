//! The HTTP interface over HTTPS.

use reqwest::Certificate;
use sp1d_identity::{HttpsCertificate, KeyAuthority, PeerRole, TlsIdentity};
use sp1d_service::{HostedSettings, HostedSigners, serve, serve_hosted};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

mod running;

use running::{PATIENCE, Running, open};

#[tokio::test]
async fn a_port_for_other_machines_speaks_only_https_and_one_on_the_loopback_interface_http() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let path = KeyAuthority::init(&keys, Vec::new(), 1).unwrap();
    let tls = TlsIdentity::load(&path, PeerRole::Orchestrator).unwrap();
    let service = open(folder.path(), |settings| {
        settings.tls = Some(tls.into());
        settings.http.connections_per_client = 8;
    })
    .await
    .unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(service.clone(), listener));
    // More connections than one client may have, silent in their handshake.
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let ca = Certificate::from_pem(&fs::read(keys.join("ca.crt")).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_built_in_root_certs(false).add_root_certificate(ca).build().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let response = client.get(format!("https://{host}:{port}/healthz")).send().await.unwrap();
        assert!(response.status().is_success(), "{host}: {}", response.status());
    }
    // A client that does not know the authority, and one without TLS.
    assert!(reqwest::get(format!("https://localhost:{port}/healthz")).await.is_err());
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), plain.read_to_end(&mut answer)).await;
    assert!(read.is_ok() && !answer.starts_with(b"HTTP/"), "{answer:?}");
    let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = loopback.local_addr().unwrap();
    tokio::spawn(serve(service.clone(), loopback));
    let running = Running { service, address, url: format!("http://{address}"), client };
    running.json("/healthz").await;
    running.service.shutdown().await;
}

/// Makes an authority in `folder` with a certificate for `localhost`. Returns the file with the certificate and its
/// key.
fn authority(folder: &Path) -> PathBuf {
    KeyAuthority::init(folder, Vec::new(), 1).unwrap()
}

/// Asks the port as a client that trusts only the authority in `folder`. Returns true if there is a response.
async fn responds(port: u16, folder: &Path) -> bool {
    let ca = Certificate::from_pem(&fs::read(folder.join("ca.crt")).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_built_in_root_certs(false).add_root_certificate(ca).build().unwrap();
    client.get(format!("https://localhost:{port}/healthz")).send().await.is_ok()
}

#[tokio::test]
async fn a_certificate_for_https_is_used_by_both_ports_and_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let [old, renewed] = ["old", "renewed"].map(|name| folder.path().join(name));
    let (certificate, next) = (authority(&old), authority(&renewed));
    let https = HttpsCertificate::load(&certificate, &certificate).unwrap();
    let service = open(folder.path(), |settings| settings.tls = Some(https.into())).await.unwrap();
    let signers = folder.path().join("signers");
    fs::write(&signers, "any\n").unwrap();
    let hosted_settings = HostedSettings { signers: HostedSigners::read(signers).unwrap(), url: None };
    let interface = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let hosted = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let ports = [&interface, &hosted].map(|listener| listener.local_addr().unwrap().port());
    tokio::spawn(serve(service.clone(), interface));
    tokio::spawn(serve_hosted(service.clone(), hosted, hosted_settings));
    for port in ports {
        assert!(responds(port, &old).await && !responds(port, &renewed).await);
    }
    fs::copy(next, certificate).unwrap();
    let deadline = Instant::now() + PATIENCE;
    for port in ports {
        while !responds(port, &renewed).await {
            assert!(Instant::now() < deadline, "the old certificate is still in use");
            sleep(Duration::from_millis(100)).await;
        }
        assert!(!responds(port, &old).await);
    }
    service.shutdown().await;
}
